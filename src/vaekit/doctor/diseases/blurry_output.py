"""Blurry output: what is sampled has the single columns right, but what ties them together is washed out."""

from __future__ import annotations

import numpy as np

from vaekit.arrays import Array
from vaekit.doctor.base import Disease, Evidence, Finding, Picture, Treatment
from vaekit.doctor.patient import Patient

__all__ = ["DISEASE", "correlations", "kept_correlation"]

_KEPT, _STRONG, _CHANCE, _ERRORS = 0.5, 0.3, 4.0, 3.0


def _examine(patient: Patient) -> Finding | None:
    real, drawn = patient.numbers("fresh"), patient.numbers("sampled")
    if real is None or drawn is None or len(real) < 50 or not patient.alike:
        return None
    (first, rows), (second, more) = correlations(real), correlations(drawn)
    strong = np.abs(first) > np.maximum(_STRONG, _CHANCE / np.sqrt(np.maximum(rows, 1.0)))
    if not strong.any():
        return None
    kept, error = kept_correlation(first[strong], second[strong], rows[strong], more[strong])
    order = np.argsort(-np.abs(first))[:200]
    return Finding(
        "blurry output",
        (
            Evidence("share of strong correlations that sampled rows keep", kept, _KEPT, "below"),
            Evidence("standard errors below that", (_KEPT - kept) / error, _ERRORS),
        ),
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
    """Correlation of each pair of columns over the rows that hold both, 0 if one is constant; and how many rows do.

    Example:
        >>> nan = np.nan
        >>> correlations(np.array([[1.0, 2.0], [2.0, 4.0], [3.0, nan], [nan, 100.0]]))
        (array([1.]), array([2.]))
    """
    spread = np.nanstd(values, axis=0)
    white = (values - np.nanmean(values, axis=0)) / np.where(spread > 1e-9, spread, np.inf)
    there = np.isfinite(white).astype(float)
    white = np.where(there > 0.0, white, 0.0)
    both = np.maximum(there.T @ there, 1.0)
    mean = white.T @ there / both  # of each column over the rows that hold another one, (D, D)
    scale = np.sqrt(np.maximum((white**2).T @ there / both - mean**2, 0.0))
    product = scale * scale.T
    table = (white.T @ white / both - mean * mean.T) / np.where(product > 1e-9, product, np.inf)
    pairs = np.triu_indices(values.shape[1], 1)
    return table[pairs], (there.T @ there)[pairs]


def kept_correlation(real: Array, drawn: Array, rows: Array, more: Array) -> tuple[float, float]:
    r"""Projection of sampled correlations on real ones, and about its standard error.

    .. math:: \frac{\sum r d}{\sum r^2}, \qquad \frac{\sqrt{\sum r^2 (1/n + 1/m)}}{\sum r^2}

    Args:
        real: Correlations r of pairs of columns in real rows.
        drawn: The same in sampled rows, d.
        rows: Number n of real rows of each pair.
        more: Number m of sampled rows of each pair.

    Example:
        >>> n = np.array([100.0, 100.0])
        >>> kept_correlation(np.array([0.8, -0.6]), np.array([0.4, -0.3]), n, n)
        (0.5, 0.1414...)
    """
    squares = np.square(real)
    total = float(squares.sum())
    error = float(np.sqrt((squares * (1.0 / rows + 1.0 / np.maximum(more, 1.0))).sum()))
    return float((real * drawn).sum()) / total, error / total


DISEASE = Disease(
    "blurry output", _examine, "50 rows or more like those of training, with numeric columns that go together"
)
