"""Blurry output: what is sampled has the single columns right, but what ties them together is washed out."""

from __future__ import annotations

import numpy as np

from vaekit.arrays import Array
from vaekit.doctor.base import Disease, Evidence, Finding, Picture, Treatment
from vaekit.doctor.patient import Patient

__all__ = ["DISEASE", "kept_correlation"]

_KEPT, _STRONG, _ERRORS = 0.5, 0.3, 4.0


def _examine(patient: Patient) -> Finding | None:
    real, drawn = patient.numbers("fresh"), patient.numbers("sampled")
    if real is None or drawn is None or len(real) < 50 or not patient.alike:
        return None
    (first, rows), (second, _) = correlations(real), correlations(drawn)
    kept = kept_correlation(first, second, np.maximum(_STRONG, _ERRORS / np.sqrt(np.maximum(rows, 1.0))))
    if kept is None:
        return None
    order = np.argsort(-np.abs(first))[:200]
    return Finding(
        "blurry output",
        (Evidence("share of strong correlations that sampled rows keep", kept, _KEPT, "below"),),
        "Sampled rows are noise around the middle: columns that go together in real rows hardly do in them.",
        Treatment(
            "weigh the KL by 1, learn the scale of the noise (of a vector: one scale), and give the networks more room",
            {"beta": 1.0, "warmup": 0.3, "preset": "medium"},
            patient.learned_scales,
        ),
        Picture(
            "Correlations of pairs of columns, strongest first",
            {"real": first[order].tolist(), "sampled": second[order].tolist()},
            [float(index) for index in range(len(order))],
            "pair",
        ),
    )


def correlations(values: Array) -> tuple[Array, Array]:
    """Correlation of each pair of columns over the rows that hold both, 0 if one is constant; and how many rows do."""
    spread = np.nanstd(values, axis=0)
    white = (values - np.nanmean(values, axis=0)) / np.where(spread > 1e-9, spread, np.inf)
    there = np.isfinite(white)
    filled = np.where(there, white, 0.0)
    both = there.T.astype(float) @ there.astype(float)
    table = filled.T @ filled / np.maximum(both, 1.0)
    pairs = np.triu_indices(values.shape[1], 1)
    return table[pairs], both[pairs]


def kept_correlation(real: Array, drawn: Array, least: Array | float = _STRONG) -> float | None:
    """Projection of sampled correlations on the real ones that are strong; None where there are none.

    Args:
        real: Correlations of pairs of columns in real rows.
        drawn: The same in sampled rows.
        least: From where on a correlation is strong, of each pair or of all. Few rows show strong ones by
            chance, which no model should keep.

    Example:
        >>> kept_correlation(np.array([0.8, 0.1, -0.6]), np.array([0.4, 0.5, -0.3]))
        0.5
    """
    strong = np.abs(real) > least
    return float((real * drawn)[strong].sum() / np.square(real)[strong].sum()) if strong.any() else None


DISEASE = Disease(
    "blurry output", _examine, "50 rows or more like those of training, with numeric columns that go together"
)
