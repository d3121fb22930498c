"""A latent space that is too small: all units are in use, and what is left of a row still hangs together."""

from __future__ import annotations

import numpy as np

from vaekit.arrays import Array
from vaekit.doctor.base import Disease, Evidence, Finding, Picture, Treatment
from vaekit.doctor.patient import Patient

__all__ = ["DISEASE", "dependence_of"]

_NATS, _SHARE, _CLIP = 0.25, 0.3, 1e-3


def _examine(patient: Patient) -> Finding | None:
    real, figures = patient.numbers("fresh"), patient.evaluation.get("latent")
    ranks = {name: rank for name, rank in patient.ranks.items() if np.isfinite(rank).mean() > 0.5}
    if real is None or not figures or len(ranks) < 3 or len(real) < 50 or not patient.alike:
        return None
    left, whole = dependence_of(_scores(np.stack(list(ranks.values()), 1))), dependence_of(_normal(real))
    wide = max(4, 2 * patient.units)
    return Finding(
        "latent too small",
        (
            Evidence("nats per row by which columns still hang together given the code", left, _NATS),
            Evidence("the same as a share of what there is", left / max(whole, 1e-9), _SHARE),
            Evidence("share of the units that are active", figures["active_units"] / figures["units"], 0.99),
        ),
        "Every unit is in use and the code still leaves out what columns share: it has too few units.",
        Treatment(f"twice as many units, {wide}", {"latent": wide}),
        Picture("Nats that columns share", {"nats": [whole, left]}, ["in rows", "given the code"], "", _NATS),
    )


def dependence_of(scores: Array) -> float:
    """``-½ log det R`` of normal scores, less its bias."""
    rows, width = scores.shape
    filled = np.nan_to_num(scores)
    table = np.corrcoef(filled, rowvar=False) + 1e-3 * np.eye(width)
    log_det = float(np.linalg.slogdet(table / (1.0 + 1e-3))[1])
    return float(max(0.0, -0.5 * log_det - width * (width - 1) / (4.0 * rows)))


def _scores(ranks: Array) -> Array:
    from scipy.special import ndtri

    found: Array = ndtri(np.clip(ranks, _CLIP, 1.0 - _CLIP))
    return found


def _normal(values: Array) -> Array:
    """Ranks of each column as normal scores; constant columns are left out."""
    from scipy.stats import rankdata

    kept = values[:, np.nanstd(values, axis=0) > 1e-9]
    return _scores((rankdata(kept, axis=0, nan_policy="omit") - 0.5) / len(kept))


DISEASE = Disease("latent too small", _examine, "50 rows or more like those of training, with three numeric columns")
