"""What a disease is, and what an examination finds: numbers with thresholds, one line, a treatment, a picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from vaekit.doctor.patient import Patient

__all__ = ["DISEASES", "Disease", "Evidence", "Finding", "Picture", "Treatment", "known_diseases"]


@dataclass(frozen=True)
class Evidence:
    """One number and its threshold.

    Args:
        what: What was measured, with its unit.
        value: The number.
        threshold: From where on it is a sign of the disease.
        side: ``above`` or ``below``: on which side of the threshold the disease lies.
        deciding: Whether the disease is named by it; other evidence is told beside.
    """

    what: str
    value: float
    threshold: float
    side: Literal["above", "below"] = "above"
    deciding: bool = True

    @property
    def ill(self) -> bool:
        """Whether the number lies on the side of the disease."""
        return self.value > self.threshold if self.side == "above" else self.value < self.threshold

    def __str__(self) -> str:
        return f"{self.what}: {self.value:.3g} (ill {self.side} {self.threshold:.3g})"


@dataclass(frozen=True)
class Treatment:
    """What helps, in words and as changes to the fit.

    Args:
        words: What to do.
        options: Options of a fit, by name, as `vaekit.fit` takes them.
        fields: Changes to fields, by name.
    """

    words: str
    options: Mapping[str, Any] = field(default_factory=dict)
    fields: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def retrains(self) -> bool:
        """Whether training again can help."""
        return bool(self.options or self.fields)


@dataclass(frozen=True)
class Picture:
    """What to draw: lines over x, or bars by name, with the threshold.

    Args:
        title: What it shows.
        lines: Label to values.
        x: Where the values are; names for bars.
        axis: What x is.
        threshold: Drawn across.
    """

    title: str
    lines: Mapping[str, list[float]]
    x: list[float] | list[str]
    axis: str = ""
    threshold: float | None = None


@dataclass(frozen=True)
class Finding:
    """What the examination for one disease found.

    Args:
        disease: Its name.
        evidence: The numbers.
        sentence: One line: what it means.
        treatment: What helps.
        picture: The evidence as a picture.
        unless: Why the numbers do not count here, if they do not.
    """

    disease: str
    evidence: tuple[Evidence, ...]
    sentence: str
    treatment: Treatment
    picture: Picture | None = None
    unless: str = ""

    @property
    def ill(self) -> bool:
        """Whether all deciding numbers lie on the side of the disease, and nothing speaks against it."""
        deciding = [one for one in self.evidence if one.deciding]
        return not self.unless and bool(deciding) and all(one.ill for one in deciding)


@dataclass(frozen=True)
class Disease:
    """A disease that training can have.

    Args:
        name: Its name.
        examine: Looks for it; None where the patient lacks what it takes, which `needs` says.
        needs: What it takes to look for it.
    """

    name: str
    examine: Callable[[Patient], Finding | None]
    needs: str


DISEASES: dict[str, Disease] = {}


def known_diseases() -> dict[str, Disease]:
    """All diseases: one module each in `vaekit.doctor.diseases`, which holds it as ``DISEASE``."""
    if not DISEASES:
        package = import_module("vaekit.doctor.diseases")
        for module in sorted(one.name for one in iter_modules(package.__path__)):
            found: Disease = import_module(f"vaekit.doctor.diseases.{module}").DISEASE
            DISEASES[found.name] = found
    return DISEASES
