"""Out of memory: a run that asked for more than there was."""

from __future__ import annotations

from vaekit.doctor.base import Disease, Evidence, Finding, Treatment
from vaekit.doctor.patient import Patient

__all__ = ["DISEASE"]


def _examine(patient: Patient) -> Finding | None:
    broken = patient.failure is not None and patient.failure["kind"] == "memory"
    told = (patient.failure or {}).get("message", "")
    batch = int(patient.training.get("batch_size") or 512)
    return Finding(
        "out of memory",
        (Evidence("runs that ended because memory did", float(broken), 0.0),),
        f"The run ended for lack of memory{f': {told}' if told and broken else ''}.",
        Treatment(
            "a small network and smaller batches", {"preset": "small", "batch_size": max(16, batch // 4), "width": 64}
        ),
    )


DISEASE = Disease("out of memory", _examine, "nothing")
