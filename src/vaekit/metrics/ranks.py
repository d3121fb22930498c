"""Whether one sample of numbers lies above another, whatever their distributions."""

from __future__ import annotations

import numpy as np

from vaekit.arrays import Array

__all__ = ["ranked"]


def ranked(first: Array, second: Array) -> tuple[float, float]:
    r"""Chance that a value of the first sample exceeds one of the second, and its standard errors above one half.

    .. math:: U = P(a > b) + \tfrac12 P(a = b), \qquad (U - \tfrac12) \sqrt{12 n m / (n + m + 1)}

    Args:
        first: Values a, (n,).
        second: Values b, (m,).

    Returns:
        U in [0, 1], one half if neither lies above; and how many standard errors it lies above one half.

    References:
        Mann & Whitney, On a test of whether one of two random variables is stochastically larger than the other, 1947.

    Example:
        >>> chance, errors = ranked(np.array([2.0, 3.0]), np.array([1.0, 2.5]))
        >>> chance, round(errors, 2)
        (0.75, 0.77)
    """
    from scipy.stats import mannwhitneyu

    n, m = len(first), len(second)
    chance = float(mannwhitneyu(first, second).statistic) / (n * m)
    return chance, float((chance - 0.5) * np.sqrt(12.0 * n * m / (n + m + 1)))
