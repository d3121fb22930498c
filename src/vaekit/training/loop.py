"""The training loop: steps, validation, early stopping, checkpoints; every step is a function of (seed, step)."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor

from vaekit.arrays import Block
from vaekit.errors import ConfigError, NotFiniteError
from vaekit.metrics.latent import NOTHING
from vaekit.nn.vae import VAE, Pass
from vaekit.training import checkpoint
from vaekit.training.average import Average
from vaekit.training.batches import Resident, seeded, step_generator
from vaekit.training.checkpoint import Position
from vaekit.training.config import TrainConfig
from vaekit.training.phases import Optimizers, Phase, optimizers_of, phases_of
from vaekit.training.ranks import Ranks
from vaekit.training.saving import Saver
from vaekit.training.signals import Stopping
from vaekit.training.stages import Stage
from vaekit.training.step import Figures, Step
from vaekit.training.validate import validate

__all__ = ["Loop"]

_VALIDATIONS = 60  # per stage, at most; patience counts them
_LEAST_VALIDATIONS, _VALIDATED = 12, 0.1  # ... at least, and rows of all of them as a share of those trained on
_RATE_STEPS = 100  # most steps of warm-up of the learning rate
_STILL = 3  # epochs without more mutual information before it does so no longer

Report = Callable[[dict[str, Any]], None]


@dataclass
class Loop:
    """Trains one model through its stages.

    Args:
        vae: The model.
        train: Training rows.
        valid: Rows for early stopping; disjoint from the training rows.
        config: The training configuration, sized.
        seed: Seed of data order, noise and hidden cells.
        saver: Writes checkpoints; None keeps the best weights in memory only.
        on_validation: Called with the metrics of each validation.
        on_step: Called with (fraction done, rows done, loss) after each step.
        stopping: Tells whether the run was asked to stop.
        ranks: The processes that share each batch and the rows of a validation; the first one saves.
        slowed: Times that the learning rate is halved; a checkpoint that is gone on from may say more.
    """

    vae: VAE
    train: Resident
    valid: Resident
    config: TrainConfig
    seed: int
    saver: Saver | None = None
    on_validation: Report = lambda metrics: None
    on_step: Callable[[float, int, float], None] = lambda fraction, rows, loss: None
    stopping: Stopping = field(default_factory=lambda: Stopping(enabled=False))
    ranks: Ranks = field(default_factory=Ranks)
    slowed: int = 0

    def run(self, stages: list[Stage], resume: bool = False) -> None:
        """Train every stage, each ending with its best weights.

        Args:
            stages: The stages.
            resume: Go on from the last checkpoint.

        Raises:
            TrainingError: If a loss or gradient is not finite, or a checkpoint cannot be written.
            ConfigError: If the checkpoint is of another model.
        """
        self.epochs = sum(stage.epochs for stage in stages)
        last = checkpoint.parse(self._told(self.saver.last if self.saver else None)) if resume else None
        position = last.position if last else Position()
        position.slowed = self.slowed = max(position.slowed, self.slowed)
        for index in range(position.stage, len(stages)):
            stage = stages[index]
            self._check_schedules(stage)
            optimizers = self._prepare(stage)
            if last and not position.finished:
                checkpoint.restore(last, self.vae, stage.objective, optimizers, self._average)
            if not position.finished:
                if last is None or self.slowed:  # before another stage overwrites the best weights of the one before
                    self._save("last", stage, optimizers, position)
                self._stage(stage, optimizers, position)
            self._load_best()
            last, position = None, position.next_stage()

    def ready(self, stage: Stage) -> Step:
        """The step of a stage, before anything was trained."""
        step = self._stepper(stage, phases_of(stage, self.vae, self._prepare(stage)))
        stage.prepare_modes(self.vae)
        return step

    def validations(self, stage: Stage) -> int:
        """Validations of a stage: fewer where they would take long beside a short training."""
        most = int(_VALIDATED * stage.epochs * len(self.train) / max(1, len(self.valid)))
        return min(_VALIDATIONS, max(_LEAST_VALIDATIONS, most))

    def _prepare(self, stage: Stage) -> Optimizers:
        self._average = Average(self.vae, self.config.ema)
        stage.objective.prepare(self.vae, self._look(stage), len(self.train), self.seed)
        stage.objective.to(self.train.device)
        self._check_parts(stage)
        self._check_lagging(stage)
        return optimizers_of(stage, self.vae, self.config)

    def _stage(self, stage: Stage, optimizers: Optimizers, at: Position) -> None:
        batch = self.config.batch_size or len(self.train)
        per_epoch = math.ceil(len(self.train) / batch)
        total = stage.epochs * per_epoch
        budget = self.config.max_seconds and self.config.max_seconds * stage.epochs / self.epochs
        self._warn_of_schedules(stage, total)
        interval = 1.0 / self.validations(stage)
        before, began = at.seconds, time.monotonic()
        step = self._stepper(stage, phases_of(stage, self.vae, optimizers))
        step.figures = Figures.restored(at.figures, at.rows, step.device)
        step.micro = at.micro or self.config.micro_batch
        slower = 0.5**at.slowed
        for group in (group for optimizer in optimizers.values() for group in optimizer.param_groups):
            group["peak"] *= slower
        done, rate = at.stale >= self.config.patience, 0.0
        stage.prepare_modes(self.vae)
        while at.epoch < stage.epochs and not done:
            for indices in self.train.epoch(self.seed, at.stage * 100_003 + at.epoch, batch, at.batch):
                fraction = max(at.step / total, (at.seconds - at.began) / budget if budget else 0.0)
                if done := fraction >= 1.0:
                    break
                rate = slower * self.set_rates(stage, optimizers, at.step, total, fraction)
                step(self.train.take(indices), at)
                at.step, at.batch, at.micro = at.step + 1, at.batch + 1, step.micro
                due = float(self.saver is not None and self.saver.due())
                spent = before + time.monotonic() - began
                asked, at.seconds, due = self.ranks.most(self.stopping.asked, spent, due)
                self.on_step(fraction, len(indices), step.loss)
                if fraction >= at.due or at.step == total:
                    at.due = fraction + interval
                    done = self._validate(stage, optimizers, at, step, rate)
                    if done:
                        break
                elif due:  # of the process that writes; all look at the same steps
                    self._pause(stage, optimizers, at, step)
                if asked:
                    self._pause(stage, optimizers, at, step)
                    self.stopping.leave(int(asked))
            else:
                at.epoch, at.batch = at.epoch + 1, 0
        if step.figures.rows:  # the budget ended between two validations
            self._validate(stage, optimizers, at, step, rate)
        at.finished = True
        self._save("last", stage, optimizers, at)

    def _watch_information(self, stage: Stage, at: Position, found: Mapping[str, Any]) -> None:
        """Let the inference network run ahead no longer once mutual information is there and has stopped rising."""
        if not (stage.lagging and at.ahead) or at.watched == at.epoch:
            return
        information, at.watched = found["information"], at.epoch
        if at.information is None or information > at.information:
            at.information, at.still = information, 0
        else:
            at.still += 1
        at.ahead = at.still < _STILL or at.information < NOTHING

    def _stepper(self, stage: Stage, phases: Mapping[str, Phase]) -> Step:
        device, average = self.train.device, self._average
        batch = min(self.config.batch_size or len(self.train), len(self.train))
        return Step(
            self.vae,
            stage,
            msgspec.structs.replace(self.config, batch_size=batch),
            self.seed,
            phases,
            average,
            self._others,
            device,
            self._kept,
            self.ranks,
            self._moving,
        )

    def _others(self, count: int, rng: torch.Generator) -> dict[str, Block]:
        """So many training rows, drawn with replacement."""
        return self.train.take(self.train.draw(count, rng))

    def _look(self, stage: Stage) -> Pass:
        """A pass over a few rows, for the objective to see what it will work with; it leaves no trace."""
        self._moving: list[Tensor] = []
        step = self._stepper(stage, {})
        kept = {name: value.clone() for name, value in self.vae.state_dict().items()}
        stage.prepare_modes(self.vae)
        with torch.no_grad():
            rows = self.train.take(slice(0, min(8, len(self.train))))
            drawn = step.draw(rows, step_generator(self.seed, 0, self.train.device))
            with seeded(drawn.seed, self.train.device):
                found = step.look(drawn)
        moved = [name for name, value in self.vae.state_dict().items() if not torch.equal(value, kept[name])]
        self._moves = ", ".join(name for name in moved)
        self._moving = [value for name, value in self.vae.named_buffers() if name in moved]
        self.vae.load_state_dict(kept)
        return found

    def _pause(self, stage: Stage, optimizers: Optimizers, at: Position, step: Step) -> None:
        """A checkpoint between two validations."""
        step.check()
        at.figures, at.rows = step.figures.sum(), step.figures.rows
        self._save("last", stage, optimizers, at)

    def _validate(self, stage: Stage, optimizers: Optimizers, at: Position, step: Step, rate: float) -> bool:
        step.check()
        figures, step.figures = step.figures.values(), Figures()
        at.figures, at.rows = {}, 0
        with self._average.instead():
            found = validate(self.vae, self.valid, self.seed, samples=stage.objective.importance, ranks=self.ranks)
        stage.prepare_modes(self.vae)
        if not math.isfinite(found["elbo"]):
            raise NotFiniteError(
                f"the validation ELBO is not finite at step {at.step} (stage {stage.name!r}); "
                f"nats per field: {found['nats']}. "
                f"{self._kept()}. Lower the learning rate"
            )
        judged = found[stage.objective.criterion]
        better = at.best is None or judged > at.best
        at.best, at.stale = (judged, 0) if better else (at.best, at.stale + 1)
        self._watch_information(stage, at, found["latent"])
        weights = {name: stage.objective.weight(name) for name in stage.objective.weights}
        at.lines += 1
        self.on_validation(
            {"stage": stage.name, "epoch": at.epoch, "step": at.step, "seconds": round(at.seconds, 3)}
            | {"learning_rate": rate, "weights": weights, "train": figures, "valid": found, "best": at.best}
        )
        if better:
            self._save("best", stage, optimizers, at)
        self._save("last", stage, optimizers, at)
        if asked := self.ranks.most(self.stopping.asked)[0]:
            self.stopping.leave(int(asked))
        return at.stale >= self.config.patience

    def _check_lagging(self, stage: Stage) -> None:
        """Refuse to let inference run ahead where nothing tells when to stop."""
        if stage.lagging and validate(self.vae, self.valid, self.seed)["latent"]["information"] is None:
            raise ConfigError(
                "lagging runs until mutual information stops rising, which takes densities of any z; this posterior "
                "knows those of its own draws only. Leave lagging at 0, or take another posterior"
            )

    def _check_parts(self, stage: Stage) -> None:
        """Refuse micro-batches where their gradients would not add up to that of the batch."""
        if self.config.micro_batch is None or self.config.micro_batch >= (self.config.batch_size or 0):
            return
        if not stage.objective.row_separable or any(True for _ in stage.objective.parameters()):
            names = ", ".join(type(part).__name__ for part in stage.objective.leaves())
            raise ConfigError(f"micro_batch needs an objective in which rows stand alone; {names} ties rows together")
        if self._moves:
            raise ConfigError(
                f"micro_batch needs a model in which rows stand alone; {self._moves} is computed from whole batches"
            )

    def _check_schedules(self, stage: Stage) -> None:
        """Refuse a schedule of something that is not there."""
        for name, schedule in stage.schedules.items():
            stage.drive(self.vae, name, schedule(0))

    def _warn_of_schedules(self, stage: Stage, total: int) -> None:
        """Say at the start if a schedule cannot finish."""
        for name, schedule in stage.schedules.items():
            if (steps := schedule.after + schedule.steps) > total:
                warnings.warn(
                    f"the schedule of {name!r} takes {steps} steps, stage {stage.name!r} has {total}: "
                    f"it will end at {schedule(total):.3g}, not at {schedule.end:.3g}; train longer or shorten it",
                    stacklevel=2,
                )

    def set_rates(self, stage: Stage, optimizers: Optimizers, step: int, total: int, fraction: float) -> float:
        """Half cosines from the peak to 1 % of it, after a linear warm-up; and the scheduled weights."""
        cycle = fraction * (self.config.restarts + 1) % 1.0  # Loshchilov & Hutter, SGDR, 2017, eq. 5
        cosine = 0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * cycle))
        rising = min(_RATE_STEPS, max(1, int(self.config.rate_warmup * total)))
        share = cosine * min(1.0, (step + 1) / rising)
        for optimizer in optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * share
        planned = max(step, int(fraction * total))  # a budget of time moves schedules along with the learning rate
        for name, schedule in stage.schedules.items():
            stage.drive(self.vae, name, schedule(planned))
        return self.config.learning_rate * share

    def _save(self, name: str, stage: Stage, optimizers: Optimizers, at: Position) -> None:
        if name == "last":
            self._write(name, stage, optimizers, at)
            return
        with self._average.instead():
            self._best = {key: value.detach().clone() for key, value in self.vae.state_dict().items()}
            self._write(name, stage, optimizers, at)

    def _write(self, name: str, stage: Stage, optimizers: Optimizers, at: Position) -> None:
        if self.saver:
            path = self.saver.last if name == "last" else self.saver.best
            self.saver.write(path, at, self.vae, stage.objective, optimizers, self._average)

    def _load_best(self) -> None:
        if self.ranks.agree(self.saver is not None):
            best = checkpoint.parse(self._told(self.saver.best if self.saver else None)).model()
        else:
            best = self._best
        self.vae.load_state_dict(best)
        self.vae.eval()

    def _told(self, path: Path | None) -> bytes:
        """A checkpoint that the first process reads, for all."""
        return self.ranks.tell(checkpoint.content(path) if path else None)

    def _kept(self) -> str:
        return f"the last good checkpoint is {self.saver.last}" if self.saver else "nothing was saved (out=None)"
