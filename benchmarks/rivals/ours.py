"""Our training loop, a number of steps at a time: the same step, data, stages and settings that `fit` uses."""

from __future__ import annotations

import itertools
from typing import Any

import pyarrow as pa
import torch

from benchmarks.tools.timing import Clock
from vaekit.fields import Contract
from vaekit.nn.build import build
from vaekit.training.batches import Resident
from vaekit.training.checkpoint import Position
from vaekit.training.compiled import Compiled
from vaekit.training.config import Config
from vaekit.training.fit import Splits
from vaekit.training.loop import Loop
from vaekit.training.stages import default_stages
from vaekit.training.validate import validate

__all__ = ["OurLoop"]


class OurLoop:
    """A fit that stands before its first step.

    Contract, encoding and model are made once, as `fit` makes them. Each call of `steps` goes on where the last one
    ended, through all that belongs to a step: order, batches, hidden cells, noise, forward, objective, checks,
    clipping, optimiser, schedules, figures.

    Args:
        table: The rows; a tenth each is kept for early stopping and calibration.
        batch: Rows per step.
        clock: What measures.
        contract: The fields; inferred if not given.
        options: Any option of the configuration.
    """

    def __init__(
        self, table: pa.Table, batch: int, clock: Clock, contract: Contract | None = None, **options: Any
    ) -> None:
        config = Config().override(batch_size=batch, device="cpu", **options)
        splits = Splits.random(table.num_rows, config.training.valid, config.training.calibration, config.seed)
        train = table.take(pa.array(splits.train))
        contract = (contract or Contract.infer(table)).fit(table).fit(train)
        device, self.seed = torch.device("cpu"), config.seed
        self.train = Resident(contract.encode(train, training=True), device)
        self.valid = Resident(contract.encode(table.take(pa.array(splits.valid))), device)
        self.config = config.training.sized(len(self.train))
        width = sum(spec.width for spec in contract.blocks())
        self.vae = build(contract.blocks(), config.architecture(len(self.train), width), config.seed).to(device)
        self.batch, self.clock, self.done = batch, clock, 0
        self.per_epoch = -(-len(self.train) // batch)
        self.loop = Loop(self.vae, self.train, self.valid, self.config, self.seed)
        self.stage = default_stages(self.config, self.per_epoch)[0]
        self.step = self.loop.ready(self.stage)
        self.optimizers = {"optimizer": self.step.phases["model"].optimizer}
        self.total = self.stage.epochs * self.per_epoch

    def steps(self, count: int) -> float:
        """Seconds of `count` optimiser steps on whole batches; those that are smaller are left out."""
        began, left = self.clock(), count
        while left:
            epoch, place = divmod(self.done, len(self.train) // self.batch)
            for indices in itertools.islice(self.train.epoch(self.seed, epoch, self.batch, place), left):
                if len(indices) < self.batch:
                    continue
                fraction = min(1.0, self.done / self.total)
                self.loop.set_rates(self.stage, self.optimizers, self.done, self.total, fraction)
                self.step(self.train.take(indices), Position(epoch=epoch, step=self.done))
                self.done, left = self.done + 1, left - 1
        self.step.check()
        return self.clock() - began

    def compile(self) -> None:
        """Compile the step, if that is its pace, and leave everything else as it is."""
        drawn = self.step.draw(self.train.take(slice(0, self.batch)), torch.Generator().manual_seed(0))
        self.step.compiled = Compiled(self.step, drawn, whole=True)

    def bound(self) -> float:
        """The ELBO on the rows for early stopping, in nats."""
        found: float = validate(self.vae, self.valid, self.seed)["elbo"]
        self.stage.prepare_modes(self.vae)
        return found

    @property
    def every(self) -> int:
        """Steps from one validation of a whole fit to the next."""
        return max(1, self.total // self.loop.validations(self.stage))

    def validation(self) -> float:
        """Seconds of one validation."""
        began = self.clock()
        validate(self.vae, self.valid, self.seed)
        self.stage.prepare_modes(self.vae)
        return self.clock() - began
