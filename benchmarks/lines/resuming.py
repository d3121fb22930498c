"""RESUME: runs of training that are killed at random moments, by kill -9, and go on."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.registry import Outcome, Settings
from benchmarks.tools.together import ended, rendezvous

GOAL = "fifty runs in seven modes, each killed twice at random moments, end with the bits of runs that nobody killed"

BASE = {"epochs": 6, "width": 16, "depth": 1, "latent": 2, "batch_size": 32, "threads": 1, "compile": False}
MODES: dict[str, dict[str, Any]] = {
    "in memory": {},
    "streaming": {"stream": True, "shuffle_buffer": 1},
    "half precision": {"precision": "bfloat16"},
    "averaged weights": {"ema": 0.99},
    "adversarial": {"recipe": "vae-gan"},
    "two stages": {"recipe": "vq-vae"},
    "two processes": {"processes": 2},
}
ROWS, KILLS, TRIALS = 800, 2, 50

_CONTEXT = multiprocessing.get_context("forkserver")


def run(settings: Settings) -> Outcome:
    """Run each mode to its end, then runs that are killed, and compare checkpoints and metrics."""
    _CONTEXT.set_forkserver_preload(["vaekit.training", "torch._dynamo"])
    trials, rng = 7 if settings.quick else TRIALS, random.Random(settings.seed)
    kills, wrong, names = 0, list[str](), list(MODES)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["VAEKIT_CACHE"] = str(folder / "cache")
        whole: dict[str, Any] = {}
        for mode in names:
            ended(_started(folder / mode, mode, resume=False))
            whole[mode] = _prints(folder / mode)
        for trial in range(trials):
            mode = names[trial % len(names)]
            out = folder / f"trial {trial}"
            moments = sorted(rng.randrange(len(whole[mode]["metrics"]) - 1) for _ in range(KILLS))
            for number, lines in enumerate(moments):
                processes = _started(out, mode, resume=number > 0)
                _wait(out / "metrics.jsonl", lines + 1, processes)
                time.sleep(rng.uniform(0.0, 0.05))  # of the two steps and the writing that lie between validations
                for process in processes:
                    kills += process.exitcode is None
                    process.kill()
                    process.join()
            ended(_started(out, mode, resume=True))
            same = _prints(out) == whole[mode]
            wrong += [] if same else [f"trial {trial} ({mode}): other bits"]
            print(f"trial {trial} ({mode}): {'the same' if same else 'other'} bits", flush=True)
    return Outcome(
        ours={"trials": trials, "processes killed": kills, "wrong": len(wrong)},
        rivals={},
        ratios={},
        met=not wrong,
        notes=[*wrong, f"{ROWS} rows, a checkpoint after every step; modes: {', '.join(MODES)}"],
    )


def _started(out: Path, mode: str, resume: bool) -> list[Any]:
    options = BASE | MODES[mode]
    made = [
        _CONTEXT.Process(target=live, args=(out, options, resume, together))
        for together in rendezvous(options.pop("processes", 1))
    ]
    for process in made:
        process.start()
    return made


def _wait(metrics: Path, lines: int, processes: list[Any]) -> None:
    """Until a run has done so many validations."""
    while processes[0].exitcode is None and (not metrics.exists() or metrics.read_bytes().count(b"\n") < lines):
        time.sleep(0.002)


def live(out: Path, options: dict[str, Any], resume: bool, together: dict[str, str]) -> None:
    """One process of a run."""
    os.environ.update(together)
    from dataclasses import replace

    from benchmarks.data import matrix, table_of
    from vaekit.fields import Contract
    from vaekit.fields.sources import open_source
    from vaekit.training import load_config, train

    recipe, stream = options.pop("recipe", None), options.pop("stream", False)
    table = table_of(matrix(ROWS, 4, 0))
    config = load_config(None, recipe).override(**options, checkpoint_seconds=1e-9)
    source = replace(open_source(table), table=None) if stream else table
    train(source, Contract.infer(table), config, out=out, resume=resume, progress=False)


def _prints(out: Path) -> dict[str, Any]:
    """Tensors and positions of both checkpoints, and metrics, all but times."""
    from safetensors import safe_open

    found: dict[str, Any] = {}
    for name in ("last", "best"):
        with safe_open(out / "checkpoints" / f"{name}.safetensors", framework="np") as file:
            found |= {f"{name} {key}": file.get_tensor(key).tobytes() for key in file.keys()}  # noqa: SIM118 (not a dict)
            position = json.loads(file.metadata()["position"])
        found[name] = {key: value for key, value in position.items() if key not in ("seconds", "began")}
    lines = (json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines())
    found["metrics"] = [{key: value for key, value in line.items() if key != "seconds"} for line in lines]
    return found
