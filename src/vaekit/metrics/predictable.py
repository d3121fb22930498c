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
    """Ridge regression of the bins of each column on the bins of all others, fitted to a random half of the rows.

    Args:
        codes: Bin codes 0, 1, … of each column, -1 where missing, shape (N, F).
        seed: Seed of the halves.

    Returns:
        One figure per column.

    References:
        Hastie, Tibshirani & Friedman, The Elements of Statistical Learning, 2009, section 4.2 (indicator matrix).

    Example:
        >>> a = np.random.default_rng(0).integers(0, 3, (400, 2))
        >>> found = predictable(np.column_stack([a, a.sum(1)]))
        >>> found[2].determined
        True
    """
    order = generator(seed, "predictable").permutation(len(codes))
    half = len(codes) // 2
    levels = codes.max(0, initial=0) + 1
    offsets = np.cumsum(levels) - levels
    table = np.zeros((len(codes), int(levels.sum())))
    row, column = np.nonzero(codes >= 0)
    table[row, codes[row, column] + offsets[column]] = 1.0
    fitted, asked = table[order[:half]], table[order[half:]]
    gram = fitted.T @ fitted
    gram[np.diag_indices_from(gram)] += 1.0
    found = []
    for offset, size in zip(offsets, levels, strict=True):
        own = np.arange(offset, offset + size)
        rest = np.setdiff1d(np.arange(len(gram)), own)
        seen = asked[:, own].any(1)
        if not seen.any() or not len(rest):
            found.append(Predictable(0.0, 1.0, 0))
            continue
        weight = np.linalg.solve(gram[np.ix_(rest, rest)], gram[np.ix_(rest, own)])
        truth = asked[np.ix_(seen, own)].argmax(1)
        guess = (asked[np.ix_(seen, rest)] @ weight).argmax(1)
        usual = int(np.diag(gram)[own].argmax())
        found.append(Predictable(float((guess == truth).mean()), float((truth == usual).mean()), int(seen.sum())))
    return found
