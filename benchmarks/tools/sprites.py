"""Sprites of six factors, 64 x 64, black and white: colour, shape, scale, rotation, x and y; 737,280 images in all.

The factors and their values are those of the public definition (one colour; square, ellipse and heart; six scales from
0.5 to 1; forty rotations over a full turn; 32 places in x and in y). Images are rendered here from the formulas of the
shapes, so they are not the bytes of the published set.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["COUNT", "SIZES", "factors_of", "render", "sprites"]

SIZES = (1, 3, 6, 40, 32, 32)
COUNT = 737_280
_SIDE = 64
_RADIUS = 0.19  # of the largest shape, in sides of the image
_MARGIN = 0.24  # between the centre of a shape and the border, at least
_CHUNK = 2048


def factors_of(numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """The six factors of images by number, from 0 to 737,279: shape (N, 6).

    Example:
        >>> factors_of(np.array([0, COUNT - 1])).tolist()
        [[0, 0, 0, 0, 0, 0], [0, 2, 5, 39, 31, 31]]
    """
    return np.stack(np.unravel_index(numbers, SIZES), 1)


def render(factors: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Images of factors (N, 6): shape (N, 64, 64), 0 and 255.

    Example:
        >>> render(np.array([[0, 0, 5, 0, 16, 16]])).mean() > 10
        True
    """
    axis = (np.arange(_SIDE) + 0.5) / _SIDE
    y, x = np.meshgrid(axis, axis, indexing="ij")
    found = np.empty((len(factors), _SIDE, _SIDE), np.uint8)
    for start in range(0, len(factors), _CHUNK):
        part = factors[start : start + _CHUNK]
        shape, scale, turn = part[:, 1], 0.5 + 0.1 * part[:, 2], part[:, 3] * (2.0 * np.pi / 40)
        centre = _MARGIN + (1.0 - 2.0 * _MARGIN) * part[:, 4:] / 31.0
        dx, dy = x[None] - centre[:, 0, None, None], y[None] - centre[:, 1, None, None]
        cos, sin = np.cos(turn)[:, None, None], np.sin(turn)[:, None, None]
        size = (_RADIUS * scale)[:, None, None]
        u, v = (cos * dx + sin * dy) / size, (cos * dy - sin * dx) / size
        square = np.maximum(np.abs(u), np.abs(v)) <= 0.78
        ellipse = np.square(u) + np.square(2.0 * v) <= 1.0
        heart = _heart(u, v)
        inside = np.where(shape[:, None, None] == 0, square, np.where(shape[:, None, None] == 1, ellipse, heart))
        found[start : start + _CHUNK] = inside * np.uint8(255)
    return found


def sprites(rows: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Different images at random, and their factors."""
    numbers = np.random.default_rng(seed).choice(COUNT, rows, replace=False)
    factors = factors_of(numbers)
    return render(factors), factors


def _heart(u: NDArray[np.float64], v: NDArray[np.float64]) -> NDArray[np.bool_]:
    a, b = 1.2 * u, 0.15 - 1.2 * v
    return (a * a + b * b - 1.0) ** 3 - a * a * b**3 <= 0.0
