"""How much there is to learn beyond single columns: a lower bound on their total correlation, and its noise."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vaekit.arrays import Array, generator
from vaekit.metrics.association import information, spanning_tree

__all__ = ["Dependence", "total_dependence"]

_PERMUTATIONS = 8


class Dependence(NamedTuple):
    """How much the columns tell about each other.

    Args:
        nats: Lower bound on the total correlation in nats per row, less what independent columns give by chance.
        se: Its standard error.
        pair: The two columns that tell most about each other.
        pair_nats: How much, in nats.
    """

    nats: float
    se: float
    pair: tuple[int, int]
    pair_nats: float

    @property
    def independent(self) -> bool:
        """Whether it is within two standard errors of none at all."""
        return self.nats <= 2.0 * self.se


def total_dependence(codes: Array, numbers: Array | None = None, seed: int = 0) -> Dependence:
    """A lower bound on the total correlation ``Σ_f H(x_f) - H(x)`` of columns of any kind, in nats per row.

    The larger of two bounds: the tree of pairs that share most information, and the Gaussian copula of the numbers with
    every other column hung on by one such pair. Both estimate what was computed from chance alone by shuffling each
    column on its own, which is subtracted.

    Args:
        codes: Bin codes 0, 1, … of each column, -1 where missing, shape (N, F).
        numbers: The columns as numbers, NaN where missing or where the column is no number, shape (N, F).
        seed: Seed of the shuffles.

    Returns:
        The bound with its standard error, and the strongest pair.

    References:
        Watanabe, Information theoretical analysis of multivariate correlation, 1960. Chow & Liu 1968 (the tree).

    Example:
        >>> codes = np.random.default_rng(0).integers(0, 4, (2000, 3))
        >>> total_dependence(codes).independent
        True
    """
    rows, width = codes.shape
    if width < 2 or rows < 3:
        return Dependence(0.0, 0.0, (0, 0), 0.0)
    scores = _normal_scores(np.full(codes.shape, np.nan) if numbers is None else numbers)
    found, each, weights = _bound(codes, scores)
    rng = generator(seed, "dependence")
    chance = []
    for _ in range(_PERMUTATIONS):
        order = rng.permuted(np.tile(np.arange(rows)[:, None], (1, width)), axis=0)
        chance.append(_bound(*(np.take_along_axis(part, order, 0) for part in (codes, scores)))[0])
    se = float(np.hypot(each / np.sqrt(rows), np.std(chance, ddof=1)))
    pair = np.unravel_index(int(np.triu(weights, 1).argmax()), weights.shape)
    return Dependence(found - float(np.mean(chance)), se, (int(pair[0]), int(pair[1])), float(weights[pair]))


def _bound(codes: Array, scores: Array) -> tuple[float, float, Array]:
    """The larger bound, the spread of its terms over rows, and the mutual information of each pair."""
    found = information(codes)
    weights = found.nats * found.rows / len(codes)  # rows that lack one of the two have nothing to share
    np.fill_diagonal(weights, 0.0)
    edges = spanning_tree(weights)
    tree = float(sum(weights[edge] for edge in edges))
    spread = float(_terms(codes, edges).std())
    used = np.flatnonzero(np.abs(scores).max(0) > 0)
    if len(used) < 2:
        return tree, spread, weights
    joined = weights.copy()
    joined[np.ix_(used, used)] = 1e6  # the numbers are one node: their edges come first and weigh nothing
    hung = [edge for edge in spanning_tree(joined) if joined[edge] < 1e6]
    copula, per_row = _copula(scores[:, used])
    whole = copula + float(sum(weights[edge] for edge in hung))
    if whole <= tree:
        return tree, spread, weights
    return whole, float((per_row + _terms(codes, hung)).std()), weights


def _copula(scores: Array) -> tuple[float, Array]:
    """``-½ log det R`` of normal scores, less its bias, and the log-ratio of each row."""
    rows, width = scores.shape
    correlation = np.corrcoef(scores, rowvar=False) + 1e-3 * np.eye(width)  # columns that repeat each other stay finite
    correlation /= 1.0 + 1e-3
    _, log_det = np.linalg.slogdet(correlation)
    white = np.linalg.solve(correlation, scores.T).T
    terms: Array = -0.5 * (log_det + np.einsum("bf,bf->b", white, scores) - np.square(scores).sum(1))
    return max(0.0, float(-0.5 * log_det) - width * (width - 1) / (4.0 * rows)), terms


def _terms(codes: Array, edges: list[tuple[int, int]]) -> Array:
    """``Σ log p(a, b) / (p(a) p(b))`` over the edges, by row; zero where one of the two is missing."""
    terms = np.zeros(len(codes))
    for a, b in edges:
        both = (codes[:, [a, b]] >= 0).all(1)
        x, y = codes[both, a], codes[both, b]
        joint = np.zeros((codes[:, a].max(initial=0) + 1, codes[:, b].max(initial=0) + 1))
        np.add.at(joint, (x, y), 1.0)
        alone = joint.sum(1)[x] * joint.sum(0)[y]
        terms[both] += np.log(joint[x, y] * len(x) / alone)
    return terms


def _normal_scores(numbers: Array) -> Array:
    """Ranks as quantiles of the standard normal, 0 where missing; columns that are no numbers are all zero."""
    from scipy.special import ndtri

    scores = np.zeros(numbers.shape)
    for column in np.flatnonzero(np.isfinite(numbers).sum(0) > 2):
        seen = np.isfinite(numbers[:, column])
        values = numbers[seen, column]
        if values.min() < values.max():
            ordered = np.sort(values)
            low, high = (np.searchsorted(ordered, values, side=side) for side in ("left", "right"))
            scores[seen, column] = ndtri((low + high + 1.0) / 2.0 / (len(values) + 1.0))  # ties share their mean rank
    spread = scores.std(0)
    centred: Array = (scores - scores.mean(0) * (scores != 0)) / np.where(spread > 0, spread, 1.0)
    return centred
