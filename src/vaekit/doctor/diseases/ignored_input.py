"""A posterior that is the same whatever the input: inference has learnt nothing."""

from __future__ import annotations

import numpy as np

from vaekit.doctor.base import Disease, Evidence, Finding, Picture, Treatment
from vaekit.doctor.patient import Patient

__all__ = ["DISEASE"]

_VARIANCE = 0.01


def _examine(patient: Patient) -> Finding | None:
    centres = patient.centres
    if centres is None or not patient.alike:
        return None
    variance = np.sort(np.var(np.asarray(centres, np.float64), axis=0))[::-1]
    lagging = {"lagging": 20} if patient.evaluation.get("latent", {}).get("information") is not None else {}
    return Finding(
        "input ignored",
        (Evidence("largest variance of a unit of the code over rows", float(variance[0]), _VARIANCE, "below"),),
        "The code is the same whatever the row: the inference network gives back the prior.",
        Treatment(
            "let inference run ahead of the decoder, show it whole rows more often, and weigh the KL by 1 at most",
            {"mask": 0.1, "beta": min(1.0, float(patient.training.get("beta", 1.0))), "warmup": 0.5, **lagging},
        ),
        Picture("Variance over rows, unit by unit", {"variance": variance.tolist()}, _names(variance), "", _VARIANCE),
        patient.told,
    )


def _names(values: np.ndarray) -> list[str]:
    return [str(index + 1) for index in range(len(values))]


DISEASE = Disease("input ignored", _examine, "real rows like those of training")
