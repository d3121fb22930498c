"""Calibration: reference scores from rows that neither training nor early stopping saw."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vaekit.arrays import Array
from vaekit.queries.base import read
from vaekit.queries.detect import resolution_nats
from vaekit.queries.score import SAMPLES, bounds

if TYPE_CHECKING:
    from vaekit.runtime.engine import Engine

__all__ = ["calibrate"]


def calibrate(engine: Engine, table: Any, seed: int = 0) -> dict[str, Array]:
    """Sorted scores of calibration rows, and the usual share of each field.

    Args:
        engine: The model.
        table: Calibration rows, n of them.
        seed: Seed of the scoring draw.

    Returns:
        ``score`` and ``anomaly``: sorted, shape (n,); ``usual``: mean share per model field, shape (F,).
    """
    blocks = engine.encode(read(table))
    bound, shares = bounds(engine, blocks, samples=SAMPLES, seed=seed, attribution=True)
    usual = np.array([share.mean() if len(share) else 0.0 for share in shares.values()])
    return {"score": np.sort(bound), "anomaly": np.sort(bound - resolution_nats(engine, blocks)), "usual": usual}
