"""Stages: a fit is a list of (parameters, objective, budget)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import nn

from vaekit.errors import ConfigError
from vaekit.objectives import ELBO, ImportanceWeighted, Linear, Objective, Schedule
from vaekit.training.config import TrainConfig

__all__ = ["Stage", "default_stages"]


@dataclass(frozen=True)
class Stage:
    """One stage of a fit.

    Args:
        name: Name, unique in the fit.
        objective: What is minimised.
        epochs: Passes over the training rows.
        schedules: Weight name of the objective to its schedule over the steps of this stage.
        parameters: Prefixes of the parameters that are trained; all by default.
    """

    name: str
    objective: Objective
    epochs: int
    schedules: Mapping[str, Schedule] = field(default_factory=dict)
    parameters: tuple[str, ...] = ("",)

    def trained(self, model: nn.Module) -> list[nn.Parameter]:
        """The parameters that this stage trains.

        Raises:
            ConfigError: If the prefixes match none.
        """
        chosen = [p for name, p in model.named_parameters() if name.startswith(self.parameters)]
        if not chosen:
            raise ConfigError(f"stage {self.name!r} trains no parameter: nothing starts with {self.parameters}")
        return chosen


def default_stages(config: TrainConfig, steps_per_epoch: int) -> list[Stage]:
    """The one stage of a plain VAE: its bound, with linear warm-up of the KL, and free bits where it is the ELBO."""
    objective: Objective
    if config.objective == "iwae":
        objective = ImportanceWeighted(config.samples, config.beta)
    else:
        objective = ELBO(beta=config.beta, free_bits=config.free_bits, samples=config.samples)
    epochs = config.epochs or 1
    steps = round(config.warmup * epochs * steps_per_epoch)
    schedules = {"beta": Linear(0.0, config.beta, steps)} if steps >= 1 else {}
    return [Stage("vae", objective, epochs, schedules)]
