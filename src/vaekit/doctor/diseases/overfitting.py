"""Overfitting: what was gained on training rows is not there on others."""

from __future__ import annotations

import numpy as np

from vaekit.doctor.base import Disease, Evidence, Finding, Picture, Treatment
from vaekit.doctor.patient import Patient
from vaekit.metrics.ranks import ranked

__all__ = ["DISEASE"]

_SHARE, _ERRORS, _FALL = 0.35, 3.5, 0.5


def _examine(patient: Patient) -> Finding | None:
    if patient.foreign:
        return None
    seen, unseen = patient.bounds("train"), patient.bounds("fresh")
    marginal = patient.marginal("train")
    lines = [one for one in patient.history if one["stage"] == "vae"]
    picture = Picture(
        "Bound while training",
        {"held out": [one["valid"]["elbo"] for one in lines]},
        [float(one["step"]) for one in lines],
        "step",
    )
    if seen is None or unseen is None or marginal is None:
        if len(lines) < 3:
            return None
        evidence: tuple[Evidence, ...] = (Evidence(*_fall([one["valid"]["elbo"] for one in lines]), _FALL),)
    else:
        gap = float(seen.mean() - unseen.mean())
        gain = max(float((seen + marginal).mean()), 1e-6)
        evidence = (
            Evidence("share of the nats gained on training rows that held-out rows lose", gap / gain, _SHARE),
            Evidence("standard errors by which training rows rank above others", ranked(seen, unseen)[1], _ERRORS),
            Evidence("nats per row gained on training rows", gain, 0.1, deciding=False),
        )
    return Finding(
        "overfitting",
        evidence,
        "The model knows its training rows better than rows like them: held-out figures are the ones to believe.",
        Treatment(
            "a smaller network with dropout and weight decay, stopped earlier; more rows if there are any",
            {
                "preset": "small",
                "width": 32,
                "depth": 1,
                "dropout": 0.2,
                "weight_decay": 0.01,
                "mask": 0.5,
                "beta": max(1.0, float(patient.training.get("beta", 1.0))),
                "patience": 6,
            },
        ),
        picture,
    )


def _fall(bounds: list[float]) -> tuple[str, float]:
    best = int(np.argmax(bounds))
    rise = max(bounds[best] - bounds[0], 1e-6)
    return "fall of the held-out bound after its best, as a share of its rise", (bounds[best] - bounds[-1]) / rise


DISEASE = Disease("overfitting", _examine, "the table of the fit, or the history of a run")
