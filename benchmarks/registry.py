"""What a line of the scoreboard is, and which lines there are."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

__all__ = ["LINES", "Line", "Outcome", "Settings", "load_line"]

LINES = {
    "A1": "benchmarks.lines.anomaly",
    "A6": "benchmarks.lines.imputation",
    "A11": "benchmarks.lines.editing",
    "BALANCE": "benchmarks.lines.balance",
    "COLLAPSE": "benchmarks.lines.collapse",
    "COLUMNS": "benchmarks.lines.columns",
    "D1": "benchmarks.lines.binary",
    "D2": "benchmarks.lines.characters",
    "D3": "benchmarks.lines.levels",
    "D4": "benchmarks.lines.sprites",
    "D5": "benchmarks.lines.draws",
    "COMPACT": "benchmarks.lines.compact",
    "DOCTOR": "benchmarks.lines.doctoring",
    "KILL": "benchmarks.lines.killing",
    "NATS": "benchmarks.lines.nats",
    "OBSERVE": "benchmarks.lines.observing",
    "OVERLOAD": "benchmarks.lines.overload",
    "PEERS": "benchmarks.lines.peers",
    "P1": "benchmarks.lines.throughput",
    "P2": "benchmarks.lines.target",
    "P3": "benchmarks.lines.scoring",
    "P4": "benchmarks.lines.serving",
    "P5": "benchmarks.lines.start",
    "P6": "benchmarks.lines.sampling",
    "P7": "benchmarks.lines.growth",
    "P8": "benchmarks.lines.scaling",
    "P9": "benchmarks.lines.sizes",
    "RESUME": "benchmarks.lines.resuming",
    "TABLES": "benchmarks.lines.tables",
    "TRAIN-GROWTH": "benchmarks.lines.streaming",
    "RECIPES": "benchmarks.lines.recipes",
    "VARIANTS": "benchmarks.lines.variants",
}


@dataclass(frozen=True)
class Settings:
    """How a line is run.

    Args:
        quick: Finish within two minutes, on less data and fewer seeds.
        seed: Seed of everything that is random.
        data: Folder of the public data sets.
        kept: Folder of results of single cases, of lines that run in cases.
        device: Where torch computes, in lines about images.
        seconds: Seconds of training of each model, in lines that give each so many; None for the line's own.
    """

    quick: bool
    seed: int
    data: Path
    kept: Path | None = None
    device: str = "cpu"
    seconds: float | None = None


@dataclass(frozen=True)
class Outcome:
    """What a run of a line found.

    Args:
        ours: Our figures.
        rivals: The same figures of each rival, by its name.
        ratios: Ours against each rival, whichever way the line compares.
        met: Whether the goal was met, as the line defines it.
        notes: What a reader has to know to read the figures right.
    """

    ours: dict[str, Any]
    rivals: dict[str, Any]
    ratios: dict[str, Any]
    met: bool
    notes: list[str] = field(default_factory=list)


class Line(Protocol):
    """A module of `benchmarks.lines`: a GOAL in words, and `run`."""

    GOAL: str

    def run(self, settings: Settings) -> Outcome:
        """Run ours and the rivals."""
        ...


def load_line(name: str) -> Line:
    """The module of a line; a KeyError if there is none."""
    line: Any = import_module(LINES[name])
    return line
