"""How much columns of any kind tell about each other: mutual information of binned columns, on one common scale."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vaekit.arrays import Array

__all__ = ["Information", "association", "information", "spanning_tree"]


class Information(NamedTuple):
    """Mutual information of each pair of columns.

    Args:
        nats: Bias-corrected mutual information over the rows that hold both; entropies on the diagonal. Shape (F, F).
        rows: In how many rows both are observed, shape (F, F).
    """

    nats: Array
    rows: Array


def information(codes: Array) -> Information:
    """Mutual information of each pair of columns, ``I = Σ p(a, b) log p(a, b) / (p(a) p(b))``, in nats.

    The plug-in estimate over the rows in which both columns are observed, less its bias by Miller and Madow, which
    counts the cells that occur. It can be a little below zero.

    Args:
        codes: Bin codes 0, 1, … of each column, -1 where missing, shape (N, F).

    Returns:
        Nats and numbers of rows.

    References:
        Miller, Note on the bias of information estimates, 1955. Paninski, Estimation of entropy and mutual
        information, 2003, section 4.

    Example:
        >>> same = np.array([[0, 0], [1, 1]] * 500)
        >>> information(same).nats[0, 1].round(2) == np.log(2).round(2)
        np.True_
    """
    levels = codes.max(0, initial=0) + 1
    offsets = np.cumsum(levels) - levels
    table = _hot(codes, offsets, int(levels.sum()))
    joint = (table.T @ table).astype(np.float64)  # shape: (levels of all columns, levels of all columns)
    rows_of = np.add.reduceat(joint, offsets, axis=1)  # of each level, with the other column observed: (levels, F)

    def by_pair(values: Array) -> Array:
        return np.add.reduceat(np.add.reduceat(values, offsets, axis=0), offsets, axis=1)

    def by_column(values: Array) -> Array:
        return np.add.reduceat(values, offsets, axis=0)

    count = by_pair(joint)
    first, cells = by_column(_xlogx(rows_of)), by_column((rows_of > 0).astype(np.float64))
    safe = np.maximum(count, 1.0)
    nats = np.log(safe) + (by_pair(_xlogx(joint)) - first - first.T) / safe
    nats += (cells + cells.T - by_pair((joint > 0).astype(np.float64)) - 1.0) / (2.0 * safe)
    return Information(np.where(count > 1, nats, 0.0), count)


def association(codes: Array) -> Array:
    """Informational coefficient of correlation of each pair of columns, ``r = √(1 - exp(-2 I))``.

    For two normals it is the absolute correlation, but for what binning loses; it takes numbers and categories alike,
    is 0 for independent columns, and sees dependence that is not linear or not monotone.

    Args:
        codes: Bin codes 0, 1, … of each column, -1 where missing, shape (N, F).

    Returns:
        Symmetric matrix of shape (F, F) with values from 0 to 1, ones on the diagonal.

    References:
        Linfoot, An informational measure of correlation, Information and Control 1, 1957.

    Example:
        >>> association(np.array([[0, 0], [0, 1], [1, 0], [1, 1]] * 500)).round(2).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    nats = np.maximum(information(codes).nats, 0.0)
    matrix: Array = np.sqrt(-np.expm1(-2.0 * nats))
    np.fill_diagonal(matrix, 1.0)
    return matrix


def spanning_tree(weights: Array) -> list[tuple[int, int]]:
    """The edges that join all columns without a circle and weigh most together.

    With mutual information as weights, their sum is a lower bound on the total correlation of the columns.

    Args:
        weights: Symmetric matrix of shape (F, F).

    Returns:
        F - 1 pairs of columns.

    References:
        Chow & Liu, Approximating discrete probability distributions with dependence trees, 1968. Prim 1957.

    Example:
        >>> spanning_tree(np.array([[0, 3, 1], [3, 0, 2], [1, 2, 0]]))
        [(0, 1), (1, 2)]
    """
    size = len(weights)
    best, parent = np.array(weights[0], np.float64), np.zeros(size, np.int64)
    inside = np.zeros(size, bool)
    inside[:1] = True
    edges = []
    for _ in range(size - 1):
        new = int(np.where(inside, -np.inf, best).argmax())
        edges.append((int(parent[new]), new))
        inside[new] = True
        closer = weights[new] > best
        best, parent = np.where(closer, weights[new], best), np.where(closer, new, parent)
    return edges


def _hot(codes: Array, offsets: Array, width: int) -> Array:
    table = np.zeros((len(codes), width), np.float32)
    row, column = np.nonzero(codes >= 0)
    table[row, codes[row, column] + offsets[column]] = 1.0
    return table


def _xlogx(values: Array) -> Array:
    logs: Array = values * np.log(np.maximum(values, 1.0))
    return logs
