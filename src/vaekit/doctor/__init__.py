"""The doctor: names what is wrong with a model by evidence, and says what helps; one small module per disease."""

from __future__ import annotations

from vaekit.doctor.base import Disease, Evidence, Finding, Picture, Treatment, known_diseases
from vaekit.doctor.examine import Diagnosis, examine
from vaekit.doctor.patient import Patient

__all__ = [
    "Diagnosis", "Disease", "Evidence", "Finding", "Patient", "Picture", "Treatment", "examine", "known_diseases",
]  # fmt: skip
