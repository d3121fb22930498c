"""The training loop: steps, validation, early stopping, checkpoints; every step is a function of (seed, step)."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from vaekit.errors import ConfigError, TrainingError
from vaekit.nn.vae import VAE, Pass
from vaekit.training import checkpoint
from vaekit.training.average import Average
from vaekit.training.batches import Resident, binarised, draw_noise, hide, seeded, step_generator
from vaekit.training.checkpoint import Position
from vaekit.training.config import TrainConfig
from vaekit.training.forensics import explain_gradient, explain_loss
from vaekit.training.phases import Phase, optimizers_of, phases_of
from vaekit.training.saving import Saver
from vaekit.training.signals import Stopping
from vaekit.training.stages import Stage
from vaekit.training.validate import validate

__all__ = ["Loop"]

_VALIDATIONS = 60  # per stage; patience counts them
_LOOK = 10  # steps of the inference network after which its loss is compared, while it runs ahead
_STILL = 3  # epochs without more mutual information before it does so no longer

Optimizers = Mapping[str, torch.optim.Optimizer]
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
        last = checkpoint.read(self.saver.last) if resume and self.saver else None
        position = last.position if last else Position()
        for index in range(position.stage, len(stages)):
            stage = stages[index]
            self._check_schedules(stage)
            stage.objective.prepare(self.vae, self._look(stage), len(self.train), self.seed)
            stage.objective.to(self.train.device)
            self._check_lagging(stage)
            optimizers = optimizers_of(stage, self.vae, self.config)
            self._average = Average(self.vae, self.config.ema)
            if last and not position.finished:
                checkpoint.restore(last, self.vae, stage.objective, optimizers, self._average)
            if not position.finished:
                if last is None:  # before another stage overwrites the best weights of this one's predecessor
                    self._save("last", stage, optimizers, position)
                self._stage(stage, optimizers, position)
            self._load_best()
            last, position = None, position.next_stage()

    def _stage(self, stage: Stage, optimizers: Optimizers, at: Position) -> None:
        batch = self.config.batch_size or len(self.train)
        per_epoch = math.ceil(len(self.train) / batch)
        total = stage.epochs * per_epoch
        budget = self.config.max_seconds and self.config.max_seconds * stage.epochs / self.epochs
        self._warn_of_schedules(stage, total)
        phases, before, began = phases_of(stage, self.vae, optimizers), at.seconds, time.monotonic()
        done, since, rate = at.stale >= self.config.patience, at.since, 0.0
        stage.prepare_modes(self.vae)
        while at.epoch < stage.epochs and not done:
            for indices in self.train.epoch(self.seed, at.stage * 100_003 + at.epoch, batch)[at.batch :]:
                fraction = max(at.step / total, (at.seconds - at.began) / budget if budget else 0.0)
                if done := fraction >= 1.0:
                    break
                rate = self._set_rates(stage, optimizers, at.step, total, fraction)
                since.add(self._step(stage, phases, indices, at), len(indices))
                at.step, at.batch, at.seconds = at.step + 1, at.batch + 1, before + time.monotonic() - began
                self.on_step(fraction, len(indices), since.value("loss"))
                if fraction >= at.due or at.step == total:
                    at.due = fraction + 1.0 / _VALIDATIONS
                    done = self._validate(stage, optimizers, at, rate)
                    if done:
                        break
                elif self.saver and self.saver.due():
                    self._save("last", stage, optimizers, at)
                self._stop_if_asked(stage, optimizers, at)
            else:
                at.epoch, at.batch = at.epoch + 1, 0
        if since.rows:  # the budget ended between two validations
            self._validate(stage, optimizers, at, rate)
        at.finished = True
        self._save("last", stage, optimizers, at)

    def _step(self, stage: Stage, phases: Mapping[str, Phase], indices: Tensor, at: Position) -> dict[str, float]:
        """One step of every phase: lagging steps of the inference network, the model, the critic."""
        rng = step_generator(self.seed, at.stage * 2**40 + at.step, self.train.device)
        ahead = self._run_ahead(stage, phases["inference"], indices, rng, at) if stage.lagging and at.ahead else 0
        passed = self._pass(stage, indices, rng)
        figures = self._descend(stage, phases["model"], passed, rng, at)
        self._average.update()
        if stage.lagging:
            figures["ahead"] = float(ahead)
        if "critic" in phases:
            figures |= self._criticise(stage, phases["critic"], passed, rng, at)
        return figures

    def _run_ahead(self, stage: Stage, phase: Phase, indices: Tensor, rng: torch.Generator, at: Position) -> int:
        """Steps of the inference network alone, on other rows, until its loss stops falling; how many there were."""
        last, total = math.inf, 0.0
        for step in range(1, stage.lagging + 1):
            some = torch.randint(len(self.train), indices.shape, generator=rng, device=rng.device)
            total += self._descend(stage, phase, self._pass(stage, some, rng), rng, at)["loss"]
            if step % _LOOK == 0:
                if total >= last:
                    return step
                last, total = total, 0.0
        return stage.lagging

    def _watch_information(self, stage: Stage, at: Position, found: Mapping[str, Any]) -> None:
        """Let the inference network run ahead no longer once mutual information has stopped rising."""
        if not (stage.lagging and at.ahead) or at.watched == at.epoch:
            return
        information, at.watched = found["information"], at.epoch
        if at.information is None or information > at.information:
            at.information, at.still = information, 0
        else:
            at.still += 1
        at.ahead = at.still < _STILL

    def _pass(self, stage: Stage, indices: Tensor, rng: torch.Generator) -> Pass:
        """A forward pass over some rows, parts of them hidden."""
        objective, latent = stage.objective, self.vae.latent
        rows = binarised(self.train.take(indices), self.vae.specs, rng)
        blocks = hide(rows, self.vae.specs, self.config.mask, rng)
        noise = draw_noise(latent.noise, rng, objective.samples, len(indices))
        prior = draw_noise(latent.prior_noise, rng, 1, len(indices)) if objective.prior_draws else None
        half = torch.autocast(rng.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16")
        with seeded(rng.initial_seed(), rng.device), half:
            found: Pass = self.vae(blocks, noise, prior, objective.prior_rows)
        return found

    def _descend(
        self, stage: Stage, phase: Phase, passed: Pass, rng: torch.Generator, at: Position
    ) -> dict[str, float]:
        """A step of the model, or of a part of it, down the objective."""
        with seeded(rng.initial_seed() + 1, rng.device):
            terms = stage.objective(passed)
        value = torch.stack(list(terms.values())).sum(0).mean().item()
        if not math.isfinite(value):
            raise TrainingError(explain_loss(terms, passed, self.vae, stage, at, self._kept()))
        norm = phase.gradient(terms, self.config.clip)
        if not math.isfinite(norm):
            raise TrainingError(explain_gradient(self.vae, stage, at, self._kept()))
        phase.optimizer.step()
        return {"loss": value, "gradient_norm": norm} | {n: float(term.detach().mean()) for n, term in terms.items()}

    def _criticise(
        self, stage: Stage, phase: Phase, passed: Pass, rng: torch.Generator, at: Position
    ) -> dict[str, float]:
        """A step of the objective's own parameters."""
        with seeded(rng.initial_seed() + 2, rng.device):
            terms = stage.objective.criticise(passed)
        norm = phase.gradient(terms, self.config.clip)
        if not math.isfinite(norm):
            raise TrainingError(
                f"the gradient of the critic ({', '.join(terms)}) is not finite at step {at.step} (stage "
                f"{stage.name!r}). Training stopped before its weights changed; {self._kept()}. Lower its learning_rate"
            )
        phase.optimizer.step()
        return {name: float(term.detach().mean()) for name, term in terms.items()}

    def _look(self, stage: Stage) -> Pass:
        """A pass over a few rows, for the objective to see what it will work with; it leaves no trace."""
        rng = step_generator(self.seed, 0, self.train.device)
        kept = {name: value.clone() for name, value in self.vae.state_dict().items()}
        stage.prepare_modes(self.vae)
        with torch.no_grad():
            found = self._pass(stage, torch.arange(min(8, len(self.train)), device=rng.device), rng)
        self.vae.load_state_dict(kept)
        return found

    def _stop_if_asked(self, stage: Stage, optimizers: Optimizers, at: Position) -> None:
        """End here, with a checkpoint, if a signal asked for it."""
        if asked := self.stopping.asked:
            self._save("last", stage, optimizers, at)
            self.stopping.leave(asked)

    def _validate(self, stage: Stage, optimizers: Optimizers, at: Position, rate: float) -> bool:
        with self._average.instead():
            found = validate(self.vae, self.valid, self.seed, samples=stage.objective.importance)
        stage.prepare_modes(self.vae)
        if not math.isfinite(found["elbo"]):
            raise TrainingError(
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
            | {"learning_rate": rate, "weights": weights, "train": at.since.values(), "valid": found, "best": at.best}
        )
        at.since.clear()
        if better:
            self._save("best", stage, optimizers, at)
        self._save("last", stage, optimizers, at)
        return at.stale >= self.config.patience

    def _check_lagging(self, stage: Stage) -> None:
        """Refuse to let inference run ahead where nothing tells when to stop."""
        if stage.lagging and validate(self.vae, self.valid, self.seed)["latent"]["information"] is None:
            raise ConfigError(
                "lagging runs until mutual information stops rising, which takes densities of any z; this posterior "
                "knows those of its own draws only. Leave lagging at 0, or take another posterior"
            )

    def _check_schedules(self, stage: Stage) -> None:
        """Refuse a schedule of something that is not there."""
        for name, schedule in stage.schedules.items():
            self._drive(stage, name, schedule(0))

    def _warn_of_schedules(self, stage: Stage, total: int) -> None:
        """Say at the start if a schedule cannot finish."""
        for name, schedule in stage.schedules.items():
            if (steps := schedule.after + schedule.steps) > total:
                warnings.warn(
                    f"the schedule of {name!r} takes {steps} steps, stage {stage.name!r} has {total}: "
                    f"it will end at {schedule(total):.3g}, not at {schedule.end:.3g}; train longer or shorten it",
                    stacklevel=2,
                )

    def _set_rates(self, stage: Stage, optimizers: Optimizers, step: int, total: int, fraction: float) -> float:
        """Half cosine from the peak to 1 % of it, after 100 steps of linear warm-up; and the scheduled weights."""
        cosine = 0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * fraction))
        share = cosine * min(1.0, (step + 1) / 100)
        for optimizer in optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * share
        planned = max(step, int(fraction * total))  # a budget of time moves schedules along with the learning rate
        for name, schedule in stage.schedules.items():
            self._drive(stage, name, schedule(planned))
        return self.config.learning_rate * share

    def _drive(self, stage: Stage, name: str, value: float) -> None:
        """Set a weight of the objective, or an attribute of the latent structure."""
        if name.startswith("latent."):
            self.vae.latent.set_knob(name.removeprefix("latent."), value)
        else:
            stage.objective.set_weight(name, value)

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
        if self.saver:
            stored = checkpoint.read(self.saver.best).tensors
            best = {name.removeprefix("model."): value for name, value in stored.items() if name.startswith("model.")}
        else:
            best = self._best
        self.vae.load_state_dict(best)
        self.vae.eval()

    def _kept(self) -> str:
        return f"the last good checkpoint is {self.saver.last}" if self.saver else "nothing was saved (out=None)"
