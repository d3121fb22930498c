"""No threshold: a model without calibration rows cannot say when a row is unusual."""

from __future__ import annotations

from vaekit.doctor.base import Disease, Evidence, Finding, Treatment
from vaekit.doctor.patient import Patient

__all__ = ["DISEASE"]


def _examine(patient: Patient) -> Finding | None:
    if patient.bundle is None:
        return None
    rows = len(patient.bundle.calibration.get("anomaly", ()))
    return Finding(
        "unset threshold",
        (Evidence("calibration rows", float(rows), 1.0, "below"),),
        "No row was kept for calibration, so no false-alarm rate can be promised and `detect` has no threshold.",
        Treatment("keep a tenth of the rows for calibration", {"calibration": 0.1}),
    )


DISEASE = Disease("unset threshold", _examine, "a bundle")
