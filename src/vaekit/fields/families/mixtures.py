"""Quantiles of mixtures of normals."""

from __future__ import annotations

import numpy as np

from vaekit.fields.families.base import Float

__all__ = ["mixture_ppf"]

_HALVINGS = 60


def mixture_ppf(log_weights: Float, loc: Float, scale: Float, u: Float) -> Float:
    """The quantile function of mixtures of C normals, by bisection between the quantiles of their components.

    Args:
        log_weights: Log of the weights (..., C), which sum to one.
        loc: Means (..., C).
        scale: Standard deviations (..., C).
        u: Probabilities strictly between 0 and 1 (...).

    Returns:
        Quantiles (...), in double precision.

    Example:
        >>> float(mixture_ppf(np.log([0.5, 0.5]), np.array([-3.0, 3.0]), np.ones(2), np.array(0.5)).round(6) + 0.0)
        0.0
    """
    from scipy.special import ndtr, ndtri

    each = loc + scale * ndtri(u)[..., None]
    low, high = each.min(-1), each.max(-1)
    weights = np.exp(log_weights)
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        below = (weights * ndtr((middle[..., None] - loc) / scale)).sum(-1) < u
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return np.asarray(0.5 * (low + high))
