"""Progress on standard error: a bar with rate, time left and the current terms; plain lines without a terminal."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

__all__ = ["Progress"]

_LINE = 0.08  # share of the budget between two plain lines
_TOLD = ("loss", "gradient_norm", "reconstruction", "kl")  # figures of training that are told in another way
_SECONDS = 60.0  # most seconds between them


class Progress:
    """Shows how training goes.

    Args:
        enabled: False shows nothing.
    """

    def __init__(self, enabled: bool) -> None:
        self.enabled = enabled
        self.bar: Any = None
        self.task: Any = None
        self.began: float | None = None  # the first step: whatever came before it is no training
        self.rows, self.stage, self.text = 0, "training", ""
        self.fraction, self.before = 0.0, (0.0, 0)  # fraction and rows that were done when the stage began
        self.loss = float("nan")
        self.printed, self.printed_at = -1.0, time.monotonic()

    def __enter__(self) -> Progress:
        if self.enabled and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                TaskProgressColumn(),
                TextColumn("{task.fields[text]}"),
            )
            self.bar = Progress(*columns, console=Console(stderr=True), refresh_per_second=4)
            self.bar.start()
            self.task = self.bar.add_task(self.stage, total=1.0, text="")
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
        """One optimiser step is done."""
        if self.began is None or fraction < self.fraction:  # a stage begins; a resumed one does so in its midst
            self.began, self.before, self.printed = time.monotonic(), (fraction, self.rows), -1.0
        self.rows += rows
        self.fraction, self.loss = fraction, loss
        if self.bar is not None:
            self.bar.update(self.task, completed=fraction, text=f"{self._pace()}  loss {loss:.3f}  {self.text}")
        elif self.enabled and time.monotonic() - self.printed_at > _SECONDS:
            self._print(f"{self.stage} {100 * fraction:3.0f} %  loss {loss:8.3f}  {self.text}")

    def validated(self, metrics: dict[str, Any]) -> None:
        """One validation is done."""
        valid, train = metrics["valid"], metrics["train"]
        told = "" if (verdict := valid["latent"]["verdict"]) == "ok" else f", latent {verdict}"
        others = [f"{name} {train[name]:.3f}" for name in train if name not in _TOLD]
        terms = f"reconstruction {-valid['reconstruction']:.3f}, KL {valid['kl']:.2f}{told}"
        self.text = f"valid: {-valid['elbo']:.3f} nats/row ({terms})" + "".join(f"  {one}" for one in others)
        if self.stage != metrics["stage"]:
            self.stage = metrics["stage"]
            if self.bar is not None:
                self.bar.update(self.task, description=self.stage)
        if self.enabled and self.bar is None and self.fraction >= self.printed + _LINE:
            self.printed = self.fraction
            self._print(
                f"{self.stage} {100 * self.fraction:3.0f} %  epoch {metrics['epoch'] + 1:>3}  "
                f"step {metrics['step']:>6}  train loss {train.get('loss', float('nan')):8.3f}  {self.text}"
            )

    def _pace(self) -> str:
        """Rows per second, and the time that is left of this stage."""
        seconds = time.monotonic() - (self.began or time.monotonic())
        done, rows = self.fraction - self.before[0], self.rows - self.before[1]
        left = f", {_clock(seconds * (1.0 - self.fraction) / done)} left" if done > 0 and seconds > 0.5 else ""
        return f"{rows / max(seconds, 1e-9):,.0f} rows/s{left}"

    def _print(self, text: str) -> None:
        self.printed_at = time.monotonic()
        print(f"{text}  {self._pace()}", file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    """A time in its largest unit and the next one.

    Example:
        >>> _clock(4.2), _clock(75), _clock(7_260)
        ('4 s', '1:15 min', '2:01 h')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60}:{whole % 60:02} min" if whole < 3600 else f"{whole // 3600}:{whole // 60 % 60:02} h"
