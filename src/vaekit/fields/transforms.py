"""Strictly increasing maps to encoded units, fitted per field and applied to all fields at once."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from vaekit.errors import ConfigError
from vaekit.fields.profile import Profile

__all__ = ["SMALLEST_SCALE", "Maps", "Monotone", "fit_affine"]

SMALLEST_SCALE = 1e-100  # so that slopes are finite whatever the data

Float = NDArray[np.float64]


class Monotone(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A strictly increasing, piecewise linear map; the first and last pieces continue to infinity.

    Args:
        x: Knots in the units of the column, ascending.
        y: Encoded value at each knot, ascending.

    Example:
        >>> Monotone(x=(0.0, 1.0), y=(1.0, 0.0))
        Traceback (most recent call last):
        ...
        vaekit.errors.ConfigError: a monotone map needs at least two knots, finite and strictly increasing
    """

    x: tuple[float, ...]
    y: tuple[float, ...]

    def __post_init__(self) -> None:
        with np.errstate(all="ignore"):
            steps = np.diff(np.array([self.x, self.y])) if len(self.x) == len(self.y) > 1 else np.zeros((2, 1))
            steps = np.vstack([steps, steps[1] / steps[0]])
        if not np.all(np.isfinite(steps) & (steps > 0)):
            raise ConfigError("a monotone map needs at least two knots, finite and strictly increasing")

    @property
    def slopes(self) -> Float:
        """Slope dy/dx of each piece."""
        slopes: Float = np.diff(self.y) / np.diff(self.x)
        return slopes


class Maps:
    """Several `Monotone` maps, stacked and padded so that one vectorised binary search serves all of them.

    Args:
        maps: One map per field (F of them).

    Example:
        >>> maps = Maps([Monotone(x=(0.0, 1.0), y=(0.0, 2.0)), Monotone(x=(0.0, 1.0, 2.0), y=(0.0, 1.0, 5.0))])
        >>> y, slope = maps.forward(np.array([[3.0, 1.5]]))
        >>> y.tolist(), slope.tolist(), maps.inverse(y).tolist()
        ([[6.0, 3.0]], [[2.0, 4.0]], [[3.0, 1.5]])
    """

    def __init__(self, maps: Sequence[Monotone]) -> None:
        pieces = max((len(one.x) - 1 for one in maps), default=1)
        depth = int(np.ceil(np.log2(pieces)))
        shape = (len(maps), 2**depth)
        self._x, self._y, self._rise, self._slope = np.zeros(shape), np.zeros(shape), np.zeros(shape), np.ones(shape)
        knots_x, knots_y = np.full((2, len(maps), 2**depth - 1), np.inf)  # those between the pieces, padded
        for row, one in enumerate(maps):
            count = len(one.x) - 1
            self._x[row, :count], self._y[row, :count] = one.x[:-1], one.y[:-1]
            self._rise[row, :count], self._slope[row, :count] = np.diff(one.y), one.slopes
            knots_x[row, : count - 1], knots_y[row, : count - 1] = one.x[1:-1], one.y[1:-1]
        self._levels_x, self._levels_y = _levels(knots_x, depth), _levels(knots_y, depth)
        self.log_slope: Float = np.log(self._slope)

    def pieces(self, values: Float, *, encoded: bool = False) -> NDArray[np.intp]:
        """Flat index of the piece that each value falls into; values have shape (B, F)."""
        found = np.empty(values.shape, np.intp)
        found[:] = np.arange(values.shape[1])
        knot, right = np.empty(values.shape), np.empty(values.shape, np.bool_)
        for level in self._levels_y if encoded else self._levels_x:
            level.take(found, out=knot, mode="clip")  # nothing is clipped, but other modes copy
            np.less(knot, values, out=right)
            found <<= 1
            found |= right
        return found

    def at(self, values: Float) -> tuple[Float, Float, NDArray[np.intp]]:
        """Encoded values, slopes and pieces of values of shape (B, F)."""
        piece = self.pieces(values)
        slope = self._slope.take(piece)
        encoded = values - self._x.take(piece)
        encoded *= slope
        encoded += self._y.take(piece)
        return encoded, slope, piece

    def forward(self, values: Float) -> tuple[Float, Float]:
        """Map values from the units of the columns to encoded units.

        Args:
            values: Shape (B, F).

        Returns:
            Encoded values and the slope dy/dx at each, both of shape (B, F).
        """
        encoded, slope, _ = self.at(values)
        return encoded, slope

    def inverse(self, encoded: Float) -> Float:
        """Map encoded values (B, F) back to the units of the columns."""
        values, _ = self.back(encoded)
        return values

    def back(self, encoded: Float) -> tuple[Float, NDArray[np.intp]]:
        """Values in the units of the columns, and pieces, of encoded values of shape (B, F)."""
        piece = self.pieces(encoded, encoded=True)
        values = encoded - self._y.take(piece)
        values /= self._slope.take(piece)
        values += self._x.take(piece)
        return values, piece

    def span(self, piece: NDArray[np.intp]) -> tuple[Float, Float]:
        """Middle and half the height of pieces, in encoded units."""
        half = 0.5 * self._rise.take(piece)
        return self._y.take(piece) + half, half


def _levels(knots: Float, depth: int) -> list[Float]:
    """Knots (F, 2^depth - 1) as the levels of one search tree per field: node i has its children at 2i and 2i + 1."""
    return [knots[:, 2 ** (depth - level - 1) - 1 :: 2 ** (depth - level)].ravel() for level in range(depth)]


def fit_affine(profile: Profile, *, robust: bool = False) -> Monotone:
    r"""The map :math:`y = (x - m) / s` with the mean and standard deviation, or with the median and a robust spread.

    Args:
        profile: Training values.
        robust: Use median and interquartile range, for data with heavy tails.

    Example:
        >>> fit_affine(Profile.of_values(np.array([1.0, 3.0])))
        Monotone(x=(1.0, 3.0), y=(-1.0, 1.0))
    """
    middle, scale = (profile.quantile(0.5), profile.spread) if robust else (profile.mean, profile.deviation)
    scale = max(scale if scale > 0 else 1.0, 1e-9 * abs(middle), SMALLEST_SCALE)
    return Monotone(x=(middle - scale, middle + scale), y=(-1.0, 1.0))
