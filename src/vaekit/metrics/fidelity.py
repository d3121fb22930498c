"""How much sampled rows look like real ones: marginals and pairs of columns, on one common scale.

Both measures work on binned columns, so numbers and categories compare alike: 1 is equal, 0 is disjoint.
"""

from __future__ import annotations

import numpy as np

from vaekit.arrays import Array

__all__ = ["marginal_similarity", "pairwise_similarity"]


def marginal_similarity(real: Array, sampled: Array) -> Array:
    """One minus the total variation distance of each column, ``1 - ½ Σ_b |p_b - q_b|``.

    Args:
        real: Bin codes 0, 1, … of real rows, shape (N, F).
        sampled: Bin codes of sampled rows with the same bins, shape (M, F).

    Returns:
        Shape (F,), between 0 and 1.

    Example:
        >>> marginal_similarity(np.array([[0], [1]]), np.array([[0], [0]])).tolist()
        [0.5]
    """
    bins = int(max(real.max(), sampled.max())) + 1
    similarity: Array = 1.0 - 0.5 * np.abs(_shares(real, bins) - _shares(sampled, bins)).sum(-1)
    return similarity


def pairwise_similarity(real: Array, sampled: Array) -> Array:
    """One minus the total variation distance of the joint bins of each pair of columns.

    Args:
        real: Bin codes of real rows, shape (N, F).
        sampled: Bin codes of sampled rows, shape (M, F).

    Returns:
        Symmetric matrix of shape (F, F) with ones on the diagonal.

    Example:
        >>> both = np.array([[0, 0], [1, 1]])
        >>> pairwise_similarity(both, np.array([[0, 1], [1, 0]]))[0, 1].item()
        0.0
    """
    bins = int(max(real.max(), sampled.max())) + 1
    fields = real.shape[1]
    first, second = np.triu_indices(fields, 1)
    table = np.eye(fields)
    table[first, second] = marginal_similarity(
        real[:, first] * bins + real[:, second], sampled[:, first] * bins + sampled[:, second]
    )
    return np.maximum(table, table.T)


def _shares(codes: Array, bins: int) -> Array:
    flat = codes + np.arange(codes.shape[1]) * bins
    return np.bincount(flat.ravel(), minlength=bins * codes.shape[1]).reshape(codes.shape[1], bins) / len(codes)
