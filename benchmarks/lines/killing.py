"""KILL: batch jobs whose processes are killed at random moments."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.registry import Outcome, Settings

GOAL = "twenty jobs, each killed three times at random moments: no row lost, none twice, the bytes of a job left alone"

ROWS, PART, BAD = 120_000, 2_000, 9_973  # every so manieth row is bad
KILLS = 3


def run(settings: Settings) -> Outcome:
    """Run a job to its end, then others that are killed, and compare."""
    trials, rng = 3 if settings.quick else 20, random.Random(settings.seed)
    kills, restarted, wrong = 0, 0, list[str]()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = _prepared(folder, settings.seed)
        began = time.monotonic()
        _finished(command, folder / "whole")
        whole, took = _prints(folder / "whole"), time.monotonic() - began
        if sorted(_seen(folder / "whole")) != list(range(ROWS)):
            wrong.append("the job that was left alone lost rows, or has some twice")
        for trial in range(trials):
            out = folder / str(trial)
            for _ in range(KILLS):
                process = subprocess.Popen([*command, str(out)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                time.sleep(rng.uniform(0.0, 0.8 * took))
                if process.poll() is None:
                    process.kill()
                    kills += 1
                process.wait()
            restarted += len(list(out.glob("part-*.parquet"))) if out.exists() else 0
            _finished(command, out)
            if _prints(out) != whole:
                wrong.append(f"trial {trial}: other bytes than those of the job that was left alone")
            print(f"trial {trial}: {'other bytes' if wrong else 'the same bytes'}", flush=True)
    return Outcome(
        ours={"trials": trials, "killed": kills, "parts kept from killed runs": restarted, "wrong": len(wrong)},
        rivals={},
        ratios={},
        met=not wrong,
        notes=[*wrong, f"{ROWS:,} rows, {ROWS // PART} parts, {len(range(17, ROWS, BAD))} rows in quarantine"],
    )


def _prepared(folder: Path, seed: int) -> list[str]:
    """A bundle and rows, some of them bad; the command but for its folder of output."""
    from benchmarks.data import matrix, table_of
    from vaekit import fit

    values = matrix(ROWS, 8, seed)
    fit(table_of(values[:5_000]), epochs=1, seed=seed, progress=False, choose=False).save(folder / "bundle")
    values[17::BAD, 3] = np.inf
    pq.write_table(table_of(values), folder / "rows.parquet")
    line = [sys.executable, "-m", "vaekit.cli", "batch", "score", str(folder / "bundle"), str(folder / "rows.parquet")]
    return [*line, "--part-rows", str(PART), "--batch-rows", "512", "--out"]


def _finished(command: list[str], out: Path) -> None:
    subprocess.run([*command, str(out)], check=True, capture_output=True)


def _prints(out: Path) -> dict[str, str]:
    """Hash of every file but that which tells of times."""
    files = [file for file in out.rglob("*") if file.is_file() and file.name != "_summary.json"]
    return {str(file.relative_to(out)): hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(files)}


def _seen(out: Path) -> list[int]:
    """Numbers of all rows that were answered, or are in quarantine."""
    import json

    answered: Any = pa.concat_tables([pq.read_table(part) for part in sorted(out.glob("part-*.parquet"))])["row"]
    bad = [json.loads(line)["row"] for file in out.rglob("*.jsonl") for line in file.read_text().splitlines()]
    return [*answered.to_pylist(), *bad]
