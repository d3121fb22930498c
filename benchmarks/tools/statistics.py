"""Means, ranks and a paired bootstrap over sets and seeds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

__all__ = ["Figures", "mean_ranks", "paired_bootstrap"]

Figures = dict[str, NDArray[np.float64]]
"""Method to its figures, shape (sets, seeds); larger is better."""


def mean_ranks(figures: Figures) -> dict[str, float]:
    """Mean over sets of the rank of each method's mean over seeds; 1 is best, ties share."""
    means = np.stack([values.mean(1) for values in figures.values()])  # shape: (methods, sets)
    return dict(zip(figures, rankdata(-means, axis=0).mean(1).tolist(), strict=True))


def paired_bootstrap(
    ours: NDArray[np.float64], rival: NDArray[np.float64], seed: int, draws: int = 10_000
) -> dict[str, float]:
    """Difference of means, with an interval from drawing sets, and seeds within each drawn set, with replacement.

    Args:
        ours: Figures (sets, seeds).
        rival: Figures of a rival on the same sets and seeds.
        seed: Seed of the draws.
        draws: Number of draws.

    Returns:
        ``difference``, its 95 % interval ``low`` to ``high``, and ``better``: the share of draws above 0.
    """
    gap = ours - rival
    rng = np.random.default_rng(seed)
    sets, seeds = gap.shape
    chosen = rng.integers(sets, size=(draws, sets))
    within = rng.integers(seeds, size=(draws, sets, seeds))
    means = gap[chosen[..., None], within].mean((1, 2))
    low, high = np.quantile(means, [0.025, 0.975])
    better = float((means > 0).mean())
    return {"difference": float(gap.mean()), "low": float(low), "high": float(high), "better": better}
