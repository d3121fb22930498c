"""Phases of one optimiser step: parameters, and a loss whose gradient reaches these parameters and no others."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor, nn

from vaekit.errors import ConfigError
from vaekit.nn.vae import VAE
from vaekit.objectives import Objective
from vaekit.training.adam import Adam, adam_of
from vaekit.training.config import TrainConfig
from vaekit.training.stages import Stage

__all__ = ["Optimizers", "Phase", "optimizers_of", "phases_of"]

Optimizers = Mapping[str, torch.optim.Optimizer]


@dataclass(frozen=True)
class Phase:
    """Some parameters, and what moves them.

    Args:
        parameters: The parameters.
        optimizer: Their optimiser; parameters without a gradient stay where they are.
    """

    parameters: list[nn.Parameter]
    optimizer: torch.optim.Optimizer

    @cached_property
    def adam(self) -> Adam | None:
        """The weights and their state, if the optimiser is Adam; made with the first step, when the state is there."""
        return adam_of(self.optimizer, self.parameters)

    def clear(self) -> None:
        """Forget the gradient of all that the optimiser moves."""
        for group in self.optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of a loss to that of these parameters, and of no others."""
        loss.backward(inputs=self.parameters)

    def add(self, gradient: Sequence[Tensor | None], share: float) -> None:
        """Add a share of a gradient to that of the parameters."""
        for parameter, value in zip(self.parameters, gradient, strict=True):
            if value is None:
                continue
            if parameter.grad is not None:
                parameter.grad.add_(value, alpha=share)
            else:
                parameter.grad = value if share == 1.0 else value * share

    def norm(self) -> Tensor:
        """The norm of the gradient of all parameters."""
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))

    def step(self, norm: Tensor, clip: float, frozen: Tensor) -> None:
        """A step of the optimiser: on the gradient of norm `clip` at most, and none at all where `frozen` is 1.

        Args:
            norm: The norm of the gradient.
            clip: The largest that is let through; 0 lets all through.
            frozen: 0, or 1 to leave every weight as it is. Fused optimisers read both from the device.
        """
        scale = torch.clamp(norm / (clip or math.inf), min=1.0)
        if self.adam:
            self.adam.step(self.parameters, scale, frozen)
        elif self.optimizer.defaults.get("fused"):
            self.optimizer.grad_scale, self.optimizer.found_inf = scale, frozen  # type: ignore[attr-defined]
            self.optimizer.step()
        elif not frozen:  # the others have to be told, which waits for the device
            torch._foreach_div_([p.grad for p in self.parameters if p.grad is not None], scale)
            self.optimizer.step()


def optimizers_of(stage: Stage, vae: VAE, config: TrainConfig) -> dict[str, torch.optim.Optimizer]:
    """``optimizer`` for what the stage trains of the model, and ``critic`` if its objective has parameters.

    Each remembers the peak of its learning rate as ``peak``.

    Raises:
        ConfigError: If an objective has parameters, but no loss by which they would learn.
    """
    for part in stage.objective.leaves():
        if type(part).criticise is Objective.criticise and any(True for _ in part.parameters()):
            raise ConfigError(
                f"stage {stage.name!r}: {type(part).__name__} has trainable parameters, but no `criticise` that says "
                "what they minimise"
            )
    groups: dict[str, list[dict[str, Any]]] = {
        "optimizer": [
            {"params": stage.trained(vae), "peak": config.learning_rate, "weight_decay": config.weight_decay},
        ],
        "critic": [
            {"params": list(part.parameters()), "peak": part.critic_rate, "weight_decay": 0.0}
            for part in stage.objective.leaves()
            if any(True for _ in part.parameters())
        ],
    }
    make = _MAKERS[config.optimizer]
    options: dict[str, Any] = {"momentum": 0.9 if config.momentum is None else config.momentum}
    options = options if config.optimizer == "sgd" else {}
    return {name: make(some, lr=config.learning_rate, **options) for name, some in groups.items() if some}


_MAKERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw": partial(torch.optim.AdamW, fused=True),
    "adam": partial(torch.optim.Adam, fused=True),
    "amsgrad": partial(torch.optim.Adam, amsgrad=True, fused=True),
    "nadam": torch.optim.NAdam,
    "radam": torch.optim.RAdam,
    "adamax": torch.optim.Adamax,
    "sgd": partial(torch.optim.SGD, fused=True),
}


def phases_of(stage: Stage, vae: VAE, optimizers: Optimizers) -> dict[str, Phase]:
    """The phases of a stage: ``model``, ``inference`` (the part of it that lagging steps move) and ``critic``."""
    model = stage.trained(vae)
    mine = {id(p) for name, p in vae.named_parameters() if vae.part_of(name) == "inference"}
    found = {
        "model": Phase(model, optimizers["optimizer"]),
        "inference": Phase([p for p in model if id(p) in mine], optimizers["optimizer"]),
    }
    if "critic" in optimizers:
        found["critic"] = Phase(list(stage.objective.parameters()), optimizers["critic"])
    return found
