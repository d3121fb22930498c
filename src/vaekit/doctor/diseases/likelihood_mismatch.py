"""A likelihood that does not fit its column: given the code, real values lie where the likelihood seldom draws."""

from __future__ import annotations

import numpy as np

from vaekit.doctor.base import Disease, Evidence, Finding, Picture, Treatment
from vaekit.doctor.patient import Patient

__all__ = ["DISEASE", "farthest"]

_OUTSIDE, _SHAPE, _ROWS = 0.3, 0.15, 50
_EDGE, _CLIP = 0.05, 0.01
_FEW = 4  # values of a number from which on it is one


def _examine(patient: Patient) -> Finding | None:
    known = {name: rank[np.isfinite(rank)] for name, rank in patient.ranks.items()}
    known = {name: rank for name, rank in known.items() if len(rank) >= _ROWS}
    if not known or patient.engine is None or not patient.alike:
        return None
    outside = {name: float(((rank < _EDGE) | (rank > 1.0 - _EDGE)).mean()) for name, rank in known.items()}
    least = farthest(min(len(rank) for rank in known.values()), len(known))
    shape = {name: float(_shape(rank)) for name, rank in known.items()}
    worse = {name: max(outside[name] / _OUTSIDE, shape[name] / max(_SHAPE, least)) for name in known}
    order = sorted(worse, key=lambda name: -worse[name])[:20]
    bad = [name for name in order if worse[name] > 1.0]
    worst = order[0]
    lies = outside[worst] / _OUTSIDE >= shape[worst] / max(_SHAPE, least)
    evidence = (
        Evidence(
            f"share of values of {worst} in the outer tenth of what is drawn for their rows", outside[worst], _OUTSIDE
        )
        if lies
        else Evidence(
            f"distance of the errors of {worst} from the shape they should have", shape[worst], max(_SHAPE, least)
        )
    )
    return Finding(
        "likelihood mismatch",
        (evidence,),
        f"Real values of {', '.join(bad[:5]) or 'no column'} lie where their likelihood seldom draws.",
        Treatment(
            "the default likelihood on the default scale for these columns; numbers of few values as categories",
            {"warmup": 0.3} if bad else {},
            {name: _default(patient, name) for name in bad},
        ),
        Picture(
            "Share of values in the outer tenth of what is drawn",
            {"share": [outside[name] for name in order]},
            order,
            "",
            _OUTSIDE,
        ),
    )


def farthest(rows: int, columns: int, alpha: float = 0.01) -> float:
    """Kolmogorov's distance that the worst of so many true columns exceeds with a chance of at most alpha.

    References:
        Massart, The tight constant in the Dvoretzky-Kiefer-Wolfowitz inequality, 1990; Bonferroni over columns.

    Example:
        >>> round(farthest(100, 1), 3), round(farthest(100, 50), 3)
        (0.163, 0.215)
    """
    return float(np.sqrt(np.log(2.0 * columns / alpha) / (2.0 * rows)))


def _default(patient: Patient, name: str) -> dict[str, object]:
    """The kind's default; numbers of which there are few values are categories."""
    assert patient.engine is not None
    import pyarrow.compute as pc

    rows = patient.rows("fresh")
    if patient.engine.contract[name].kind == "count":
        return {"likelihood": "negative_binomial", "options": {}}
    if rows is not None and pc.count_distinct(rows[name]).as_py() <= _FEW:
        return {"kind": "category"}
    return {"likelihood": "gaussian", "transform": "quantile", "options": {}}


def _shape(ranks: np.ndarray) -> float:
    """Kolmogorov's distance of the normal scores of ranks from a normal distribution of their own mean and scale."""
    from scipy.special import ndtr, ndtri

    scores = np.sort(ndtri(np.clip(ranks, _CLIP, 1.0 - _CLIP)))
    fitted = ndtr((scores - scores.mean()) / max(scores.std(), 1e-9))
    places = np.arange(1, len(scores) + 1) / len(scores)
    return float(max(np.abs(places - fitted).max(), np.abs(places - 1.0 / len(scores) - fitted).max()))


DISEASE = Disease(
    "likelihood mismatch", _examine, f"{_ROWS} rows or more like those of training, with numbers or counts"
)
