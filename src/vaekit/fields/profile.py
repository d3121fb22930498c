"""The distinct values of a numeric column with their counts: all that fitting a transform needs.

Profiles of parts of a column add up. One that has grown beyond `EXACT` distinct values is compressed: neighbouring
light values become one, and what that may have moved is kept as a bound on the error of every rank.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from vaekit.fields.distinct import Distinct
from vaekit.fields.lattice import MAX_DECIMALS, Grid, Lattice, find_lattice, merged_grid

__all__ = ["EXACT", "HUGE", "Profile"]

HUGE = 1e100  # larger magnitudes count as infinite: their squares overflow
EXACT = 2**17  # so many distinct values are kept as they are
POINTS = 2**15  # to so many groups of equal mass more of them are compressed
TAILS = 512  # towards both ends a group holds at most this part of the rows beyond it, so that tails stay sharp

Float = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class _Summary:
    """What compression would lose, carried along exactly (and the number of distinct values, nearly so).

    Args:
        error: Most rows by which any rank may be off.
        mean: Mean over rows.
        squares: Sum of squared deviations from it.
        grid: The decimal grid that holds every value, if there is one.
        distinct: Hashes that tell how many distinct values there were.
    """

    error: float
    mean: float
    squares: float
    grid: Grid | None
    distinct: Distinct


@dataclass(frozen=True)
class Profile:
    """Distinct finite values of a column, ascending, with the number of rows that hold each.

    Args:
        values: Distinct values, ascending; some of them, extremes and heavy ones included, if compressed.
        counts: Rows per value; of a compressed profile, rows of the group of neighbours that the value stands for.
        rows: Rows of the column.
        missing: Rows without a value (null or NaN).
        infinite: Rows with an infinite value; they are left out of `values`.
        precision: Relative precision of the column's type: what counts as lying on a grid.
        summary: What is known beside the values of a compressed profile; None of an exact one.

    Example:
        >>> profile = Profile.of_values(np.array([1.0, 1.0, np.nan, 4.0]))
        >>> profile.values.tolist(), profile.counts.tolist(), profile.missing, profile.mean
        ([1.0, 4.0], [2, 1], 1, 2.0)
    """

    values: Float
    counts: Ints
    rows: int
    missing: int
    infinite: int
    precision: float = 1e-12
    summary: _Summary | None = None

    @classmethod
    def of_values(cls, column: Float) -> Profile:
        """The exact profile of a column of shape (B,) with NaN for what is missing."""
        finite = np.abs(column) < HUGE
        missing = int(np.isnan(column).sum())
        values, counts = np.unique(column[finite], return_counts=True)
        return cls(
            values + 0.0, counts.astype(np.int64), len(column), missing, len(column) - int(finite.sum()) - missing
        )

    def merged(self, other: Profile) -> Profile:
        r"""The profile of the rows of both: exact up to 2¹⁷ distinct values, compressed beyond.

        Errors of ranks add up, and a compression adds at most half the mass of its largest group, which is less than
        n / 2¹⁴ rows. Merging parts of like size, as `vaekit.fields.streams.Folded` does, compresses each row's value
        at most :math:`\log_2(n / b)` times (b rows at a time), so ranks are off by less than
        :math:`n \log_2(n / b) / 2^{15}` rows: one in 4,000 for ten million rows. `error` is the bound for the profile
        at hand, usually a third of that, whatever the order of merging.

        References:
            Munro and Paterson, Selection and sorting with limited storage, 1980, section 3. Agarwal et al., Mergeable
            summaries, 2013, section 3.1.

        Example:
            >>> one = Profile.of_values(np.array([1.0, 2.0]))
            >>> one.merged(Profile.of_values(np.array([2.0, np.nan]))).counts.tolist()
            [1, 2]
        """
        one, two = self._small(), other._small()
        values, counts = _united(one, two)
        both = replace(
            self,
            values=values,
            counts=counts,
            rows=self.rows + other.rows,
            missing=self.missing + other.missing,
            infinite=self.infinite + other.infinite,
            precision=max(self.precision, other.precision),
            summary=None,
        )
        if one.exact and two.exact:
            return both._small()
        if not (one.count and two.count):
            return replace(both, summary=one.summary or two.summary)
        return replace(both, summary=_added(one, two))._small()

    def mapped(self, function: Callable[[Float], Float]) -> Profile:
        """The profile of a function of the column; of a compressed one, of the values that stand for the others."""
        values, where = np.unique(function(self.values), return_inverse=True)
        counts = np.bincount(where, self.counts, len(values)).astype(np.int64)
        made = replace(self, values=values, counts=counts, summary=None)
        known = made._known() if self.summary is not None and made.count else None
        return made if known is None else replace(made, summary=replace(known, error=self.error))

    def without(self, markers: Sequence[float]) -> Profile:
        """The profile with some values counted as missing.

        Example:
            >>> Profile.of_values(np.array([1.0, -999.0, -999.0])).without([-999]).missing
            2
        """
        known = np.asarray(markers, np.float64)
        gone = (np.abs(self.values[:, None] - known) <= self.precision * np.abs(known)).any(axis=1)
        if not gone.any():
            return self
        out = replace(self, values=self.values[gone], counts=self.counts[gone], summary=None)
        removed = int(out.counts.sum())
        out = replace(out, rows=removed, missing=0, infinite=0)
        rest = replace(self, values=self.values[~gone], counts=self.counts[~gone], missing=self.missing + removed)
        if self.summary is None or not rest.count:
            return replace(rest, summary=None)
        return replace(rest, summary=_taken(self.summary, self.count, out))

    def _small(self) -> Profile:
        """The profile itself, or one with fewer values if it has too many: light neighbours become their median."""
        if len(self.values) <= EXACT:
            return self
        known = self.summary or self._known()
        below = self.below
        before = below - self.counts
        number, width = _cells(0.5 * (below + before), float(self.count))
        heavy = self.counts >= width
        start = number[1:] > number[:-1]
        start |= heavy[1:] | heavy[:-1]
        first = np.concatenate([[0], np.flatnonzero(start) + 1])
        under = before[first]
        mass = np.diff(under, append=self.count)
        at = np.searchsorted(below, under + 0.5 * mass, side="left")  # the weighted median of each group
        moved = max(float((under + mass - below[at]).max()), float((before[at] - under).max()))
        return replace(self, values=self.values[at], counts=mass, summary=replace(known, error=known.error + moved))

    def _known(self) -> _Summary:
        """What an exact profile says of itself."""
        squares = float(np.dot((self.values - self.mean) ** 2, self.counts))
        return _Summary(0.0, self.mean, squares, Grid.of(self.values, self.precision), Distinct.of(self.values))

    @property
    def exact(self) -> bool:
        """Whether every distinct value is there with its own count."""
        return self.summary is None

    @property
    def error(self) -> float:
        """Most rows by which the number of rows up to any value may be off; 0 if exact."""
        return 0.0 if self.summary is None else self.summary.error

    @property
    def distinct(self) -> int:
        """Number of distinct values; estimated if compressed, with a standard error of 1.6 %."""
        return len(self.values) if self.summary is None else self.summary.distinct.estimate

    @property
    def whole(self) -> bool:
        """Whether all values are whole numbers."""
        if self.summary is None:
            return bool(np.all(self.values == np.floor(self.values)))
        return self.summary.grid is not None and self.summary.grid.decimals == 0

    def written_with(self, decimals: int) -> bool:
        """Whether so many decimals write every value, as far as is known."""
        grid = None if self.summary is None else self.summary.grid
        late = self.summary is not None and decimals < MAX_DECIMALS and (grid is None or grid.decimals > decimals)
        return not late and np.allclose(np.round(self.values, decimals), self.values, rtol=1e-15, atol=0.0)

    @property
    def consecutive(self) -> bool:
        """Whether the rows hold whole numbers without gaps and repeats, as far as is known."""
        span = self.whole and self.count == self.rows and self.values[-1] - self.values[0] == self.rows - 1
        return span and (self.distinct == self.rows if self.exact else self.distinct > 0.9 * self.rows)

    def lattice(self, *, whole: bool, precision: float) -> Lattice | None:
        """The grid that the values look rounded to; arguments as in `find_lattice`."""
        if self.summary is None:
            return find_lattice(self.values, self.count, whole=whole, precision=precision)
        ends = (float(self.values[0]), float(self.values[-1]))
        grid = self.summary.grid
        return None if grid is None else grid.claimed(ends, self.distinct, self.count, whole=whole, precision=precision)

    @property
    def count(self) -> int:
        """Number of rows with a finite value."""
        return self.rows - self.missing - self.infinite

    @cached_property
    def below(self) -> Ints:
        """Number of rows with a value smaller than or equal to each."""
        return np.cumsum(self.counts)

    @cached_property
    def mean(self) -> float:
        """Mean over rows."""
        if self.summary is not None:
            return self.summary.mean
        middle = float(self.values[len(self.values) // 2])  # shifting first keeps large offsets exact
        return middle + float(np.dot(self.values - middle, self.counts)) / self.count

    @cached_property
    def deviation(self) -> float:
        """Standard deviation over rows (divided by n)."""
        if self.summary is not None:
            return float(np.sqrt(self.summary.squares / self.count))
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


def _united(one: Profile, two: Profile) -> tuple[Float, Ints]:
    """The values of both, ascending, and the rows of each."""
    values = np.concatenate([one.values, two.values])
    order = np.argsort(values, kind="stable")  # two ascending runs: linear time
    values, counts = values[order], np.concatenate([one.counts, two.counts])[order]
    first = np.flatnonzero(np.concatenate([[True], np.diff(values) > 0])) if len(values) else np.zeros(0, np.intp)
    return values[first], np.add.reduceat(counts, first) if len(values) else counts


def _added(one: Profile, two: Profile) -> _Summary:
    """What is known of both together, one at least compressed (Chan, Golub and LeVeque 1979, eq. 2.1)."""
    a, b = one.summary or one._known(), two.summary or two._known()
    share, gap = two.count / (one.count + two.count), b.mean - a.mean
    return _Summary(
        a.error + b.error,
        a.mean + gap * share,
        a.squares + b.squares + gap * gap * one.count * share,
        merged_grid(a.grid, b.grid),
        a.distinct.merged(b.distinct),
    )


def _taken(known: _Summary, rows: int, out: Profile) -> _Summary:
    """What is known of `rows` rows without those of an exact profile: `_added` undone, but for grid and hashes."""
    left = rows - out.count
    mean = known.mean + (known.mean - out.mean) * out.count / left
    gap = out.mean - mean
    squares = known.squares - out.deviation**2 * out.count - gap * gap * out.count * left / rows
    return replace(known, mean=mean, squares=max(squares, 0.0))


def _cells(rank: Float, total: float) -> tuple[Float, Float]:
    r"""Number of the cell that each rank falls into, ascending, and the width of the cells there.

    Cells are :math:`\min(r / TAILS, n / POINTS)` wide at r rows from the nearer end: k(r) counts them from there.
    """
    flat, knee = total / POINTS, total * TAILS / POINTS
    low, high = np.searchsorted(rank, [knee, total - knee])
    shift = TAILS * np.log(knee) - TAILS  # where both rules meet, so do the numbers
    number, width = rank / flat + shift, np.full(len(rank), flat)
    number[:low], width[:low] = TAILS * np.log(rank[:low]), rank[:low] / TAILS
    beyond = total - rank[high:]
    number[high:], width[high:] = POINTS + 2.0 * shift - TAILS * np.log(beyond), beyond / TAILS
    return np.floor(number), width
