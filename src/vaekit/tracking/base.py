"""What a tracker is, and what it is told of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from vaekit.arrays import Array

__all__ = ["End", "Look", "Outcome", "Run", "Tracker"]

Outcome = Literal["finished", "pruned", "failed", "interrupted"]


@dataclass(frozen=True)
class Run:
    """A run that begins.

    Args:
        id: Its name, which no other run has; a resumed run keeps it.
        folder: Its folder, if it has one.
        settings: Its settings by dotted name: ``training.beta``, ``model.latent``, ...
        facts: Where it comes from: hashes of data, contract and packages, state of the code, parent run.
        contract: The contract as JSON.
        begun: Steps that are done already, where it is resumed.
    """

    id: str
    folder: Path | None
    settings: Mapping[str, Any]
    facts: Mapping[str, str]
    contract: str
    begun: int = 0


@dataclass(frozen=True)
class Look:
    """A look at the model on some held-out rows, chosen by the seed.

    Args:
        means: Group to the centres of its posteriors, shape (B, L).
        scales: Group to their standard deviations, shape (B, L).
        pictures: Name to a PNG: real images beside their reconstructions, and drawn ones.
        sampled: Rows drawn from the model, by column.
        labels: One short text for each of the B rows, for the map of the latent space; none if there is nothing to say.
    """

    means: Mapping[str, Array]
    scales: Mapping[str, Array]
    pictures: Mapping[str, bytes] = field(default_factory=dict)
    sampled: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    labels: Sequence[str] = ()

    def without_rows(self) -> Look:
        """The same without anything that shows a row, real or drawn."""
        return Look(self.means, self.scales)


@dataclass(frozen=True)
class End:
    """A run that has ended.

    Args:
        outcome: How.
        figures: Its held-out figures by name.
        bundle: The bundle, if there is one.
        report: The page about it; only those that may see rows are given it.
        files: Other files of the run that hold no rows.
    """

    outcome: Outcome
    figures: Mapping[str, float] = field(default_factory=dict)
    bundle: Path | None = None
    report: Path | None = None
    files: Sequence[Path] = ()


class Tracker:
    """Is told of a run; every method is called in a thread of the tracker's own, in order, and may be slow or fail.

    A tracker is one module in `vaekit.tracking.trackers`, which holds it as ``TRACKER``. Its options are the
    keyword-only arguments of its constructor. Addresses, keys and passwords come from the environment.

    Attributes:
        name: Its name.
        needs: The module that it cannot do without.
    """

    name: str
    needs: str

    @property
    def hosted(self) -> bool:
        """Whether what it is told may leave this machine; it is then not shown rows unless that is allowed."""
        return True

    @property
    def address(self) -> str:
        """Where the run can be looked at; no secret."""
        return ""

    def start(self, run: Run) -> None:
        """A run begins, or goes on."""

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Figures of one validation, after so many steps of the run."""

    def look(self, step: int, look: Look) -> None:
        """A look at the model."""

    def finish(self, end: End) -> None:
        """The run has ended; whatever is still on its way has to be sent now."""
