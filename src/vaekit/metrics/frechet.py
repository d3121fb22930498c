"""Distances between two samples in the space of some features: Fréchet, precision and recall."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["frechet_distance", "precision_recall"]

Features = NDArray[Any]
_TIE, _SAME = 1e-9, 1e-12  # relative differences that are rounding: of distances, of squares of equal rows


def frechet_distance(first: Features, second: Features) -> float:
    """Squared Fréchet distance between normals fitted to two samples: ``|m1 - m2|² + tr(C1 + C2 - 2 (C1 C2)^1/2)``.

    What it means hangs on the features: say which they are.

    Args:
        first: Shape (N, D).
        second: Shape (M, D).

    References:
        Heusel et al., GANs trained by a two time-scale update rule, 2017, eq. 6.

    Example:
        >>> x = np.random.default_rng(0).normal(size=(5000, 3))
        >>> round(frechet_distance(x, x), 6), round(frechet_distance(x, x + 2.0), 6)
        (0.0, 12.0)
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    one, other = (np.cov(x.T).reshape(x.shape[1], -1) for x in (first, second))
    values, vectors = np.linalg.eigh(one)
    root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T
    middle = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ other @ root), 0.0)).sum()
    gap = np.square(first.mean(0) - second.mean(0)).sum()
    return float(max(gap + np.trace(one) + np.trace(other) - 2.0 * middle, 0.0))


def precision_recall(real: Features, drawn: Features, neighbours: int = 5) -> dict[str, float]:
    """Shares of drawn rows near real ones and of real rows near drawn ones, and their density and coverage.

    Near is meant within the distance of a row to its k-th neighbour in its own sample.

    Args:
        real: Shape (N, D); a few thousand rows at most, for all distances are taken.
        drawn: Shape (M, D).
        neighbours: Number k; there must be more rows than that on either side.

    Returns:
        ``precision``, ``recall`` (Kynkäänniemi et al., 2019, eq. 2), ``density``, ``coverage`` (Naeem et al., 2020).

    Example:
        >>> rng = np.random.default_rng(0)
        >>> found = precision_recall(rng.normal(size=(800, 2)), rng.normal(size=(800, 2)))
        >>> min(found.values()) > 0.85
        True
    """
    between = _distances(real, drawn)
    reach_real, reach_drawn = ((1.0 + _TIE) * _reach(x, neighbours) for x in (real, drawn))
    inside = between <= reach_real[:, None]
    return {
        "precision": float(inside.any(0).mean()),
        "recall": float((between <= reach_drawn[None]).any(1).mean()),
        "density": float(inside.sum(0).mean() / neighbours),
        "coverage": float(inside.any(1).mean()),
    }


def _distances(first: Features, second: Features) -> NDArray[np.float64]:
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    sizes = np.square(first).sum(1)[:, None] + np.square(second).sum(1)[None]
    squares = sizes - 2.0 * first @ second.T
    found: NDArray[np.float64] = np.sqrt(np.where(squares > _SAME * sizes, squares, 0.0))
    return found


def _reach(x: Features, neighbours: int) -> NDArray[np.float64]:
    """Distance of each row to its k-th neighbour."""
    found: NDArray[np.float64] = np.partition(_distances(x, x), neighbours, axis=1)[:, neighbours]
    return found
