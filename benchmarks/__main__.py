"""`python -m benchmarks LINE [--quick] [--seed S] [--data DIR]`: run one line of the scoreboard and record it.

Lines in cases can run apart: `--case NAME` measures one of them, prints its figures and records nothing, and
`--found FILE...` takes such figures out of logs in place of measuring, and records what they say together.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any, cast

from benchmarks.record import commit, machine, record
from benchmarks.registry import LINES, Cases, Line, Outcome, Settings, load_line

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    """Run a line; the last line printed is its result as JSON. Exit code 2 for wrong use, else 0, met or not."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Reproduce one line of the scoreboard.")
    parser.add_argument("line", metavar="LINE", nargs="?", help=f"one of {', '.join(LINES)}")
    parser.add_argument("--quick", action="store_true", help="finish within two minutes, on less data")
    parser.add_argument("--seed", type=int, default=0, help="seed of splits, models and noise (default 0)")
    parser.add_argument("--data", type=Path, help="folder of the data sets (default VAEKIT_DATA, or ../shared/data)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda, in lines that can use one (default cpu)")
    parser.add_argument("--seconds", type=float, help="seconds of training of each model, in lines that have such")
    parser.add_argument("--case", action="append", metavar="NAME", help="only this case; 'list' names them")
    parser.add_argument("--found", nargs="+", type=Path, metavar="FILE", help="logs of single cases to put together")
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
    settings = Settings(asked.quick, asked.seed, data, asked.device, asked.seconds)

    try:
        line = load_line(asked.line)
        if asked.case or asked.found:
            if not hasattr(line, "cases"):
                parser.error(f"{asked.line} has no cases")
            known = line.cases(settings)
            if asked.case == ["list"]:
                print("\n".join(known))
                return 0
            if unknown := [case for case in asked.case or () if case not in known]:
                parser.error(f"unknown case {unknown[0]!r}; known: {', '.join(known)}")
        return _run(asked.line, line, settings, asked.case, asked.found, recorded=not asked.no_record)
    except ModuleNotFoundError as error:
        parser.error(f"{error.name} is not installed; install the extras train and bench of this package")


def _run(
    name: str,
    line: Line | Cases,
    settings: Settings,
    cases: list[str] | None,
    logs: list[Path] | None,
    *,
    recorded: bool,
) -> int:
    print(f"{name}: {line.GOAL}")
    print(f"machine: {machine()}")
    if settings.quick:
        print("quick run: less data, fewer seeds or rounds; its figures do not count for the goal")
    sys.stdout.flush()
    began, at = time.monotonic(), commit(ROOT)
    if cases:
        _measure(name, cast(Cases, line), cases, settings)
        return 0
    outcome = _outcome(name, line, settings, logs)
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


def _outcome(name: str, line: Line | Cases, settings: Settings, logs: list[Path] | None) -> Outcome:
    """What a line says: by its run, by the figures in logs, or by measuring all of its cases here."""
    if not hasattr(line, "cases"):
        return line.run(settings)
    line = cast(Cases, line)
    if not logs:
        return line.outcome(_measure(name, line, line.cases(settings), settings), settings)
    found: dict[str, dict[str, Any]] = {}
    for log in logs:
        for row in log.read_text(errors="replace").splitlines():
            if row.startswith('{"line": ') and (part := json.loads(row))["line"] == name and "case" in part:
                found[part["case"]] = part["found"]
    if missing := [case for case in line.cases(settings) if case not in found]:
        print(f"not in the logs: {', '.join(missing)}")
    return line.outcome({case: found[case] for case in line.cases(settings) if case in found}, settings)


def _measure(name: str, line: Cases, cases: Any, settings: Settings) -> dict[str, dict[str, Any]]:
    """Measure cases one after another, and print the figures of each as JSON in a line of its own."""
    found = {}
    for case in cases:
        found[case] = line.measured(case, settings)
        print(json.dumps({"line": name, "case": case, "found": found[case]}), flush=True)
    return found


if __name__ == "__main__":
    sys.exit(main())
