"""The distinct values of a numeric column with their counts: all that fitting a transform needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

__all__ = ["HUGE", "Profile"]

HUGE = 1e100  # larger magnitudes count as infinite: their squares overflow

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Profile:
    """Distinct finite values of a column, ascending, with the number of rows that hold each.

    Args:
        values: Distinct values, ascending.
        counts: Rows per value.
        rows: Rows of the column.
        missing: Rows without a value (null or NaN).
        infinite: Rows with an infinite value; they are left out of `values`.

    Example:
        >>> profile = Profile.of_values(np.array([1.0, 1.0, np.nan, 4.0]))
        >>> profile.values.tolist(), profile.counts.tolist(), profile.missing, profile.mean
        ([1.0, 4.0], [2, 1], 1, 2.0)
    """

    values: Float
    counts: NDArray[np.int64]
    rows: int
    missing: int
    infinite: int

    @classmethod
    def of_values(cls, column: Float) -> Profile:
        """The profile of a column of shape (B,) with NaN for what is missing."""
        finite = np.abs(column) < HUGE
        missing = int(np.isnan(column).sum())
        values, counts = np.unique(column[finite], return_counts=True)
        return cls(
            values + 0.0, counts.astype(np.int64), len(column), missing, len(column) - int(finite.sum()) - missing
        )

    def merged(self, other: Profile) -> Profile:
        """The profile of the rows of both.

        Example:
            >>> one = Profile.of_values(np.array([1.0, 2.0]))
            >>> one.merged(Profile.of_values(np.array([2.0, np.nan]))).counts.tolist()
            [1, 2]
        """
        values, where = np.unique(np.concatenate([self.values, other.values]), return_inverse=True)
        counts = np.bincount(where, np.concatenate([self.counts, other.counts]), len(values)).astype(np.int64)
        rows, missing = self.rows + other.rows, self.missing + other.missing
        return Profile(values, counts, rows, missing, self.infinite + other.infinite)

    def mapped(self, function: Callable[[Float], Float]) -> Profile:
        """The profile of a function of the column."""
        values, where = np.unique(function(self.values), return_inverse=True)
        counts = np.bincount(where, self.counts, len(values)).astype(np.int64)
        return Profile(values, counts, self.rows, self.missing, self.infinite)

    def without(self, markers: Sequence[float]) -> Profile:
        """The profile with some values counted as missing.

        Example:
            >>> Profile.of_values(np.array([1.0, -999.0, -999.0])).without([-999]).missing
            2
        """
        kept = ~np.isin(self.values, markers)
        missing = self.missing + int(self.counts[~kept].sum())
        return replace(self, values=self.values[kept], counts=self.counts[kept], missing=missing)

    @property
    def count(self) -> int:
        """Number of rows with a finite value."""
        return self.rows - self.missing - self.infinite

    @cached_property
    def below(self) -> NDArray[np.int64]:
        """Number of rows with a value smaller than or equal to each."""
        return np.cumsum(self.counts)

    @cached_property
    def mean(self) -> float:
        """Mean over rows."""
        middle = float(self.values[len(self.values) // 2])  # shifting first keeps large offsets exact
        return middle + float(np.dot(self.values - middle, self.counts)) / self.count

    @cached_property
    def deviation(self) -> float:
        """Standard deviation over rows (divided by n)."""
        return float(np.sqrt(np.dot((self.values - self.mean) ** 2, self.counts) / self.count))

    def quantile(self, share: float) -> float:
        """The smallest value with at least this share of the rows at or below it."""
        index = int(np.searchsorted(self.below, share * self.count, side="left"))
        return float(self.values[min(index, len(self.values) - 1)])

    @cached_property
    def spread(self) -> float:
        """Robust standard deviation: from the quartiles, else the outer 5 %, else all rows; 1 if constant."""
        for share, width in ((0.25, 1.34898), (0.05, 3.28971)):
            if (distance := self.quantile(1 - share) - self.quantile(share)) > 0:
                return distance / width
        return self.deviation if self.deviation > 0 else 1.0
