"""Progress on standard error: a bar with rate, time left and the current terms; plain lines without a terminal."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

__all__ = ["Progress"]

_LINE = 0.08  # share of the budget between two plain lines


class Progress:
    """Shows how training goes.

    Args:
        enabled: False shows nothing.
    """

    def __init__(self, enabled: bool) -> None:
        self.enabled = enabled
        self.bar: Any = None
        self.task: Any = None
        self.began, self.rows = time.monotonic(), 0
        self.text = ""
        self.fraction, self.printed = 0.0, -1.0

    def __enter__(self) -> Progress:
        if self.enabled and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

            columns = (
                TextColumn("training"),
                BarColumn(),
                TaskProgressColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[text]}"),
            )
            self.bar = Progress(*columns, console=Console(stderr=True), refresh_per_second=4)
            self.bar.start()
            self.task = self.bar.add_task("training", total=1.0, text="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            if kind is None:
                self.bar.update(self.task, completed=1.0)
            self.bar.stop()

    def note(self, text: str) -> None:
        """Print a line, above the bar if there is one."""
        if self.bar is not None:
            self.bar.console.print(text, highlight=False, markup=False)
        elif self.enabled:
            print(text, file=sys.stderr, flush=True)

    def warn(self, text: str) -> None:
        """Print a line that must be seen, also where progress is not shown."""
        if self.bar is not None:
            self.note(text)
        else:
            print(text, file=sys.stderr, flush=True)

    def step(self, fraction: float, rows: int, loss: float) -> None:
        """One optimiser step is done; the first one starts the clock, whatever went before it."""
        if not self.rows:
            self.began = time.monotonic()
        self.rows += rows
        self.fraction = fraction
        if self.bar is not None:
            rate = self.rows / max(time.monotonic() - self.began, 1e-9)
            self.bar.update(self.task, completed=fraction, text=f"{rate:,.0f} rows/s  loss {loss:.3f}  {self.text}")

    def validated(self, metrics: dict[str, Any]) -> None:
        """One validation is done."""
        valid = metrics["valid"]
        told = "" if (verdict := valid["latent"]["verdict"]) == "ok" else f", latent {verdict}"
        self.text = f"valid: {-valid['elbo']:.3f} nats/row (KL {valid['kl']:.2f}{told})"
        if self.enabled and self.bar is None and self.fraction >= self.printed + _LINE:
            self.printed = self.fraction
            rate = self.rows / max(time.monotonic() - self.began, 1e-9)
            print(
                f"epoch {metrics['epoch'] + 1:>3}  step {metrics['step']:>6}  "
                f"train loss {metrics['train'].get('loss', float('nan')):8.3f}  "
                f"{self.text}  {rate:,.0f} rows/s  {metrics['seconds']:.0f} s",
                file=sys.stderr,
                flush=True,
            )
