"""Who watches a run: told when it begins, at each validation, and when it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaekit.errors import VaekitError

if TYPE_CHECKING:
    import pyarrow as pa

    from vaekit.fields.contract import Contract
    from vaekit.nn.vae import VAE

__all__ = ["Begun", "Observer", "Stopped", "watched"]


class Stopped(VaekitError):
    """An observer has ended a run before its time; its checkpoints are there."""


@dataclass(frozen=True)
class Begun:
    """What an observer is given when a run begins.

    Args:
        vae: The model; at each validation it holds the weights of that time.
        contract: The fitted contract.
        rows: Rows for early stopping.
        record: The record of the run.
        out: Folder of the run, if it has one.
        history: Metrics so far; empty unless the run is resumed.
    """

    vae: VAE
    contract: Contract
    rows: pa.Table
    record: Mapping[str, Any]
    out: Path | None
    history: Sequence[Mapping[str, Any]]


class Observer:
    """Watches a run. Whatever it raises, other than `Stopped`, ends the run with that error."""

    def begun(self, run: Begun) -> None:
        """Training is about to begin, or to go on."""

    def validated(self, metrics: Mapping[str, Any]) -> None:
        """One validation is done.

        Args:
            metrics: Its figures, as a line of metrics.jsonl has them.

        Raises:
            Stopped: To end the run here.
        """

    def ended(self, error: BaseException | None) -> None:
        """Training has ended; `error` is why, if it did not come to its end."""


@contextmanager
def watched(observers: Sequence[Observer], run: Begun) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Tell all observers of a run; gives what is to be called with the metrics of each validation."""
    error: BaseException | None = None
    try:
        for one in observers:
            one.begun(run)

        def tell(metrics: Mapping[str, Any]) -> None:
            for one in observers:
                one.validated(metrics)

        yield tell
    except BaseException as caught:
        error = caught
        raise
    finally:
        for one in observers:
            one.ended(error)
