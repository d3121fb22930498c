"""The record of a run: one row of docs/scoreboard.md, without host names or paths."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.registry import Outcome
from vaekit.files import write_file

__all__ = ["commit", "machine", "record"]

HEADER = """# Scoreboard: runs

One row per run of `python -m benchmarks LINE`; the goals are in the lines themselves. Rivals ran in the same run, on
the same split and seeds. "quick" rows used less data and count for nothing but the working of the line. Times come from
a machine that others may have used at the same time (load: mean number of busy processes, ours included): compare
ratios, not seconds. "+" after a commit: with changes that were not committed.

| line | date | commit | machine | run | ours | rivals | ours against rivals | met | seconds |
|---|---|---|---|---|---|---|---|---|---|
"""


def machine() -> str:
    """Processor, cores that this process may use, and versions."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        named = [row.partition(":")[2].strip() for row in info.read_text().splitlines() if row.startswith("model name")]
        model = named[0] if named else model
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{model}, {cores} cores, torch {metadata.version('torch')}, Python {platform.python_version()}"


def record(root: Path, line: str, outcome: Outcome, seconds: float, *, at: str, quick: bool, seed: int) -> None:
    """Append the row of a run to docs/scoreboard.md, atomically.

    Args:
        root: The repository.
        line: Name of the line.
        outcome: What the run found.
        seconds: Wall-clock seconds of the run.
        at: The commit at the start of the run.
        quick: Whether it was a quick run.
        seed: Its seed.
    """
    path = root / "docs" / "scoreboard.md"
    text = path.read_text() if path.exists() else HEADER
    cells = [
        line,
        datetime.now(UTC).strftime("%Y-%m-%d %H:%M"),
        at,
        machine(),
        f"{'quick' if quick else 'full'}, seed {seed}, load {os.getloadavg()[1]:.1f}",
        _short(outcome.ours),
        _short(outcome.rivals),
        _short(outcome.ratios),
        ("yes" if outcome.met else "no") if not quick else "–",
        f"{seconds:.0f}",
    ]
    row = "| " + " | ".join(cell.replace("|", "/").replace("\n", " ") for cell in cells) + " |\n"
    write_file(path, (text.rstrip("\n") + "\n" + row).encode())


def commit(root: Path) -> str:
    """The commit of a repository, with a plus sign if package or benchmarks have changes that are not in it."""

    def ask(*words: str) -> str:
        try:
            done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=False)
        except OSError:  # a machine without git
            return ""
        return done.stdout.strip() if done.returncode == 0 else ""

    found = ask("rev-parse", "--short", "HEAD")
    changed = ask("status", "--porcelain", "--", "src", "benchmarks")
    return (found + ("+" if changed else "")) or "none"


def _short(value: Any) -> str:
    """A nested dict of figures in one table cell."""
    if isinstance(value, dict):
        parts = [
            f"{name}: ({_short(v)})" if isinstance(v, dict) else f"{name} {_short(v)}" for name, v in value.items()
        ]
        return "; ".join(parts)
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return value if isinstance(value, str) else json.dumps(value)
