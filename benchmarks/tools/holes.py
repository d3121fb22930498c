"""Holes in a table under the three mechanisms of missing data."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit

__all__ = ["MECHANISMS", "holes"]

MECHANISMS = ("mcar", "mar", "mnar")
_KEPT = 0.3  # share of columns that stay complete where the others are missing at random
_SLOPE = 2.0  # logits per standard deviation


def holes(values: NDArray[np.float64], mechanism: str, share: float, seed: int) -> NDArray[np.bool_]:
    """Which cells are missing.

    ``mcar``: each cell with the same probability. ``mar``: three columns in ten stay complete, and in each of the
    others the log-odds of a hole are linear in these. ``mnar``: the log-odds are linear in the cell's own value,
    upwards or downwards at random by column. Every column that has holes misses the same share.

    Args:
        values: Complete cells (B, D).
        mechanism: One of `MECHANISMS`.
        share: Expected share of missing cells in a column with holes.
        seed: The seed.

    Returns:
        True where missing, shape (B, D).
    """
    rng = np.random.default_rng([seed, MECHANISMS.index(mechanism)])
    chance = rng.random(values.shape)
    if mechanism == "mcar":
        return chance < share
    standard = (values - values.mean(0)) / values.std(0)
    columns = values.shape[1]
    if mechanism == "mnar":
        logits, holed = standard * rng.choice([-_SLOPE, _SLOPE], columns), np.ones(columns, bool)
    else:
        kept = rng.permutation(columns)[: max(1, round(_KEPT * columns))]
        holed = ~np.isin(np.arange(columns), kept)
        logits = standard[:, kept] @ rng.normal(size=(len(kept), columns))
        logits *= _SLOPE / logits.std(0)
    offset = [brentq(lambda a, z=z: float(expit(z + a).mean()) - share, -100, 100) for z in logits.T]
    return (chance < expit(logits + offset)) & holed
