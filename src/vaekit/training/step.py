"""One optimiser step as a function of (seed, step): inference ahead, the model, the critic; it waits for no device."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import torch
from torch import Tensor

from vaekit.arrays import Block, Blocks
from vaekit.errors import NotFiniteError
from vaekit.nn.vae import VAE, Pass
from vaekit.training.average import Average
from vaekit.training.batches import binarised, draw_noise, hide, seeded, step_generator
from vaekit.training.checkpoint import Position
from vaekit.training.compiled import Compiled
from vaekit.training.config import TrainConfig
from vaekit.training.failing import out_of_memory
from vaekit.training.forensics import explain_gradient, explain_loss
from vaekit.training.phases import Phase
from vaekit.training.ranks import Ranks
from vaekit.training.stages import Stage

__all__ = ["Drawn", "Figures", "Step"]

_LOOK = 10  # steps of the inference network after which its loss is compared, while it runs ahead
_WINDOW = {"cpu": 1}  # steps between two looks at whether all is finite; a look waits for the device
_ELSEWHERE = 16
_APART = 1_000_003  # between the seeds of two processes
_TOLD = 0.2  # seconds between two readings of the loss, for whoever watches

Others = Callable[[int, torch.Generator], dict[str, Block]]
Names = tuple[str, ...]


@dataclass(frozen=True)
class Drawn:
    """Some rows and all that is random about a step on them.

    Args:
        blocks: The rows, parts of them hidden.
        noise: Noise of inference, (K, B, *shape).
        prior: Noise of draws from the prior, (1, B, *shape), where the objective looks at them.
        seed: Seed of what draws from torch's global streams meanwhile.
    """

    blocks: dict[str, Block]
    noise: dict[str, Tensor]
    prior: dict[str, Tensor] | None
    seed: int

    def __len__(self) -> int:
        return len(next(iter(self.blocks.values())))

    def parts(self, rows: int) -> list[Drawn]:
        """The same in parts of at most so many rows; what draws from global streams gets a seed per part."""
        if rows >= len(self):
            return [self]
        cuts = [slice(start, start + rows) for start in range(0, len(self), rows)]
        return [
            Drawn(
                {name: block.take(cut) for name, block in self.blocks.items()},
                {name: value[:, cut] for name, value in self.noise.items()},
                None if self.prior is None else {name: value[:, cut] for name, value in self.prior.items()},
                self.seed + index,
            )
            for index, cut in enumerate(cuts)
        ]

    def own(self, ranks: Ranks) -> Drawn:
        """The part of this process."""
        if ranks.count == 1:
            return self
        cut = ranks.part(len(self))
        return Drawn(
            {name: block.take(cut) for name, block in self.blocks.items()},
            {name: value[:, cut] for name, value in self.noise.items()},
            None if self.prior is None else {name: value[:, cut] for name, value in self.prior.items()},
            self.seed + _APART * ranks.rank,
        )

    def tensors(self) -> list[Tensor]:
        """All tensors, in the order in which `filled` takes them."""
        rows = [value for block in self.blocks.values() for value in block.arrays().values()]
        return [*rows, *self.noise.values(), *(self.prior or {}).values()]

    def filled(self, tensors: Iterable[Tensor]) -> Drawn:
        """The same with other tensors."""
        left = iter(tensors)
        blocks = {
            name: block.filled({key: next(left) for key in block.arrays()}) for name, block in self.blocks.items()
        }
        noise = {name: next(left) for name in self.noise}
        return Drawn(
            blocks, noise, None if self.prior is None else {name: next(left) for name in self.prior}, self.seed
        )


class Figures:
    """Means over rows of named figures, added up where they are computed, and read seldom."""

    def __init__(self) -> None:
        self.names: tuple[str, ...] = ()
        self.sums: Tensor | None = None
        self.rows = 0

    def add(self, names: Names, values: Tensor, rows: int) -> None:
        """Take the figures of a step: their names, and one value of each."""
        self.rows += rows
        if self.sums is None:
            self.names, self.sums = names, torch.zeros_like(values)
        elif names != self.names:  # a checkpoint has an order of its own
            self.names, self.sums = names, self.sums[[self.names.index(name) for name in names]]
        self.sums.add_(values, alpha=rows)

    @classmethod
    def restored(cls, sums: Mapping[str, float], rows: int, device: torch.device) -> Figures:
        """Figures as `sum` gave them."""
        found = cls()
        if sums:
            found.names, found.rows = tuple(sums), rows
            found.sums = torch.tensor(list(sums.values()), device=device)
        return found

    def sum(self) -> dict[str, float]:
        """The sums so far; this waits for the device."""
        return dict(zip(self.names, [] if self.sums is None else self.sums.tolist(), strict=True))

    def mean(self, name: str) -> float:
        """One mean so far; this waits for the device."""
        return math.nan if self.sums is None else float(self.sums[self.names.index(name)]) / self.rows

    def values(self) -> dict[str, float]:
        """The means so far; this waits for the device."""
        found = [] if self.sums is None else self.sums.tolist()
        return {name: total / self.rows for name, total in zip(self.names, found, strict=True)}


@dataclass(frozen=True)
class _Taken:
    """A step that was taken and not looked at yet."""

    rows: Mapping[str, Block]
    at: Position


class Step:
    """Takes the optimiser steps of one stage.

    A loss or gradient that is not finite freezes all weights from that step on, without anybody waiting for it; the
    next look (`check`) finds them as they were before it, and does the step again to say what was wrong.

    Args:
        vae: The model.
        stage: The stage.
        config: The training configuration, sized.
        seed: Seed of the run.
        phases: What is moved by what, see `phases_of`; a step that only draws and looks needs none.
        average: The mean of the weights.
        others: Other training rows, so many, for inference that runs ahead.
        device: Where the rows are.
        kept: Says what was saved, for error messages.
        ranks: The processes that share each batch.
        moving: Buffers of the model that a forward pass moves, linearly in the rows: codebooks, running scales.
    """

    def __init__(
        self,
        vae: VAE,
        stage: Stage,
        config: TrainConfig,
        seed: int,
        phases: Mapping[str, Phase],
        average: Average,
        others: Others,
        device: torch.device,
        kept: Callable[[], str],
        ranks: Ranks | None = None,
        moving: Sequence[Tensor] = (),
    ) -> None:
        self.vae, self.stage, self.config, self.seed = vae, stage, config, seed
        self.average, self.others, self.device, self.kept = average, others, device, kept
        self.phases, self.ranks, self.moving = phases, ranks or Ranks(), list(moving)
        self.frozen = torch.zeros((), device=device)
        self.sound = torch.zeros((), device=device)  # steps since the last look that were
        self.taken: list[_Taken] = []
        self.window = _WINDOW.get(device.type, _ELSEWHERE)
        self.compiled: Compiled | None = None
        batch = -(-(config.batch_size or 0) // self.ranks.count)
        self._size = min(config.micro_batch or batch, batch)
        self.micro = config.micro_batch
        objective = stage.objective
        self.divisible = objective.row_separable and not moving and not any(True for _ in objective.parameters())
        self.figures = Figures()
        self.loss, self._told = math.nan, 0.0  # mean since the last validation, as of a short while ago

    def __call__(self, rows: dict[str, Block], at: Position) -> None:
        """One step of every phase on some rows: lagging steps of the inference network, the model, the critic.

        Raises:
            NotFiniteError: If this step, or one since the last look, was not finite.
        """
        self.taken.append(_Taken(rows, msgspec.structs.replace(at)))
        self.figures.add(*self._phases(rows, at), len(next(iter(rows.values()))))
        if self.window > 1:
            self.sound += 1.0 - self.frozen
        if len(self.taken) >= self.window:
            self.check()

    def check(self) -> None:
        """Look whether all steps since the last look were finite; this waits for the device.

        Raises:
            NotFiniteError: If not, naming term, field and step of the first that was not.
        """
        taken, self.taken = self.taken, []
        if taken and float(self.frozen):
            self._explain(taken[int(self.sound)])
        if self.window > 1:
            self.sound.zero_()
        if time.monotonic() >= self._told + _TOLD:
            self.loss, self._told = self.figures.mean("loss"), time.monotonic()

    def draw(self, rows: dict[str, Block], rng: torch.Generator) -> Drawn:
        """All that is random about a step on some rows."""
        objective, latent, count = self.stage.objective, self.vae.latent, len(next(iter(rows.values())))
        blocks = hide(binarised(rows, self.vae.specs, rng), self.vae.specs, self.config.mask, rng)
        noise = draw_noise(latent.noise, rng, objective.samples, count)
        prior = draw_noise(latent.prior_noise, rng, 1, count) if objective.prior_draws else None
        return Drawn(blocks, noise, prior, rng.initial_seed())

    def look(self, drawn: Drawn) -> Pass:
        """A forward pass."""
        half = self.config.precision == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            found: Pass = self.vae(drawn.blocks, drawn.noise, drawn.prior, self.stage.objective.prior_rows)
        return found

    def terms(self, drawn: Drawn) -> tuple[Pass, dict[str, Tensor]]:
        """A forward pass, and the terms of the objective."""
        with seeded(drawn.seed, self.device):
            passed = self.look(drawn)
            return passed, self.stage.objective(passed)

    def weight(self, name: str) -> float:
        """The present value of what a schedule drives."""
        if name.startswith("latent."):
            return float(getattr(self.vae.latent, name.removeprefix("latent.")))
        return self.stage.objective.weight(name)

    def _phases(self, rows: dict[str, Block], at: Position) -> tuple[Names, Tensor]:
        rng = self._generator(at)
        ahead = self._run_ahead(rows, rng) if self.stage.lagging and at.ahead else 0
        drawn = self.draw(rows, rng)
        if (
            self.config.compile is True
            and self.compiled is None
            and len(own := drawn.own(self.ranks).parts(self._size)[0]) == self._size
        ):
            self.compiled = Compiled(self, own, len(own) == len(drawn))
        passed, names, values = self.descend(self.phases["model"], drawn)
        self.average.update()
        if self.stage.lagging:
            names, values = (*names, "ahead"), torch.cat([values, values.new_tensor([float(ahead)])])
        if "critic" in self.phases and passed is not None:
            more, found = self._criticise(self.phases["critic"], passed, drawn)
            names, values = names + more, torch.cat([values, found])
        return names, values

    def _run_ahead(self, rows: Blocks, rng: torch.Generator) -> int:
        """Steps of the inference network alone, on other rows, until its loss stops falling; how many there were."""
        last, count, losses = math.inf, len(next(iter(rows.values()))), list[Tensor]()
        for step in range(1, self.stage.lagging + 1):
            drawn = self.draw(self.others(count, rng), rng)
            losses.append(self.descend(self.phases["inference"], drawn)[2][0])
            if step % _LOOK == 0:
                total = float(torch.stack(losses).sum())
                if not total < last:
                    return step
                last, losses = total, []
        return self.stage.lagging

    def descend(self, phase: Phase, drawn: Drawn) -> tuple[Pass | None, Names, Tensor]:
        """A step of the model, or of a part of it, down the objective: the pass, and figures, the loss first.

        There is no pass where the step was compiled; micro-batches leave that of the last one.
        """
        if self.compiled and self.compiled.adam and phase is self.phases["model"] and len(drawn) == self.compiled.rows:
            return None, *self.compiled.descend(drawn)
        passed, names, means = self.gradient(phase, drawn)
        loss, norm = means.sum(), phase.norm()
        self._move(phase, loss, norm)
        return passed, ("loss", "gradient_norm", *names), torch.cat([torch.stack([loss, norm]), means])

    def gradient(self, phase: Phase, drawn: Drawn) -> tuple[Pass | None, Names, Tensor]:
        """The gradient of the mean over rows of all terms, left with the parameters; and these means by name.

        Where memory is not enough for so many rows at a time, half as many are taken from then on, if rows stand alone.
        """
        while True:
            try:
                return self._gradient(phase, drawn)
            except (MemoryError, RuntimeError) as error:  # torch has its own error for GPUs only
                size = self.micro or len(drawn.own(self.ranks))
                if not out_of_memory(error) or not self.divisible or size < 2:
                    raise
                self.micro = -(-size // 2)
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            warnings.warn(f"memory is short: micro-batches of {self.micro} rows from now on", stacklevel=2)

    def _gradient(self, phase: Phase, drawn: Drawn) -> tuple[Pass | None, Names, Tensor]:
        """One try at `gradient`."""
        phase.clear()
        own = drawn.own(self.ranks)
        mine = len(own) / len(drawn)  # of fewer rows than processes, one process takes a row without weight
        parts = own.parts(self.micro or len(drawn)) if mine else [drawn.parts(1)[0]]
        passed, names, found = None, Names(), list[Tensor]()
        for part in parts:
            share = mine and len(part) / len(drawn)
            compiled = self.compiled if self.compiled and not self.compiled.adam else None
            if compiled and phase is self.phases["model"] and len(part) == compiled.rows:
                names, means, gradient = compiled.gradient(part)
                phase.add(gradient, share)
            else:
                passed, terms = self.terms(part)
                names, means = tuple(terms), torch.stack(list(terms.values())).mean(1)
                phase.backward(means.sum() if share == 1.0 else means.sum() * share)
            found.append(means.detach() if share == 1.0 else means.detach() * share)
        for buffer in self.moving if self.ranks.count > 1 else ():
            buffer.mul_(mine)
        return passed, names, self._shared(phase, sum(found[1:], found[0]), self.moving)

    def _shared(self, phase: Phase, means: Tensor, buffers: list[Tensor]) -> Tensor:
        """Add up what the processes found of their shares of the rows: gradients, means, and buffers that moved."""
        if self.ranks.count > 1:
            self.ranks.add([*(p.grad for p in phase.parameters if p.grad is not None), means, *buffers])
        return means

    def _criticise(self, phase: Phase, passed: Pass, drawn: Drawn) -> tuple[Names, Tensor]:
        """A step of the objective's own parameters."""
        with seeded(drawn.seed + 2, self.device):
            terms = self.stage.objective.criticise(passed)
        phase.clear()
        means = torch.stack(list(terms.values())).mean(1)
        share = len(drawn.own(self.ranks)) / len(drawn)
        phase.backward(means.sum() * share)
        found = self._shared(phase, means.detach() * share, [])
        self._move(phase, found.sum(), phase.norm())
        return tuple(terms), found

    def _move(self, phase: Phase, loss: Tensor, norm: Tensor) -> None:
        """Let the optimiser step, unless this or an earlier step was not finite."""
        self.frozen.copy_(torch.maximum(self.frozen, 1.0 - torch.isfinite(loss + norm).to(self.frozen.dtype)))
        phase.step(norm, self.config.clip, self.frozen)

    def _explain(self, taken: _Taken) -> None:
        """Do a step again that was not finite, on the weights from before it, and say what is wrong.

        Raises:
            NotFiniteError: In any case.
        """
        rng, at, kept = self._generator(taken.at), taken.at, self.kept()
        if self.stage.lagging and at.ahead:
            self._run_ahead(taken.rows, rng)
        drawn = self.draw(dict(taken.rows), rng)
        passed, terms = self.terms(drawn)
        if not all(bool(torch.isfinite(value).all()) for value in terms.values()):
            raise NotFiniteError(explain_loss(terms, passed, self.vae, self.stage, at, kept))
        self.gradient(self.phases["model"], drawn)
        if not bool(torch.isfinite(self.phases["model"].norm())):
            raise NotFiniteError(explain_gradient(self.vae, self.stage, at, kept))
        raise NotFiniteError(
            f"the gradient of the critic is not finite at step {at.step} (stage {self.stage.name!r}, epoch {at.epoch}, "
            f"batch {at.batch}). Training stopped before its weights changed; {kept}. Lower its learning_rate"
        )

    def _generator(self, at: Position) -> torch.Generator:
        return step_generator(self.seed, at.stage * 2**40 + at.step, self.device)
