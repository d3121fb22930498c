"""One examination: every disease is looked for, and what could not be looked for is said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vaekit.doctor.base import Finding, Treatment, known_diseases
from vaekit.doctor.patient import Patient
from vaekit.errors import VaekitError

__all__ = ["Diagnosis", "examine"]


@dataclass(frozen=True)
class Diagnosis:
    """What an examination found.

    Args:
        findings: One per disease that was looked for.
        skipped: Disease to what it would take to look for it.
    """

    findings: tuple[Finding, ...]
    skipped: Mapping[str, str]

    @property
    def ill(self) -> tuple[Finding, ...]:
        """The diseases that were found."""
        return tuple(one for one in self.findings if one.ill)

    def treatment(self) -> Treatment:
        """What helps against all that was found; where two treatments differ about an option, the first one has it."""
        options: dict[str, object] = {}
        fields: dict[str, dict[str, object]] = {}
        for one in self.ill:
            options = {**one.treatment.options, **options}
            for name, change in one.treatment.fields.items():
                fields[name] = {**change, **fields.get(name, {})}
        for name, change in fields.items():
            if "kind" in change:  # options of another kind mean nothing to it
                fields[name] = {"kind": change["kind"]}
        return Treatment("; ".join(one.treatment.words for one in self.ill), options, fields)


def examine(patient: Patient) -> Diagnosis:
    """Look for every disease.

    Args:
        patient: A run or bundle, with rows where there are some.

    Returns:
        Findings, the ill ones first, and what could not be looked for.
    """
    findings: list[Finding] = []
    skipped: dict[str, str] = {}
    for name, disease in known_diseases().items():
        try:
            found = disease.examine(patient)
        except VaekitError as error:  # a bundle without the graph, rows that do not fit
            skipped[name] = str(error)
            continue
        if found is None:
            skipped[name] = disease.needs
        else:
            findings.append(found)
    return Diagnosis(tuple(sorted(findings, key=lambda one: not one.ill)), skipped)
