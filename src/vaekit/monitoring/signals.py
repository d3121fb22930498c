"""Counts what a model's rows look like, from what queries computed anyway."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import numpy as np

from vaekit.arrays import Array, Blocks
from vaekit.monitoring.grids import DIVERGENCES, edges_of
from vaekit.monitoring.tally import Spread, Tally

if TYPE_CHECKING:
    from vaekit.runtime import Engine, Weighed

__all__ = ["FIELDS", "OTHER", "Signals"]

FIELDS = 50  # that are counted by name
OTHER = "other"  # the rest of them

_ROWS = 512  # that are kept at most before they are counted,
_SECONDS = 0.1  # and for how long: counting many small batches at once costs no more than counting one


class Signals:
    """Watches a model, and tells from time to time what was seen.

    While queries run it only keeps references to arrays; the counting is done in `collect`, for many small batches at
    once.

    Args:
        engine: The model.
        fields: Most fields that are counted by name, in the order of the contract.

    Example:
        >>> from types import SimpleNamespace as Made
        >>> from vaekit.arrays import Block
        >>> spec = Made(name="category", fields=("origin",))
        >>> engine = Made(architecture=Made(blocks=[spec]), calibration={}, contract=Made(names=lambda: ("origin",)))
        >>> signals = Signals(engine)
        >>> signals.encoded({"category": Block(np.zeros((3, 1)), np.array([[True], [False], [True]]))})
        >>> signals.collect()
        Tally(rows=3, nats={}, missing={'origin': 1.0}, unknown={})
    """

    def __init__(self, engine: Engine, fields: int = FIELDS) -> None:
        shown = set(engine.contract.names()[:fields])
        self._labels = {
            spec.name: [name if name in shown else OTHER for name in spec.fields] for spec in engine.architecture.blocks
        }
        scores = edges_of(engine.calibration.get("score"))
        self.edges = {"score": scores, "kl": DIVERGENCES, "reconstruction": scores}
        self._masks: list[dict[str, tuple[Array, Array | None]]] = []
        self._passes: list[tuple[Array, Array, Array]] = []
        self._rows, self._since = 0, -math.inf

    def encoded(self, blocks: Blocks) -> None:
        """Remember what was encoded."""
        self._masks.append({name: (blocks[name].observed, blocks[name].unknown) for name in self._labels})
        self._rows += len(next(iter(blocks.values())))

    def weighed(self, blocks: Blocks, part: Weighed) -> None:
        """Remember a scoring pass."""
        self._passes.append((part.score, part.log_ratio, part.log_weight))

    @property
    def due(self) -> bool:
        """Whether it is time to `collect`: there are many rows, or the last time is long ago."""
        return self._rows >= _ROWS or (self._rows > 0 and time.monotonic() - self._since > _SECONDS)

    @property
    def waiting(self) -> bool:
        """Whether there is anything to collect."""
        return self._rows > 0

    def collect(self) -> Tally:
        """What was seen since the last call."""
        missing, unknown = self._gaps()
        tally = Tally(rows=self._rows, nats=self._nats(), missing=missing, unknown=unknown)
        self._masks, self._passes = [], []
        self._rows, self._since = 0, time.monotonic()
        return tally

    def _gaps(self) -> tuple[dict[str, float], dict[str, int]]:
        """Missing cells and unknown categories by field."""
        missing: dict[str, float] = {}
        unknown: dict[str, int] = {}
        for name, labels in self._labels.items():
            gone, strange = np.zeros(len(labels)), np.zeros(len(labels), np.int64)
            for observed, lost in (masks[name] for masks in self._masks):
                if np.count_nonzero(observed) == observed.size:  # quickly told, and often so
                    continue
                rows, event = len(observed), math.prod(observed.shape[2:])
                gone += rows - np.add.reduce(observed.reshape(rows, len(labels), event), axis=(0, 2)) / event
                if lost is not None:
                    strange += np.add.reduce(lost, dtype=np.int64)
            for label, cells, values in zip(labels, gone - strange, strange, strict=True):
                if cells:
                    missing[label] = missing.get(label, 0.0) + float(cells)
                if values:
                    unknown[label] = unknown.get(label, 0) + int(values)
        return missing, unknown

    def _nats(self) -> dict[str, Spread]:
        """How score, divergence and reconstruction spread: the latter two are the terms of the ELBO."""
        if not self._passes:
            return {}
        scores, ratios, weights = zip(*self._passes, strict=True)
        kl = -np.concatenate([ratio.mean(0, dtype=np.float64) for ratio in ratios])
        reconstruction = -np.concatenate([weight.mean(0) for weight in weights]) - kl
        found = {"score": np.concatenate(scores), "kl": kl, "reconstruction": reconstruction}
        return {name: _spread(nats, self.edges[name]) for name, nats in found.items()}


def _spread(nats: Array, edges: tuple[float, ...]) -> Spread:
    counts = np.bincount(np.searchsorted(edges, nats), minlength=len(edges) + 1)
    finite = nats[np.isfinite(nats)]  # one row must not spoil the sums of all
    gained = float(finite[finite > 0.0].sum())
    return Spread(edges=edges, counts=counts.tolist(), gained=gained, lost=gained - float(finite.sum()))
