"""Which columns the others determine: a linear classifier on binned columns for each, on rows it was not fitted to."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from vaekit.arrays import Array, generator

__all__ = ["Predictable", "predictable"]


class Predictable(NamedTuple):
    """How well a column follows from all others, and how well it can be guessed without them.

    Args:
        accuracy: Share of right predictions of its bin from the other columns, on held-out rows.
        baseline: Share of right guesses of the most frequent bin.
        rows: Held-out rows in which the column is observed.
    """

    accuracy: float
    baseline: float
    rows: int

    @property
    def determined(self) -> bool:
        """Whether the others leave less than a quarter of the errors, beyond chance."""
        wrong, alone = 1.0 - self.accuracy, 1.0 - self.baseline
        noise = 2.0 * np.sqrt(max(wrong * self.accuracy, 1.0 / max(self.rows, 1)) / max(self.rows, 1))
        return bool(wrong + noise < alone / 4.0)


def predictable(codes: Array, seed: int = 0) -> list[Predictable]:
    """Ridge regression of the bins of each column on those of all others, by two-fold cross-validation.

    Args:
        codes: Bin codes 0, 1, … of each column, -1 where missing, shape (N, F).
        seed: Seed of the halves.

    Returns:
        One figure per column.

    References:
        Hastie, Tibshirani & Friedman, The Elements of Statistical Learning, 2009, section 4.2 (indicator matrix).

    Example:
        >>> a = np.random.default_rng(0).integers(0, 3, (400, 2))
        >>> found = predictable(np.column_stack([a, 2 - a[:, 0]]))
        >>> found[2].determined
        True
    """
    order = generator(seed, "predictable").permutation(len(codes))
    halves = order[: len(codes) // 2], order[len(codes) // 2 :]
    levels = codes.max(0, initial=0) + 1
    offsets = np.cumsum(levels) - levels
    table = np.zeros((len(codes), int(levels.sum())))
    row, column = np.nonzero(codes >= 0)
    table[row, codes[row, column] + offsets[column]] = 1.0
    hits = np.zeros((3, codes.shape[1]))  # shape: (right, right by guessing, asked; F)
    for fitted, asked in (halves, halves[::-1]):
        hits += _hits(table[fitted], table[asked], offsets, levels)
    return [Predictable(right / max(n, 1), usual / n if n else 1.0, int(n)) for right, usual, n in hits.T.tolist()]


def _hits(fitted: Array, asked: Array, offsets: Array, levels: Array) -> Array:
    """Per column: rows predicted right, rows guessed right, and rows in which it is observed."""
    gram = fitted.T @ fitted
    gram[np.diag_indices_from(gram)] += 1.0
    found = np.zeros((3, len(levels)))
    for column, (offset, size) in enumerate(zip(offsets, levels, strict=True)):
        own = np.arange(offset, offset + size)
        rest = np.setdiff1d(np.arange(len(gram)), own)
        seen = asked[:, own].any(1)
        if not seen.any() or not len(rest):
            continue
        weight = np.linalg.solve(gram[np.ix_(rest, rest)], gram[np.ix_(rest, own)])
        truth = asked[np.ix_(seen, own)].argmax(1)
        guess = (asked[np.ix_(seen, rest)] @ weight).argmax(1)
        usual = int(np.diag(gram)[own].argmax())
        found[:, column] = (guess == truth).sum(), (truth == usual).sum(), seen.sum()
    return found
