"""Conformal p-values: a promise about false alarms that holds for any model, on exchangeable rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vaekit.arrays import Array
from vaekit.errors import QueryError

if TYPE_CHECKING:
    from vaekit.runtime.engine import Engine

__all__ = ["check_alpha", "p_values"]


def p_values(engine: Engine, name: str, values: Array) -> Array:
    """Conformal p-values ``(1 + #{calibration ≥ value}) / (n + 1)``.

    Args:
        engine: A model whose calibration holds sorted scores under `name`.
        name: Which score.
        values: Scores of new rows, shape (B,).

    Returns:
        p-values in [1/(n+1), 1], shape (B,); NaN where the model was never calibrated.

    References:
        Vovk, Gammerman & Shafer, Algorithmic Learning in a Random World, 2005, eq. 2.20. Bates et al. 2023, eq. 3.
    """
    reference = engine.calibration.get(name)
    if reference is None or len(reference) == 0:
        return np.full(len(values), np.nan)
    above = len(reference) - np.searchsorted(reference, values, side="left")
    return (1.0 + above) / (len(reference) + 1.0)


def check_alpha(engine: Engine, name: str, alpha: float) -> None:
    """Refuse a false-alarm rate that the calibration rows cannot support.

    Raises:
        QueryError: If alpha is not in (0, 1), or below the smallest attainable p-value.
    """
    if not 0.0 < alpha < 1.0:
        raise QueryError(f"alpha is a false-alarm rate between 0 and 1, got {alpha}")
    n = len(engine.calibration.get(name, ()))
    if n == 0:
        raise QueryError("this model holds no calibration scores, so no false-alarm rate can be promised; fit it on more rows")
    if alpha * (n + 1) < 1.0 - 1e-9:
        raise QueryError(
            f"alpha={alpha} cannot be promised with {n} calibration rows: the smallest attainable is {1 / (n + 1):.3g}; "
            "ask for a larger alpha or fit with more rows"
        )
