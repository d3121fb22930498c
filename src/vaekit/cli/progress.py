"""How far a long pass over rows has come: a bar on a terminal, a line now and then elsewhere; always on stderr."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Self

from vaekit.cli.output import say

if TYPE_CHECKING:
    from rich.progress import Progress as Bar

    from vaekit.batch import Progress

__all__ = ["Advance"]

EVERY = 5.0  # seconds between two lines
SOON = 0.5  # seconds after which a bar appears: what is over before shows nothing


class Advance:
    """Rows, rate and time left of a pass.

    Args:
        what: Name of the pass.
        total: Rows in all, if known.
    """

    def __init__(self, what: str, total: int | None) -> None:
        self._what, self._total = what, total
        self._began = self._told = time.monotonic()
        self._bar: Bar | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def told(self, progress: Progress) -> None:
        """How far a batch job is."""
        self._total = progress.total
        self.at(progress.rows, before=progress.before, quarantined=progress.quarantined)

    def at(self, rows: int, *, before: int = 0, quarantined: int = 0) -> None:
        """So many rows are done.

        Args:
            rows: How many.
            before: How many of them were done before the pass began.
            quarantined: How many of them are in quarantine.
        """
        now = time.monotonic()
        rate = (rows - before) / max(now - self._began, 1e-9)
        if sys.stderr.isatty():
            if now - self._began >= SOON:
                self._draw(rows, rate, quarantined)
        elif now - self._told >= EVERY:
            self._told = now
            say(f"{self._what}: {self._words(rows, rate, quarantined)}")

    def _words(self, rows: int, rate: float, quarantined: int) -> str:
        of = f" of {self._total:,}" if self._total else ""
        left = f", {(self._total - rows) / rate:,.0f} s left" if self._total and rate > 0 else ""
        bad = f", {quarantined:,} in quarantine" if quarantined else ""
        return f"{rows:,}{of} rows, {rate:,.0f} rows/s{left}{bad}"

    def _draw(self, rows: int, rate: float, quarantined: int) -> None:
        if self._bar is None:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

            columns = [
                TextColumn("{task.description}"),
                BarColumn(),
                TaskProgressColumn(),
                TextColumn("{task.fields[words]}"),
            ]
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._task = self._bar.add_task(self._what, total=self._total, words="")
            self._bar.start()
        self._bar.update(self._task, completed=rows, words=self._words(rows, rate, quarantined))
