"""Text that is pleasant to read: headings, aligned tables, and a clock for the parts of a program."""

from __future__ import annotations

import resource
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

__all__ = ["WIDTH", "Clock", "listing", "say", "show", "worded"]

WIDTH = 100
UNITS = {
    "dep_delay": "min",
    "arr_delay": "min",
    "air_time": "min",
    "distance": "miles",
    "temp": "°F",
    "dewp": "°F",
    "humid": "%",
    "wind_dir": "°",
    "wind_speed": "mph",
    "wind_gust": "mph",
    "precip": "in",
    "pressure": "mbar",
    "visib": "miles",
}


class Clock:
    """Prints a heading for each part of a program, and keeps how long each part took."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.parts: dict[str, float] = {}

    @contextmanager
    def part(self, title: str) -> Iterator[None]:
        """A part of the program under a numbered heading."""
        began = time.perf_counter()
        head = f"── {len(self.parts) + 1}  {title} "
        print(f"\n{head}{'─' * (WIDTH - len(head))}\n", flush=True)
        yield
        self.parts[title] = time.perf_counter() - began

    @property
    def total(self) -> float:
        """Seconds since the clock was made."""
        return time.perf_counter() - self.began

    def __str__(self) -> str:
        parts = " · ".join(f"{title} {seconds:.0f}" for title, seconds in self.parts.items())
        return f"{self.total:.0f} seconds, {peak_gigabytes():.2f} GB of memory at the peak; in seconds: {parts}."


def peak_gigabytes() -> float:
    """The most memory that this process held."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**30 if sys.platform == "darwin" else 2**20)


def say(text: str, indent: str = "  ") -> None:
    """Print a paragraph, wrapped, with an empty line before it."""
    print("\n" + textwrap.fill(" ".join(text.split()), WIDTH, initial_indent=indent, subsequent_indent=indent))


def show(lines: Sequence[str], indent: str = "  ") -> None:
    """Print lines as they are, cut to the page."""
    for line in lines:
        line = indent + line.rstrip()
        print(line if len(line) <= WIDTH else line[: WIDTH - 1] + "…")


def listing(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print an aligned table; columns of numbers are flush right."""
    lines = [[str(cell) for cell in row] for row in [head, *rows]]
    columns = list(zip(*lines, strict=True))
    widths = [max(map(len, column)) for column in columns]
    right = [all(cell.strip(" +-−%,.×0123456789–") == "" for cell in column[1:]) for column in columns]
    aligned = [
        "  ".join(
            cell.rjust(width) if flush else cell.ljust(width)
            for cell, width, flush in zip(line, widths, right, strict=True)
        )
        for line in lines
    ]
    show([aligned[0], "  ".join("─" * width for width in widths), *aligned[1:]])


def worded(name: str, value: Any, digits: int = 5) -> str:
    """A cell in words: its column, value and unit.

    Example:
        >>> worded("wind_gust", 26.46794, digits=3)
        'wind gust 26.5 mph'
    """
    unit = UNITS.get(name, "")
    text = f"{value:.{digits}g}" if isinstance(value, float) else str(value)
    return f"{name.replace('_', ' ')} {text}{'' if unit in '%°' else ' '}{unit}"
