"""Conformal p-values: a promise about false alarms that holds for any model, on exchangeable rows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from vaekit.arrays import Array
from vaekit.errors import QueryError

if TYPE_CHECKING:
    from vaekit.runtime.engine import Engine

__all__ = ["SAMPLES", "SEED", "check_alpha", "comparable", "p_values", "shared_draw"]

SAMPLES, SEED = 8, 0  # calibration rows are scored with this draw; another one gives scores of another distribution
_TIE = 1e-5  # relative accuracy of a score: the same row may differ by so much between batches and backends


def p_values(engine: Engine, name: str, values: Array) -> Array:
    """Conformal p-values ``(1 + #{calibration ≥ value}) / (n + 1)``.

    A calibration score within float accuracy of the value counts as equal, so rows that repeat calibration rows, as
    rows of categories do, keep their p-value on every backend.

    Args:
        engine: A model whose calibration holds sorted scores under `name`.
        name: Which score.
        values: Scores of new rows, shape (B,).

    Returns:
        p-values in [1/(n+1), 1], shape (B,); NaN where the model was never calibrated.

    References:
        Vovk, Gammerman & Shafer, Algorithmic Learning in a Random World, 2005, chapter 2. Bates et al. 2023, section 2.
    """
    reference = engine.calibration.get(name)
    if reference is None or len(reference) == 0:
        return np.full(len(values), np.nan)
    least = values - _TIE * np.maximum(1.0, np.abs(values))
    above = len(reference) - np.searchsorted(reference, least, side="left")
    return (1.0 + above) / (len(reference) + 1.0)


def comparable(samples: int, seed: int) -> bool:
    """Whether scores of this draw can be held against the calibration scores."""
    return (samples, seed) == (SAMPLES, SEED)


def shared_draw(engine: Engine, samples: int, seed: int, rows: int) -> dict[str, Array]:
    """The one draw of noise that all rows are scored with.

    By default that is the draw of the calibration rows, which lies beside their scores: NumPy does not promise that
    another release draws the same numbers.

    Args:
        engine: The engine.
        samples: Importance samples K.
        seed: Seed of the draw.
        rows: Number of rows B.

    Returns:
        ``noise.*``, shape (K, B, *shape).
    """
    kept = {name: value for name, value in engine.calibration.items() if name.startswith("noise.")}
    if not (kept and comparable(samples, seed)):
        return engine.noise(seed, samples, rows, shared=True)
    return {name: np.broadcast_to(value, (samples, rows, *value.shape[2:])) for name, value in kept.items()}


def check_alpha(engine: Engine, name: str, alpha: float) -> None:
    """Refuse a false-alarm rate that the calibration rows cannot support.

    Raises:
        QueryError: If alpha is not in (0, 1), or below the smallest attainable p-value.
    """
    if not 0.0 < alpha < 1.0:
        raise QueryError(f"alpha is a false-alarm rate between 0 and 1, got {alpha}")
    n = len(engine.calibration.get(name, ()))
    if n == 0:
        raise QueryError(
            "this model holds no calibration scores, so no false-alarm rate can be promised; fit it on more rows, or "
            "export it with rows"
        )
    if alpha * (n + 1) < 1.0 - 1e-9:
        raise QueryError(
            f"alpha={alpha} cannot be promised with {n} calibration rows: the smallest attainable is "
            f"{attainable(engine, name):.15g}; "
            "ask for a larger alpha or fit with more rows"
        )


def attainable(engine: Engine, name: str) -> float:
    """The smallest false-alarm rate that the calibration rows support, rounded up to three digits; 1 without any.

    Args:
        engine: The model.
        name: Name of the calibration scores.
    """
    n = len(engine.calibration.get(name, ()))
    scale: int = 10 ** (2 + math.ceil(math.log10(n + 1)))
    return -(-scale // (n + 1)) / scale
