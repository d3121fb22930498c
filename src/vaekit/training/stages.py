"""Stages: a fit is a list of (parameters, objective, budget)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from vaekit.errors import ConfigError
from vaekit.nn.parts import named
from vaekit.nn.vae import VAE
from vaekit.objectives import ELBO, Capacity, Linear, Objective, Schedule
from vaekit.training.config import TrainConfig
from vaekit.training.losses import objective_of

__all__ = ["Stage", "default_stages"]


@dataclass(frozen=True)
class Stage:
    """One stage of a fit.

    Args:
        name: Name, unique in the fit.
        objective: What is minimised.
        epochs: Passes over the training rows.
        schedules: Weight name of the objective, or ``latent.<name>``, to its schedule over the steps of this stage.
        parameters: Prefixes of the parameters that are trained; all by default.
        parts: Parts of the model that are trained, ``inference``, ``prior``, ``decoder``; all by default. What is not
            trained is also left out of what training does beside gradients: dropout, moving codebooks and scales.
        lagging: Most steps of the inference network alone, on other rows, before each step: until its loss stops
            falling, and no longer once mutual information on the rows for early stopping has risen and stands still.
    """

    name: str
    objective: Objective
    epochs: int
    schedules: Mapping[str, Schedule] = field(default_factory=dict)
    parameters: tuple[str, ...] = ("",)
    parts: tuple[str, ...] = ("inference", "prior", "decoder")
    lagging: int = 0

    def trained(self, model: VAE) -> list[nn.Parameter]:
        """The parameters that this stage trains.

        Raises:
            ConfigError: If prefixes and parts leave none.
        """
        named = [(n, p) for n, p in model.named_parameters() if n.startswith(self.parameters)]
        chosen = [p for name, p in named if model.part_of(name) in self.parts]
        if not chosen:
            raise ConfigError(
                f"stage {self.name!r} trains no parameter: nothing of {', '.join(self.parts)} starts with "
                f"{self.parameters}"
            )
        return chosen

    def drive(self, model: VAE, name: str, value: float | Tensor) -> None:
        """Set what a schedule drives: a weight of the objective, or ``latent.<name>`` of the latent structure."""
        if name.startswith("latent."):
            model.latent.set_knob(name.removeprefix("latent."), value)
        else:
            self.objective.set_weight(name, value)

    def prepare_modes(self, model: VAE) -> None:
        """Put what is trained into training mode, and the rest into evaluation mode."""
        model.train("decoder" in self.parts)
        for part in (model.encoder, model.latent):
            part.train("inference" in self.parts)


def default_stages(config: TrainConfig, steps_per_epoch: int) -> list[Stage]:
    """The stages of a configuration: the model, and what it asks for afterwards.

    - ``vae``: the bound and its terms, with warm-up; with ``lagging`` the inference network runs ahead at first (He et
      al., Lagging inference networks and posterior collapse, 2019, algorithm 1);
    - ``encoder``: the inference network alone, on the finished decoder;
    - ``prior``: the prior alone, on the finished codes.
    """
    epochs = config.epochs or 1
    parts = ("inference", "decoder") if config.prior_share else ("inference", "prior", "decoder")
    schedules = _schedules(config, epochs * steps_per_epoch)
    stages = [Stage("vae", objective_of(config), epochs, schedules, parts=parts, lagging=config.lagging)]
    if config.encoder_share:
        more = max(1, round(config.encoder_share * epochs))
        stages.append(Stage("encoder", objective_of(config), more, parts=("inference",)))
    if config.prior_share:
        stages.append(Stage("prior", ELBO(), max(1, round(config.prior_share * epochs)), parts=("prior",)))
    return stages


def _schedules(config: TrainConfig, total: int) -> dict[str, Schedule]:
    """What the configuration schedules, and the warm-up of beta or of the capacity unless it does so itself."""
    found = {name: ramp.over(total) for name, ramp in config.schedules.items()}
    steps, objective = round(config.warmup * total), objective_of(config).leaves()[0]
    name = "capacity" if named(config.objective) == "capacity" else "beta"
    end = objective.capacity if isinstance(objective, Capacity) else config.beta
    if steps >= 1 and end > 0 and name not in found:
        found[name] = Linear(0.0, end, steps)
    return found
