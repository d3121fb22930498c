"""An unreproducible run: where it stopped depended on the clock."""

from __future__ import annotations

from vaekit.doctor.base import Disease, Evidence, Finding, Treatment
from vaekit.doctor.patient import Patient

__all__ = ["DISEASE"]

_SHARE = 0.99


def _examine(patient: Patient) -> Finding | None:
    training, budget = patient.training, patient.training.get("max_seconds")
    if not training:
        return None
    if not patient.history and budget:
        return None
    planned = int(training.get("epochs") or 1)
    last = [one for one in patient.history if one["stage"] == "vae"][-1:]
    done = patient.epochs
    by_clock = bool(budget and last and last[0]["seconds"] > 0.9 * float(budget) and done < planned)
    missing = [name for name in ("data", "environment", "config") if not patient.record.get(name)]
    return Finding(
        "unreproducible run",
        (
            Evidence(
                "things that decided the result and are not recorded, or depend on the clock",
                float(by_clock + len(missing)),
                0.0,
            ),
        ),
        f"A time budget of {budget:g} s ended training in epoch {done} of {planned}: another machine ends elsewhere."
        if by_clock
        else f"The record lacks {', '.join(missing) or 'nothing'}.",
        Treatment(f"train for {done} epochs, however long that takes", {"epochs": done, "max_seconds": None}),
    )


DISEASE = Disease("unreproducible run", _examine, "the history of a run")
