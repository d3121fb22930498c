"""Memorisation: who has the model can tell which rows it was trained on.

References:
    Yeom et al., Privacy risk in machine learning: analyzing the connection to overfitting, 2018, section 3.
"""

from __future__ import annotations

import numpy as np

from vaekit.doctor.base import Disease, Evidence, Finding, Picture, Treatment
from vaekit.doctor.patient import Patient
from vaekit.metrics.ranks import ranked

__all__ = ["DISEASE"]

_CHANCE, _ERRORS = 0.65, 3.5


def _examine(patient: Patient) -> Finding | None:
    if patient.foreign:
        return None
    seen, unseen = patient.bounds("train"), patient.bounds("fresh")
    if seen is None or unseen is None:
        return None
    found, errors = ranked(seen, unseen)
    places = np.linspace(0.05, 0.95, 19)
    levels = np.quantile(np.concatenate([seen, unseen]), places)
    return Finding(
        "memorisation",
        (
            Evidence("chance to tell a training row from another one by its score", found, _CHANCE),
            Evidence("standard errors above one half", errors, _ERRORS),
        ),
        "Scores tell who was in the training rows: not to be shared, and its samples may repeat real rows.",
        Treatment(
            "a smaller network with dropout and more hidden cells, stopped early, the KL weighed by 1 at least",
            {
                "width": 32,
                "depth": 1,
                "latent": max(2, min(6, patient.units)),
                "dropout": 0.3,
                "mask": 0.5,
                "patience": 4,
                "weight_decay": 0.05,
                "beta": max(1.0, float(patient.training.get("beta", 1.0))),
            },
        ),
        Picture(
            "Share of rows that score below x",
            {
                "training": [float((seen < at).mean()) for at in levels],
                "others": [float((unseen < at).mean()) for at in levels],
            },
            levels.tolist(),
            "bound on log p, nats",
        ),
    )


DISEASE = Disease("memorisation", _examine, "the table of the fit")
