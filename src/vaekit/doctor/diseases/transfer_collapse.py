"""Collapse after transfer: on rows from elsewhere the code says next to nothing, though at home it did."""

from __future__ import annotations

import numpy as np

from vaekit.doctor.base import Disease, Evidence, Finding, Picture, Treatment
from vaekit.doctor.patient import Patient

__all__ = ["DISEASE"]

_ACTIVE, _LEFT = 0.01, 0.34


def _examine(patient: Patient) -> Finding | None:
    figures, centres = patient.evaluation.get("latent"), patient.centres
    if not patient.foreign or centres is None or not figures or len(centres) < 20:
        return None
    variance = np.sort(np.var(np.asarray(centres, np.float64), axis=0))[::-1]
    active, home = int((variance > _ACTIVE).sum()), int(figures["active_units"])
    return Finding(
        "collapse after transfer",
        (
            Evidence(
                f"active units on these rows as a share of the {home} at home", active / max(home, 1), _LEFT, "below"
            ),
            Evidence("active units at home", home, 0),
        ),
        "Codes of these rows all look alike: inference has learnt to tell other rows apart, not these.",
        Treatment("train on rows like these", {"warmup": 0.3}),
        Picture(
            "Variance over these rows, unit by unit",
            {"variance": variance.tolist()},
            [str(index + 1) for index in range(len(variance))],
            "",
            _ACTIVE,
        ),
    )


DISEASE = Disease("collapse after transfer", _examine, "20 rows or more from elsewhere than the table of the fit")
