"""The training loop: steps, validation, early stopping, checkpoints; every step is a function of (seed, step)."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vaekit.errors import ConfigError, TrainingError
from vaekit.nn.vae import VAE
from vaekit.training import checkpoint
from vaekit.training.batches import Resident, draw_noise, hide, seeded, step_generator
from vaekit.training.checkpoint import Position
from vaekit.training.config import TrainConfig
from vaekit.training.forensics import explain_gradient, explain_loss
from vaekit.training.stages import Stage
from vaekit.training.validate import validate

__all__ = ["Loop"]

_VALIDATIONS = 60  # per stage; patience counts them

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
        fingerprint: What a resumed run must agree on.
        folder: Where checkpoints go; None keeps the best weights in memory only.
        on_validation: Called with the metrics of each validation.
        on_step: Called with (fraction done, rows done, loss) after each step.
    """

    vae: VAE
    train: Resident
    valid: Resident
    config: TrainConfig
    seed: int
    fingerprint: dict[str, Any] = field(default_factory=dict)
    folder: Path | None = None
    on_validation: Report = lambda metrics: None
    on_step: Callable[[float, int, float], None] = lambda fraction, rows, loss: None

    def run(self, stages: list[Stage], resume: bool = False) -> None:
        """Train every stage, each ending with its best weights.

        Args:
            stages: The stages.
            resume: Go on from the last checkpoint in `folder`.

        Raises:
            TrainingError: If a loss or gradient is not finite, or the checkpoint does not fit.
        """
        self.epochs = sum(stage.epochs for stage in stages)
        last = checkpoint.read(self.folder / "last.safetensors") if resume and self.folder else None
        position = last.position if last else Position()
        for index in range(position.stage, len(stages)):
            stage = stages[index]
            if any(True for _ in stage.objective.parameters()):
                raise ConfigError(f"stage {stage.name!r}: objectives with trainable parameters are not supported yet")
            stage.objective.to(self.train.device)
            optimizer = self._optimizer(stage)
            if last and not position.finished:
                checkpoint.restore(last, self.vae, stage.objective, optimizer)
            if not position.finished:
                self._stage(stage, optimizer, position)
            self._load_best()
            last, position = None, Position(stage=index + 1, seconds=position.seconds, began=position.seconds)

    def _stage(self, stage: Stage, optimizer: torch.optim.Optimizer, at: Position) -> None:
        batch = self.config.batch_size or len(self.train)
        per_epoch = math.ceil(len(self.train) / batch)
        total = stage.epochs * per_epoch
        budget = self.config.max_seconds and self.config.max_seconds * stage.epochs / self.epochs
        self._check_schedules(stage, total)
        parameters, before, began = stage.trained(self.vae), at.seconds, time.monotonic()
        done, since, rate = at.stale >= self.config.patience, _Mean(), 0.0
        self.vae.train()
        while at.epoch < stage.epochs and not done:
            for indices in self.train.epoch(self.seed, at.stage * 100_003 + at.epoch, batch)[at.batch :]:
                fraction = max(at.step / total, (at.seconds - at.began) / budget if budget else 0.0)
                if done := fraction >= 1.0:
                    break
                rate = self._set_rates(stage, optimizer, at.step, total, fraction)
                since.add(self._step(stage, optimizer, parameters, indices, at), len(indices))
                at.step, at.batch, at.seconds = at.step + 1, at.batch + 1, before + time.monotonic() - began
                self.on_step(fraction, len(indices), since.value("loss"))
                if fraction >= at.due or at.step == total:
                    at.due = fraction + 1.0 / _VALIDATIONS
                    done = self._validate(stage, optimizer, at, since, rate)
                    since = _Mean()
                    if done:
                        break
            else:
                at.epoch, at.batch = at.epoch + 1, 0
        if since.rows:  # the budget ended between two validations
            self._validate(stage, optimizer, at, since, rate)
        at.finished = True
        self._save("last", stage, optimizer, at)

    def _step(
        self,
        stage: Stage,
        optimizer: torch.optim.Optimizer,
        parameters: list[torch.nn.Parameter],
        indices: Tensor,
        at: Position,
    ) -> dict[str, float]:
        rng = step_generator(self.seed, at.stage * 2**40 + at.step, self.train.device)
        blocks = hide(self.train.take(indices), self.vae.specs, self.config.mask, rng)
        noise = draw_noise(self.vae.latent.noise, rng, stage.objective.samples, len(indices))
        with seeded(rng.initial_seed(), rng.device):
            passed = self.vae(blocks, noise)
        terms = stage.objective(passed)
        loss = torch.stack(list(terms.values())).sum(0).mean()
        value = loss.item()
        if not math.isfinite(value):
            raise TrainingError(explain_loss(terms, passed, self.vae, stage, at, self._kept()))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        limit = self.config.clip or math.inf
        norm = float(torch.nn.utils.clip_grad_norm_(parameters, limit))
        if not math.isfinite(norm):
            raise TrainingError(explain_gradient(self.vae, stage, at, self._kept()))
        optimizer.step()
        return {"loss": value, "gradient_norm": norm} | {
            name: float(term.detach().mean()) for name, term in terms.items()
        }

    def _validate(
        self, stage: Stage, optimizer: torch.optim.Optimizer, at: Position, since: _Mean, rate: float
    ) -> bool:
        found = validate(self.vae, self.valid, self.seed, samples=stage.objective.importance)
        self.vae.train()
        if not math.isfinite(found["elbo"]):
            raise TrainingError(
                f"the validation ELBO is not finite at step {at.step} (stage {stage.name!r}); "
                f"nats per field: {found['nats']}. "
                f"{self._kept()}. Lower the learning rate"
            )
        better = at.best is None or found["bound"] > at.best
        at.best, at.stale = (found["bound"], 0) if better else (at.best, at.stale + 1)
        weights = {name: stage.objective.weight(name) for name in stage.objective.weights}
        self.on_validation(
            {"stage": stage.name, "epoch": at.epoch, "step": at.step, "seconds": round(at.seconds, 3)}
            | {"learning_rate": rate, "weights": weights, "train": since.values(), "valid": found, "best": at.best}
        )
        if better:
            self._save("best", stage, optimizer, at)
        self._save("last", stage, optimizer, at)
        return at.stale >= self.config.patience

    def _optimizer(self, stage: Stage) -> torch.optim.Optimizer:
        kind = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}[self.config.optimizer]
        chosen = stage.trained(self.vae)
        return kind(chosen, lr=self.config.learning_rate, weight_decay=self.config.weight_decay, fused=True)

    def _check_schedules(self, stage: Stage, total: int) -> None:
        """Say at the start if a schedule cannot finish."""
        for name, schedule in stage.schedules.items():
            if (steps := schedule.after + schedule.steps) > total:
                warnings.warn(
                    f"the schedule of {name!r} takes {steps} steps, stage {stage.name!r} has {total}: "
                    f"it will end at {schedule(total):.3g}, not at {schedule.end:.3g}; train longer or shorten it",
                    stacklevel=2,
                )

    def _set_rates(
        self, stage: Stage, optimizer: torch.optim.Optimizer, step: int, total: int, fraction: float
    ) -> float:
        """Half cosine from the peak to 1 % of it, after 100 steps of linear warm-up; and the scheduled weights."""
        cosine = 0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * fraction))
        rate = self.config.learning_rate * cosine * min(1.0, (step + 1) / 100)
        for group in optimizer.param_groups:
            group["lr"] = rate
        planned = max(step, int(fraction * total))  # a budget of time moves schedules along with the learning rate
        for name, schedule in stage.schedules.items():
            stage.objective.set_weight(name, schedule(planned))
        return rate

    def _save(self, name: str, stage: Stage, optimizer: torch.optim.Optimizer, at: Position) -> None:
        if name == "best":
            self._best = {key: value.detach().clone() for key, value in self.vae.state_dict().items()}
        if self.folder:
            path = self.folder / f"{name}.safetensors"
            checkpoint.write(path, at, self.fingerprint, self.vae, stage.objective, optimizer)

    def _load_best(self) -> None:
        if self.folder:
            stored = checkpoint.read(self.folder / "best.safetensors").tensors
            best = {name.removeprefix("model."): value for name, value in stored.items() if name.startswith("model.")}
        else:
            best = self._best
        self.vae.load_state_dict(best)
        self.vae.eval()

    def _kept(self) -> str:
        return (
            f"the last good checkpoint is {self.folder / 'last.safetensors'}"
            if self.folder
            else "nothing was saved (out=None)"
        )


class _Mean:
    """Means over rows of named figures."""

    def __init__(self) -> None:
        self.sums: dict[str, float] = {}
        self.rows = 0

    def add(self, figures: Mapping[str, float], rows: int) -> None:
        self.rows += rows
        for name, value in figures.items():
            self.sums[name] = self.sums.get(name, 0.0) + value * rows

    def value(self, name: str) -> float:
        return self.sums[name] / self.rows

    def values(self) -> dict[str, float]:
        return {name: total / self.rows for name, total in self.sums.items()}
