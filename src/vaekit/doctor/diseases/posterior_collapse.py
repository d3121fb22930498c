"""Posterior collapse: the code of a row tells nothing of it, though there is something to tell."""

from __future__ import annotations

from vaekit.doctor.base import Disease, Evidence, Finding, Picture, Treatment
from vaekit.doctor.patient import Patient
from vaekit.metrics.latent import NOTHING

__all__ = ["DISEASE"]


def _examine(patient: Patient) -> Finding | None:
    figures = patient.evaluation.get("latent")
    if not figures:
        return None
    kl = sum(figures["kl"].values())
    told = kl if figures["information"] is None else min(kl, figures["information"])
    lines = [one["valid"]["latent"] for one in patient.history if "verdict" in one["valid"].get("latent", {})]
    bound = patient.training.get("objective", "elbo")
    free = {"free_bits": 0.25} if bound == "elbo" else {}
    return Finding(
        "posterior collapse",
        (
            Evidence("nats per row that the code tells", told, NOTHING, "below"),
            Evidence(f"active units of {figures['units']}", figures["active_units"], 1, "below", deciding=False),
        ),
        "The decoder ignores the code: embeddings, traversals and imputations know nothing of a row.",
        Treatment(
            "let the weight of the KL rise slowly from 0 to 1, and give every unit free bits",
            {"warmup": 0.5, "beta": min(1.0, float(patient.training.get("beta", 1.0))), **free},
        ),
        Picture(
            "Information in the code while training",
            {"KL": [sum(one["kl"].values()) for one in lines]},
            [float(one["step"]) for one in patient.history if "verdict" in one["valid"].get("latent", {})],
            "step",
            NOTHING,
        ),
        patient.told,
    )


DISEASE = Disease("posterior collapse", _examine, "a bundle with held-out figures of its latent space")
