"""Numerical instability: training ended in numbers that are not finite, or jumped about."""

from __future__ import annotations

from vaekit.doctor.base import Disease, Evidence, Finding, Picture, Treatment
from vaekit.doctor.patient import Patient

__all__ = ["DISEASE"]

_FALL = 1.0


def _examine(patient: Patient) -> Finding | None:
    lines = [one for one in patient.history if one["stage"] == "vae"]
    broken = patient.failure is not None and patient.failure["kind"] == "not finite"
    if len(lines) < 3 and patient.failure is None:
        return None
    told = [one["valid"]["reconstruction"] for one in lines]
    rise = max(max(told) - told[0], 1.0) if told else 1.0
    falls = [min(max(told[:at]), max(told[at + 1 :])) - told[at] for at in range(1, len(told) - 1)]
    fall = max([0.0, *falls])  # that came and went: one that stays may be overfitting
    rate = float(patient.training.get("learning_rate", 4e-3))
    evidence = [
        Evidence(
            "deepest fall of the held-out reconstruction that came and went, as a share of its rise", fall / rise, _FALL
        )
    ]
    if broken:
        evidence = [Evidence("losses or gradients that were not finite", 1.0, 0.0)]
    sentence = "Steps are too long: the weights jump, and what was learnt is lost or is no number any more."
    return Finding(
        "numerical instability",
        tuple(evidence),
        sentence if not broken else f"{sentence} The run said: {(patient.failure or {}).get('message', '')}",
        Treatment(
            "a lower learning rate, and gradients that are clipped earlier",
            {"learning_rate": min(rate / 10.0, 1e-3), "clip": 1.0},
        ),
        Picture("Reconstruction while training", {"held out": told}, [float(one["step"]) for one in lines], "step"),
    )


DISEASE = Disease("numerical instability", _examine, "the history of a run")
