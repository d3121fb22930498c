"""What a worker notices of the rows of its models: counts for metrics, and a few rows without their values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import msgspec

from vaekit.monitoring.masks import Masks
from vaekit.monitoring.signals import Signals
from vaekit.runtime import Engine, Watchers
from vaekit.serving.wire.asking import Ask
from vaekit.serving.wire.messages import Noted, Sample

__all__ = ["Noticing"]


class Noticing:
    """Watches the models of a worker.

    Args:
        share: Share of the rows that are described, from 0 to 1.
    """

    def __init__(self, share: float = 0.0) -> None:
        self._share = share
        self._signals: dict[str, Signals] = {}
        self._masks: dict[str, Masks] = {}
        self._samples: list[Sample] = []

    def watch(self, name: str, engine: Engine) -> Engine:
        """The engine of a model, watched from now on."""
        self._signals[name] = signals = Signals(engine)
        if not self._share:
            return replace(engine, watcher=signals)
        self._masks[name] = masks = Masks(engine, self._share)
        return replace(engine, watcher=Watchers(signals, masks))

    def asked(self, model: str, query: str, members: Sequence[tuple[Ask, int, int]]) -> None:
        """Tell that a model was asked about rows of some requests, or was in vain asked about those of none.

        Args:
            model: The model.
            query: The query.
            members: The requests whose rows were asked about together, in order: for each the first of its rows that
                was asked about, and how many were.
        """
        if not self._share:
            return
        for masked in self._masks[model].collect():
            start = 0
            for ask, first, rows in members:
                if masked.row < start + rows or len(members) == 1:
                    own = msgspec.structs.replace(masked, row=masked.row - start + first)
                    self._samples.append(Sample(id=ask.id, model=model, query=query, masked=own))
                    break
                start += rows

    @property
    def due(self) -> bool:
        """Whether it is time to tell the front."""
        return bool(self._samples) or any(signals.due for signals in self._signals.values())

    @property
    def waiting(self) -> bool:
        """Whether there is anything to tell."""
        return any(signals.waiting for signals in self._signals.values())

    def noted(self) -> Noted:
        """What was noticed since the last call."""
        samples, self._samples = self._samples, []
        tallies = {name: signals.collect() for name, signals in self._signals.items() if signals.waiting}
        return Noted(tallies=tallies, samples=samples)
