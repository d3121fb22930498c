"""Rows that are asked about are not like the rows of training."""

from __future__ import annotations

import numpy as np

from vaekit.doctor.base import Disease, Evidence, Finding, Picture, Treatment
from vaekit.doctor.patient import Patient

__all__ = ["DISEASE"]

_ALPHA, _SHARE, _ROWS, _CALIBRATION = 0.1, 0.25, 50, 19


def _examine(patient: Patient) -> Finding | None:
    rows = patient.rows("fresh")
    if rows is None or rows.num_rows < _ROWS or patient.engine is None or patient.bundle is None:
        return None
    found = patient.unusual
    if found is None or len(patient.bundle.calibration["anomaly"]) < _CALIBRATION:
        return None
    share = float((found <= _ALPHA).mean())
    places = np.linspace(0.05, 1.0, 20)
    return Finding(
        "train/serve mismatch",
        (
            Evidence(f"share of rows that are called unusual, of which {_ALPHA:.0%} were promised", share, _SHARE),
            Evidence("standard errors above what was promised", _errors(patient, share, len(found)), 4.0),
        ),
        "These rows are not like those of training: another time, another source, or another way of preparing them.",
        Treatment(
            "find the columns by `vae score --attribution`; if the world has changed, train on rows like these",
            {"warmup": 0.3} if patient.foreign else {},
        ),
        Picture(
            "Share of rows with a p-value of at most x",
            {"these rows": [float((found <= at).mean()) for at in places], "promised": places.tolist()},
            places.tolist(),
            "p-value",
        ),
    )


def _errors(patient: Patient, share: float, rows: int) -> float:
    assert patient.bundle is not None
    calibration = len(patient.bundle.calibration["anomaly"])
    return (share - _ALPHA) / float(np.sqrt(_ALPHA * (1 - _ALPHA) * (1 / rows + 1 / calibration)))


DISEASE = Disease("train/serve mismatch", _examine, f"{_ROWS} rows to ask about, and {_CALIBRATION} calibration rows")
