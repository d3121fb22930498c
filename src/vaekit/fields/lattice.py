"""Readings that are rounded to a grid: which grid, and rounding to it without losing a digit."""

from __future__ import annotations

import math
from fractions import Fraction

import msgspec
import numpy as np
from numpy.typing import NDArray

from vaekit.errors import ConfigError

__all__ = ["Lattice", "find_lattice"]

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
    largest = float(np.abs(values).max())
    for decimals in range(1 if whole else MAX_DECIMALS + 1):
        scaled = values * 10.0**decimals
        if largest * 10.0**decimals * precision > 0.01 or largest * 10.0**decimals >= 2.0**53:
            return None
        rounded = np.rint(scaled)
        if np.all(np.abs(scaled - rounded) <= precision * np.maximum(np.abs(rounded), 1.0)):
            integers = rounded.astype(np.int64)
            gaps = np.diff(integers)
            if np.any(gaps == 0):
                return None
            step = int(np.gcd.reduce(gaps))
            if not whole and len(values) < OCCUPIED * (integers[-1] - integers[0]) / step:
                return None
            return Lattice(step=step, origin=int(integers[0]) % step, decimals=decimals)
    return None
