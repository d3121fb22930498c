"""How many rows one call is best asked about: measured, within bounds of memory and time."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

__all__ = ["LEAST", "MOST", "NEAR", "USUAL", "Measured", "best", "measured"]

LEAST, USUAL, MOST = 2**8, 2**13, 2**17  # rows of a call: least and most that are tried, and what small inputs get
BYTES = 2**26  # of rows and answers of one call
SECONDS = 1.0  # most that one call may take, so that a job can be stopped, and what the measurement may take, about
_AGAIN = 0.04  # seconds for which calls of one size are repeated, so that one that was disturbed does not count
_WORSE = 0.8  # of the best rate so far: larger calls are not tried any more
NEAR = 0.95  # of the best rate: the smallest of such calls is taken, for it takes the least memory


class Measured(NamedTuple):
    """What one size of calls did.

    Args:
        rows: Rows of a call.
        seconds: What it took.
        size: Bytes of rows and answer.
    """

    rows: int
    seconds: float
    size: int

    @property
    def rate(self) -> float:
        """Rows per second."""
        return self.rows / max(self.seconds, 1e-9)


def measured(call: Callable[[int], int], most: int = MOST, budget: float = SECONDS) -> Iterator[Measured]:
    """Time calls of more and more rows, doubling them.

    Args:
        call: Asks about so many rows, and returns bytes of rows and answer.
        most: Most rows to try.
        budget: Seconds after which no larger call is tried; nor if the next one is expected to take more.
    """
    rows, top = LEAST, 0.0
    call(rows)  # the first call of all makes what later ones use
    began = time.perf_counter()
    while rows <= most:
        seconds, size = _fastest(call, rows)
        yield (one := Measured(rows, seconds, size))
        top = max(top, one.rate)
        spent = time.perf_counter() - began
        if one.rate < _WORSE * top or 2 * size > BYTES or 2 * one.seconds > SECONDS or spent + 2 * one.seconds > budget:
            return
        rows *= 2


def _fastest(call: Callable[[int], int], rows: int) -> tuple[float, int]:
    """Seconds of the fastest of a few calls, of which there is one if it takes long; and their bytes."""
    fastest, began = math.inf, time.perf_counter()
    while True:
        start = time.perf_counter()
        size = call(rows)
        now = time.perf_counter()
        fastest = min(fastest, now - start)
        if now - began > _AGAIN:
            return fastest, size


def best(found: list[Measured]) -> Measured:
    """The smallest calls that are as good as the fastest.

    Example:
        >>> best([Measured(256, 0.1, 0), Measured(512, 0.101, 0), Measured(1024, 0.199, 0)]).rows
        512
    """
    top = max(one.rate for one in found)
    return next(one for one in found if one.rate >= NEAR * top)
