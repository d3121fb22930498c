"""Lines in cases: each case can run in a process of its own, and what all of them found is put together."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from benchmarks.registry import Outcome, Settings
from vaekit.files import write_file

__all__ = ["InCases", "run_case", "together"]


@runtime_checkable
class InCases(Protocol):
    """A line whose figures come from cases that know nothing of each other."""

    def cases(self, settings: Settings) -> tuple[str, ...]:
        """Names of the cases, good as names of files."""
        ...

    def case(self, name: str, settings: Settings) -> dict[str, Any]:
        """Figures of one case, as JSON holds them."""
        ...

    def gather(self, found: Mapping[str, dict[str, Any]], settings: Settings) -> Outcome:
        """The outcome of the line from the figures of all cases; prints the table."""
        ...


def run_case(line: InCases, name: str, settings: Settings) -> dict[str, Any]:
    """Figures of one case with the seconds that it took; they are kept as ``NAME.json`` where there is a folder.

    Raises:
        KeyError: If the line has no such case.
    """
    if name not in line.cases(settings):
        raise KeyError(name)
    began = time.perf_counter()
    found = {**line.case(name, settings), "seconds": round(time.perf_counter() - began, 1)}
    if settings.kept is not None:
        settings.kept.mkdir(parents=True, exist_ok=True)
        write_file(_file(settings.kept, name), json.dumps(found, indent=1).encode())
    return found


def together(line: InCases, settings: Settings) -> Outcome:
    """The outcome of a line: cases that lie in the folder of results are taken from there, the others run now."""
    found = {}
    for name in line.cases(settings):
        kept = None if settings.kept is None else _file(settings.kept, name)
        found[name] = json.loads(kept.read_bytes()) if kept and kept.exists() else run_case(line, name, settings)
        print(f"{name}: {found[name]['seconds']} s", flush=True)
    return line.gather(found, settings)


def _file(folder: Path, name: str) -> Path:
    return folder / f"{name}.json"
