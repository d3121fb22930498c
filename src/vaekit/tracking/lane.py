"""A bounded queue and a thread for one tracker: whatever the tracker does, a run never waits for it.

A call that cannot be queued is dropped and counted. A tracker that fails several times in a row, or hangs in one call,
is given up. The thread is a daemon: a process ends without it.
"""

from __future__ import annotations

import queue as queues
import re
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from vaekit.tracking.base import End, Look, Run, Tracker

__all__ = ["Lane"]

_TRIES = 3  # failures in a row after which a tracker is given up
_TICK = 0.02
_CREDENTIALS = re.compile(r"//[^/@\s]+@")  # user and password in an address


class Lane:
    """One tracker behind its queue.

    Args:
        tracker: The tracker.
        allow_rows: Show it rows even if it is hosted.
        queue: Calls that wait at most; more are dropped.
        timeout: Seconds of one call after which it counts as hanging.
        finish: Seconds that `close` waits at most, for what is still on its way, files included.

    Example:
        >>> class Broken(Tracker):
        ...     name = "broken"
        ...     def start(self, run): raise OSError("no route to host")
        >>> lane = Lane(Broken())
        >>> lane.start(Run("r", None, {}, {}, "{}")); lane.close(End("finished"))["error"]
        'start: OSError: no route to host'
    """

    def __init__(
        self,
        tracker: Tracker,
        *,
        allow_rows: bool = False,
        queue: int = 1_000,
        timeout: float = 30.0,
        finish: float = 120.0,
    ) -> None:
        self.tracker, self.allow_rows = tracker, allow_rows
        self._timeout, self._finish = timeout, finish
        self._calls: queues.Queue[tuple[str, tuple[Any, ...]] | None] = queues.Queue(queue)
        self._thread = threading.Thread(target=self._work, name=f"tracker {tracker.name}", daemon=True)
        self._call: tuple[str, float] | None = None  # what is being called, and since when
        self._sent = self._dropped = self._in_a_row = 0
        self._gave_up = False
        self._error: str | None = None

    @property
    def sees_rows(self) -> bool:
        """Whether the tracker may be shown rows."""
        return self.allow_rows or not self.tracker.hosted

    def start(self, run: Run) -> None:
        """Start the thread, and tell the tracker of the run."""
        self._thread.start()
        self._put("start", run)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Figures of one validation."""
        self._put("scalars", step, values)

    def look(self, step: int, look: Look) -> None:
        """A look at the model, without rows where the tracker may not see them."""
        self._put("look", step, look if self.sees_rows else look.without_rows())

    def close(self, end: End) -> dict[str, Any]:
        """Tell the tracker of the end, wait for it a while, and say how it went.

        Returns:
            ``state`` (``ok``, ``failing``: calls were lost, ``gave up``: it failed too often, ``hanging``), ``sent``
            and ``dropped`` calls, ``error`` (the last one), ``address``.
        """
        self._put("finish", end if self.sees_rows else replace(end, report=None))
        limit = time.monotonic() + self._finish
        while self._calls.unfinished_tasks and self._thread.is_alive() and time.monotonic() < limit:
            if self._hanging(closing=True):
                break
            time.sleep(_TICK)
        left, call = self._calls.unfinished_tasks, self._call
        with suppress(queues.Full):  # if it hangs, its thread ends with the process
            self._calls.put_nowait(None)
        if left:
            self._error = f"{call[0] if call else 'finish'}: no answer in time"
        lost = "gave up" if self._gave_up else "failing"
        return {
            "state": "hanging" if left else lost if self._dropped else "ok",
            "sent": self._sent,
            "dropped": self._dropped + left,
            "error": self._error,
            "address": "" if left else self.tracker.address,
        }

    def _put(self, name: str, *args: Any) -> None:
        if self._gave_up or self._hanging():
            self._dropped += 1
            return
        try:
            self._calls.put_nowait((name, args))
        except queues.Full:
            self._dropped += 1

    def _hanging(self, closing: bool = False) -> bool:
        """Whether the call that is being made takes too long; loading a library and sending files may take longer."""
        call = self._call
        if call is None:
            return False
        patient = call[0] == "finish" or (call[0] == "start" and not closing)
        return time.monotonic() - call[1] > (self._finish if patient else self._timeout)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            if self._gave_up:
                self._dropped += 1
            else:
                self._make(*call)
            self._calls.task_done()

    def _make(self, name: str, args: tuple[Any, ...]) -> None:
        self._call = name, time.monotonic()
        try:
            getattr(self.tracker, name)(*args)
        except (Exception, SystemExit) as error:  # whatever it is, the run goes on
            said = " ".join(f"{name}: {type(error).__name__}: {error}".split())
            self._error = _CREDENTIALS.sub("//", said)[:500]
            self._dropped, self._in_a_row = self._dropped + 1, self._in_a_row + 1
            self._gave_up = name == "start" or self._in_a_row >= _TRIES
        else:
            self._sent, self._in_a_row = self._sent + 1, 0
        self._call = None
