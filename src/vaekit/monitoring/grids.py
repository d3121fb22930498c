"""Edges of the buckets that nats are counted in."""

from __future__ import annotations

import math

import numpy as np

from vaekit.arrays import Array

__all__ = ["DIVERGENCES", "NATS", "edges_of"]

NATS = (-1000.0, -300.0, -100.0, -50.0, -20.0, -10.0, 0.0, 10.0, 20.0, 50.0, 100.0, 300.0, 1000.0, 10000.0)
DIVERGENCES = (-1.0, 0.0, 0.5, 1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 15.0, 20.0, 30.0, 50.0, 100.0, 200.0, 500.0, 1000.0)

_LEAST = 20  # calibration rows that quantiles are taken of
_LEVELS = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
_BELOW, _ABOVE = (1.0, 0.5), (0.5, 1.0, 2.0, 5.0, 20.0, 100.0)  # in widths of the range between the outer levels


def edges_of(scores: Array | None) -> tuple[float, ...]:
    """Edges for scores and reconstructions: quantiles of the calibration scores, and some beyond them on both sides.

    Reconstructions are smaller than scores by the divergence, and drifting rows score higher, so the edges go on
    outside the range of the calibration rows.

    Args:
        scores: Scores of calibration rows, if there are any.

    Returns:
        Ascending edges with about three digits; a fixed grid where there are too few scores.

    Example:
        >>> edges_of(np.arange(1001.0))[:7]
        (-970.0, -480.0, 10.0, 50.0, 100.0, 250.0, 500.0)
        >>> edges_of(None) == NATS
        True
    """
    finite = np.zeros(0) if scores is None else scores[np.isfinite(scores)]
    if len(finite) < _LEAST:
        return NATS
    inner = np.quantile(finite, _LEVELS)
    low, high = float(inner[0]), float(inner[-1])
    width = max(high - low, 1e-3 * max(abs(low), abs(high), 1.0))
    edges = [low - times * width for times in _BELOW] + inner.tolist() + [high + times * width for times in _ABOVE]
    step = 10.0 ** (math.floor(math.log10(width)) - 2)
    digits = max(0, -round(math.log10(step)))
    return tuple(sorted({round(round(edge / step) * step, digits) for edge in edges}))
