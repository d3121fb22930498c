"""Readings that are rounded to a grid: which grid, and rounding to it without losing a digit."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import msgspec
import numpy as np
from numpy.typing import NDArray

from vaekit.errors import ConfigError

__all__ = ["MAX_DECIMALS", "Grid", "Lattice", "find_lattice", "merged_grid"]

MAX_DECIMALS = 6  # finer readings are as good as continuous
OCCUPIED = 1e-4  # on a sparser grid, floats count as continuous: values that repeat are then atoms
TIES = 0.9  # with a larger share of distinct values, floats count as continuous


class Lattice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    r"""The grid of a rounded reading, :math:`x = (origin + k \cdot step) / 10^{decimals}` with integer k.

    Integers over a power of ten keep grid points equal to the decimals that were written, which multiples of a binary
    fraction are not.

    Args:
        step: Distance of neighbouring grid points, in units of the last decimal.
        origin: Any grid point, in units of the last decimal.
        decimals: Number of decimals.

    Example:
        >>> Lattice(step=115078, decimals=5).delta
        1.15078
        >>> float(Lattice(step=1, decimals=1).snap(np.array([0.31]))[0])
        0.3
    """

    step: int
    origin: int = 0
    decimals: int = 0

    def __post_init__(self) -> None:
        if self.step < 1 or not 0 <= self.decimals <= 15:
            raise ConfigError(
                f"a lattice has a step of at least 1 and 0 to 15 decimals; got {self.step} and {self.decimals}"
            )

    @classmethod
    def of(cls, delta: float) -> Lattice:
        """The grid of multiples of a distance that has at most 15 decimals.

        Raises:
            ConfigError: The distance is not positive.
        """
        if not (math.isfinite(delta) and delta > 0):
            raise ConfigError(f"a lattice needs a positive distance of grid points; got {delta!r}")
        exact = Fraction(repr(float(delta)))
        decimals = next((d for d in range(16) if (exact * 10**d).denominator == 1), 15)
        return cls(step=max(1, round(exact * 10**decimals)), decimals=decimals)

    @property
    def delta(self) -> float:
        """Distance of neighbouring grid points, in the units of the column."""
        return float(self.step / 10**self.decimals)

    def index(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Number k of the grid point nearest to each value, as whole floats."""
        index: NDArray[np.float64] = np.rint((values * 10.0**self.decimals - self.origin) / self.step)
        return index

    def point(self, index: NDArray[np.float64]) -> NDArray[np.float64]:
        """Grid point of each number k; halves give cell edges."""
        return (self.origin + index * self.step) / 10.0**self.decimals

    def snap(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The grid point nearest to each value."""
        return self.point(self.index(values))


def find_lattice(values: NDArray[np.float64], rows: int, *, whole: bool, precision: float) -> Lattice | None:
    r"""The coarsest grid that holds every value, if the values look rounded to one.

    Values are scaled by the smallest power of ten up to :math:`10^6` that makes all of them whole; the step is the
    greatest common divisor of their differences. A grid is claimed for integers, and for floats of which at least a
    tenth are ties if one in ten thousand of its points is occupied.

    Args:
        values: Distinct finite values, ascending.
        rows: Number of values with repeats.
        whole: The column holds integers.
        precision: Relative precision of the column's type.

    Returns:
        The grid, or None if the reading is continuous.

    Example:
        >>> find_lattice(np.array([0.0, 1.15078, 3.45234]), 90, whole=False, precision=1e-9).delta
        1.15078
    """
    if len(values) < 2 or not (whole or len(values) < TIES * rows):
        return None
    grid = Grid.of(values, precision, most=0 if whole else MAX_DECIMALS)
    ends = (float(values[0]), float(values[-1]))
    return None if grid is None else grid.claimed(ends, len(values), rows, whole=whole, precision=precision)


@dataclass(frozen=True)
class Grid:
    """The coarsest decimal grid that holds some values; of two sets of values, the grids give that of both.

    Args:
        decimals: Smallest number of decimals with which all values are whole.
        origin: One of the values, in units of the last decimal.
        step: Greatest common divisor of the differences of the values; 0 if there is only one.

    Example:
        >>> merged_grid(Grid.of(np.array([0.5, 2.0]), 1e-12), Grid.of(np.array([0.25]), 1e-12))
        Grid(decimals=2, origin=50, step=25)
    """

    decimals: int
    origin: int
    step: int

    @classmethod
    def of(cls, values: NDArray[np.float64], precision: float, most: int = MAX_DECIMALS) -> Grid | None:
        """The grid of distinct values, ascending; None if they need more decimals, or lie too far out to tell."""
        largest = float(np.abs(values).max(initial=0.0))
        for decimals in range(most + 1):
            if _too_fine(largest, decimals, precision):
                return None
            if _are_whole(values[:: 1 + len(values) // 64], decimals, precision) is None:
                continue  # most columns are told apart by a few values
            integers = _are_whole(values, decimals, precision)
            if integers is not None:
                gaps = np.diff(integers)
                if np.any(gaps == 0):
                    return None
                return cls(decimals, int(integers[0]), int(np.gcd.reduce(gaps)) if len(gaps) else 0)
        return None

    def claimed(
        self, ends: tuple[float, float], distinct: int, rows: int, *, whole: bool, precision: float
    ) -> Lattice | None:
        """The lattice of this grid, if the values look rounded to it; see `find_lattice`.

        Args:
            ends: Smallest and largest value.
            distinct: Number of distinct values.
            rows: Number of values with repeats.
            whole: The column holds integers.
            precision: Relative precision of the column's type.
        """
        largest = max(abs(ends[0]), abs(ends[1]))
        if self.step < 1 or (whole and self.decimals) or _too_fine(largest, self.decimals, precision):
            return None
        points = (ends[1] - ends[0]) * 10.0**self.decimals / self.step
        if not whole and (distinct >= TIES * rows or distinct < OCCUPIED * points):
            return None
        return Lattice(step=self.step, origin=self.origin % self.step, decimals=self.decimals)


def merged_grid(one: Grid | None, two: Grid | None) -> Grid | None:
    """The grid of the values of both; None if those of either lie on none."""
    if one is None or two is None:
        return None
    decimals = max(one.decimals, two.decimals)
    a, b = 10 ** (decimals - one.decimals), 10 ** (decimals - two.decimals)
    step = math.gcd(one.step * a, two.step * b, one.origin * a - two.origin * b)
    return Grid(decimals, one.origin * a, step)


def _too_fine(largest: float, decimals: int, precision: float) -> bool:
    """Whether numbers of this size hold no such decimals."""
    scaled = largest * 10.0**decimals
    return scaled * precision > 0.01 or scaled >= 2.0**53


def _are_whole(values: NDArray[np.float64], decimals: int, precision: float) -> NDArray[np.int64] | None:
    """Values in units of a decimal, if they are whole there."""
    scaled = values * 10.0**decimals
    rounded = np.rint(scaled)
    if np.all(np.abs(scaled - rounded) <= precision * np.maximum(np.abs(rounded), 1.0)):
        return rounded.astype(np.int64)
    return None
