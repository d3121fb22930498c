"""`python -m benchmarks LINE [--quick] [--seed S] [--data DIR]`: run one line of the scoreboard and record it.

A line in cases can be spread over processes: ``--list`` prints the names of its cases, ``--case NAME --kept DIR`` runs
one and keeps what it found in DIR, and ``--kept DIR`` alone puts the line together from what lies there.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path

from benchmarks.cases import InCases, run_case
from benchmarks.record import commit, machine, record
from benchmarks.registry import LINES, Settings, load_line

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Run a line; the last line printed is its result as JSON. Exit code 2 for wrong use, else 0, met or not."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Reproduce one line of the scoreboard.")
    parser.add_argument("line", metavar="LINE", nargs="?", help=f"one of {', '.join(LINES)}")
    parser.add_argument("--quick", action="store_true", help="finish within two minutes, on less data")
    parser.add_argument("--seed", type=int, default=0, help="seed of splits, models and noise (default 0)")
    parser.add_argument("--data", type=Path, help="folder of the data sets (default VAEKIT_DATA, or ../shared/data)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda, in lines about images (default cpu)")
    parser.add_argument("--seconds", type=float, help="seconds of training of each model, in lines that have such")
    parser.add_argument("--case", metavar="NAME", help="run this case alone, of a line in cases")
    parser.add_argument(
        "--kept", type=Path, metavar="DIR", help="folder of the results of cases: kept, and taken, here"
    )
    parser.add_argument("--list", action="store_true", help="print the names of the cases of the line")
    parser.add_argument("--no-record", action="store_true", help="do not append a row to docs/scoreboard.md")
    asked = parser.parse_args()
    if asked.line is None:
        parser.print_help()
        return 2
    if asked.line not in LINES:
        parser.error(f"unknown line {asked.line!r}; known: {', '.join(LINES)}")
    data = asked.data or Path(os.environ.get("VAEKIT_DATA", ROOT.parent / "shared" / "data"))
    if not data.is_dir():
        parser.error("the folder of the data sets is not there; give --data DIR or set VAEKIT_DATA")

    settings = Settings(asked.quick, asked.seed, data, asked.kept, asked.device, asked.seconds)
    try:
        if asked.list or asked.case is not None or asked.kept is not None:
            line = load_line(asked.line)
            if not isinstance(line, InCases):
                parser.error(f"{asked.line} does not run in cases")
            if asked.list:
                print("\n".join(line.cases(settings)))
                return 0
            if asked.case is not None:
                if asked.case not in line.cases(settings):
                    parser.error(f"{asked.line} has no case {asked.case!r}; --list prints those it has")
                print(json.dumps(run_case(line, asked.case, settings)))
                return 0
        return _run(asked.line, settings, recorded=not asked.no_record)
    except ModuleNotFoundError as error:
        parser.error(f"{error.name} is not installed; install the extras train and bench of this package")


def _run(name: str, settings: Settings, *, recorded: bool) -> int:
    line = load_line(name)
    print(f"{name}: {line.GOAL}")
    print(f"machine: {machine()}")
    if settings.quick:
        print("quick run: less data, fewer seeds or rounds; its figures do not count for the goal")
    sys.stdout.flush()
    began, at = time.monotonic(), commit(ROOT)
    outcome = line.run(settings)
    seconds = round(time.monotonic() - began, 1)
    for note in outcome.notes:
        print(f"note: {note}")
    if recorded:
        record(ROOT, name, outcome, seconds, at=at, quick=settings.quick, seed=settings.seed)
    result = {
        "line": name,
        "ours": outcome.ours,
        "rivals": outcome.rivals,
        "goal": line.GOAL,
        "met": outcome.met,
        "seconds": seconds,
    }
    print(json.dumps(result | ({"quick": True} if settings.quick else {})))
    return 0


if __name__ == "__main__":
    sys.exit(main())
