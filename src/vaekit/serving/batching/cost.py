"""What a batch costs: seconds ≈ a · rows + b, learnt from recent batches."""

from __future__ import annotations

import math

__all__ = ["Cost"]

_FORGET = 0.9  # weight of a batch against the next one
_LEAST = 1e-6  # seconds; no batch is faster
_ROWS = 0.25  # share of the cost that grows with rows, while nothing is known of it


class Cost:
    """Running estimate of the seconds that a batch takes, by exponentially forgotten weighted least squares.

    A batch weighs one over its seconds, so that one which was held up for once counts little. Neither a nor b is ever
    negative. While all batches had one size, a quarter of their cost is taken for cost of rows: larger batches are
    tried, but not much larger ones.

    Example:
        >>> cost = Cost()
        >>> for rows in (1, 10, 100):
        ...     cost.learn(rows, 0.002 + 0.001 * rows)
        >>> round(cost.seconds(1000), 3), cost.rows(0.102)
        (1.002, 100)
    """

    def __init__(self) -> None:
        self.a = self.b = 0.0
        self._weight = self._n = self._s = self._nn = self._ns = 0.0

    def learn(self, rows: float, seconds: float) -> None:
        """Take in one batch.

        Args:
            rows: Its rows, above 0.
            seconds: What it took.
        """
        seconds = max(seconds, _LEAST)
        weight = 1.0 / seconds
        self._weight = _FORGET * self._weight + weight
        self._n = _FORGET * self._n + weight * rows
        self._s = _FORGET * self._s + 1.0
        self._nn = _FORGET * self._nn + weight * rows * rows
        self._ns = _FORGET * self._ns + rows
        mean, spent = self._n / self._weight, self._s / self._weight
        variance = self._nn / self._weight - mean * mean
        if variance <= 1e-6 * mean * mean:
            self.a, self.b = _ROWS * spent / mean, (1.0 - _ROWS) * spent
            return
        a = (self._ns / self._weight - mean * spent) / variance
        if a <= 0.0:
            self.a, self.b = 0.0, spent
        elif (b := spent - a * mean) < 0.0:
            self.a, self.b = self._ns / self._nn, 0.0
        else:
            self.a, self.b = a, b

    def seconds(self, rows: float) -> float:
        """What a batch of so many rows is expected to take; 0 while nothing is known."""
        return self.a * rows + self.b

    def rows(self, seconds: float) -> int | float:
        """Most rows that are expected to fit into some seconds; infinite if nothing speaks against it."""
        left = seconds - self.b
        if left < 0.0:
            return 0
        return math.floor(left / self.a + 1e-9) if self.a > 0.0 else math.inf
