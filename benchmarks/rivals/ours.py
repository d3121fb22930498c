"""Our training loop, a number of steps at a time: the same `Loop`, data, stages and settings that `fit` uses."""

from __future__ import annotations

import contextlib
from itertools import pairwise
from typing import Any

import pyarrow as pa
import torch

from benchmarks.tools.timing import Clock
from vaekit.fields import Contract
from vaekit.nn.build import build
from vaekit.training.batches import Resident
from vaekit.training.config import Config
from vaekit.training.fit import Splits
from vaekit.training.loop import Loop
from vaekit.training.stages import default_stages
from vaekit.training.validate import validate

__all__ = ["OurLoop"]


class _Enough(Exception):
    """Ends a round: the loop has no other way to stop after a number of steps."""


class OurLoop:
    """A fit that stands before its first step.

    Contract, encoding and model are made once, as `fit` makes them. Each call of `steps` goes through `Loop.run`:
    order, batches, hidden cells, noise, forward, objective, checks, clipping, optimiser, schedules, records.

    Args:
        table: The rows; a tenth each is kept for early stopping and calibration.
        batch: Rows per step.
        clock: What measures.
        options: Any option of the configuration.
    """

    def __init__(self, table: pa.Table, batch: int, clock: Clock, **options: Any) -> None:
        config = Config().override(batch_size=batch, device="cpu", **options)
        splits = Splits.random(table.num_rows, config.training.valid, config.training.calibration, config.seed)
        contract = Contract.infer(table).fit(table).fit(table.take(pa.array(splits.train)))
        rows = [contract.encode(table.take(pa.array(part))) for part in (splits.train, splits.valid)]
        device = torch.device("cpu")
        self.train, self.valid = (Resident(part, device) for part in rows)
        self.config, self.seed = config.training.sized(len(self.train)), config.seed
        width = sum(spec.width for spec in contract.blocks())
        self.vae = build(contract.blocks(), config.architecture(len(self.train), width), config.seed).to(device)
        self.batch, self.clock = batch, clock

    def steps(self, count: int) -> float:
        """Seconds of `count` optimiser steps, validations and the very first step left aside."""
        ends, pauses = list[float](), list[float]()

        def on_step(*_: object) -> None:
            ends.append(self.clock())
            if len(ends) > count + len(pauses) + 1:
                raise _Enough

        def on_validation(_: dict[str, Any]) -> None:
            pauses.append(len(ends))

        self._run(on_validation=on_validation, on_step=on_step)
        gaps = [b - a for index, (a, b) in enumerate(pairwise(ends), 1) if index not in pauses]
        if len(gaps) < count:
            raise ValueError(f"the fit ended after {len(gaps)} of {count} steps; give it more epochs")
        return sum(gaps[:count])

    def _run(self, **calls: Any) -> None:
        loop = Loop(self.vae, self.train, self.valid, self.config, self.seed, **calls)
        with contextlib.suppress(_Enough):
            loop.run(default_stages(self.config, -(-len(self.train) // self.batch)))

    @property
    def every(self) -> int:
        """Steps from one validation of a whole fit to the next."""
        found = list[int]()

        def on_validation(metrics: dict[str, Any]) -> None:
            found.append(metrics["step"])
            if len(found) > 2:
                raise _Enough

        self._run(on_validation=on_validation)  # the first may come early, so from the second to the third
        return found[2] - found[1]

    def validation(self) -> float:
        """Seconds of one validation."""
        began = self.clock()
        validate(self.vae, self.valid, self.seed)
        self.vae.train()
        return self.clock() - began
