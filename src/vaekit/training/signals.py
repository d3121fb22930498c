"""Being asked to stop: SIGTERM, Ctrl-C and observers end a run after its step, with a checkpoint."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from vaekit.training.observers import Stopped

__all__ = ["Stopping"]

_OBSERVER = 1  # below the numbers of the signals that are caught, which come first


class Stopping:
    """While it is open, the first SIGTERM or Ctrl-C is only noted; the second one acts as it would have.

    Signals reach the main thread alone, so elsewhere nothing is caught.

    Args:
        enabled: False leaves signals alone.

    Example:
        >>> with Stopping() as stopping:
        ...     signal.raise_signal(signal.SIGTERM)
        ...     stopping.asked
        15
    """

    def __init__(self, enabled: bool = True) -> None:
        self.asked = 0
        self._stopped: Stopped | None = None
        self._enabled = enabled and threading.current_thread() is threading.main_thread()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stopping:
        if self._enabled:
            self._before = {one: signal.signal(one, self._note) for one in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def ask(self, stopped: Stopped) -> None:
        """Note that an observer ends the run."""
        self.asked, self._stopped = self.asked or _OBSERVER, stopped

    def leave(self, asked: int) -> None:
        """End as was asked: Ctrl-C as in any program, SIGTERM with the exit code 143, for an observer with its error.

        Args:
            asked: What this process, or another one of the run, was asked.

        Raises:
            Stopped: For an observer.
            KeyboardInterrupt: For Ctrl-C.
            SystemExit: For SIGTERM.
        """
        self._restore()
        if asked == _OBSERVER:
            raise self._stopped or Stopped("an observer of the first process ended the run")
        if asked == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + asked)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.asked = number
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
