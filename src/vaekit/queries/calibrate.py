"""Calibration: reference scores from rows that neither training nor early stopping saw."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vaekit.arrays import Array
from vaekit.queries.base import observed_shares
from vaekit.queries.conformal import SAMPLES, SEED, shared_draw
from vaekit.queries.score import bounds

if TYPE_CHECKING:
    from vaekit.runtime.engine import Engine

__all__ = ["calibrate"]


def calibrate(engine: Engine, table: Any) -> dict[str, Array]:
    """Sorted scores of calibration rows, and how strange each field usually is.

    Args:
        engine: The model.
        table: Calibration rows, n of them.

    Returns:
        ``score`` and ``anomaly``: sorted, shape (n,); ``usual``: mean of -log of the probability of each model field,
        read at its resolution, where it is observed, shape (F,); ``noise.*``: the draw that all rows were scored with,
        shape (K, 1, *shape).
    """
    blocks = engine.encode(engine.contract.table(table))
    bound, shares = bounds(engine, blocks, samples=SAMPLES, seed=SEED, attribution=True)
    observed, resolved = observed_shares(engine, blocks), engine.contract.resolution(blocks)
    usual = [(share - resolved[name]).sum() / (observed[name].sum() or 1.0) for name, share in shares.items()]
    scores = {"score": np.sort(bound), "anomaly": np.sort(bound - sum(resolved.values())), "usual": np.array(usual)}
    return scores | shared_draw(engine, SAMPLES, SEED, 1)
