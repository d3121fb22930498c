"""Entangled latents: units of the code move together, so that none means anything alone."""

from __future__ import annotations

import numpy as np

from vaekit.arrays import Array
from vaekit.doctor.base import Disease, Evidence, Finding, Picture, Treatment
from vaekit.doctor.patient import Patient

__all__ = ["DISEASE"]

_ACTIVE, _STRONG, _NATS = 0.01, 0.6, 0.1


def _examine(patient: Patient) -> Finding | None:
    centres, codes = patient.centres, patient.codes
    if centres is None or codes is None or len(centres) < 50 or patient.foreign:
        return None
    active = codes[:, np.var(centres, axis=0) > _ACTIVE].astype(np.float64)
    if active.shape[1] < 2 or patient.model.get("structure", "flat") != "flat":
        return None
    table: Array = np.asarray(np.corrcoef(active, rowvar=False))
    pairs = np.abs(table[np.triu_indices(len(table), 1)])
    _, log_det = np.linalg.slogdet(table + 1e-6 * np.eye(len(table)))
    order = np.sort(pairs)[::-1][:40]
    terms = {**patient.training.get("terms", {}), "total_correlation": {"weight": 5.0}}
    beta = float(patient.training.get("beta", 1.0))
    return Finding(
        "entangled latents",
        (
            Evidence("strongest correlation of two units of the code", float(pairs.max()), _STRONG),
            Evidence("nats per unit that units share", float(-0.5 * log_det) / len(table), _NATS),
        ),
        "Units of the code move together: to move one alone leaves the region that real rows take.",
        Treatment(
            "weigh the KL by 1 at least and charge for what units share (beta-TCVAE)",
            {"beta": max(1.0, beta), "warmup": 0.3, "terms": terms, "prior": "standard", **patient.plain_posterior},
        ),
        Picture(
            "Correlations of pairs of units, strongest first",
            {"correlation": order.tolist()},
            [float(index) for index in range(len(order))],
            "pair",
            _STRONG,
        ),
    )


DISEASE = Disease("entangled latents", _examine, "50 real rows or more, and two active units of one group")
