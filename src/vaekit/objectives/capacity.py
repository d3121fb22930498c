"""The KL steered to a capacity."""

from __future__ import annotations

import torch
from torch import Tensor

from vaekit.errors import ConfigError
from vaekit.nn.vae import Pass
from vaekit.objectives.base import Objective
from vaekit.objectives.elbo import kl_of

__all__ = ["Capacity"]


class Capacity(Objective):
    """``-E_q[log p(x | z)] + gamma · |C - KL|`` with the KL averaged over the batch, in nats per row.

    A schedule that raises C from 0 opens the latent channel little by little. The gradient never vanishes: below C it
    pushes the KL up, above it down.

    Args:
        capacity: C in nats per row; a schedule may drive it.
        gamma: Weight of the distance; a schedule may drive it.
        samples: Monte-Carlo samples K per row.

    Raises:
        ConfigError: If capacity or gamma is negative, or samples is below 1.

    References:
        Burgess et al., Understanding disentangling in β-VAE, 2018, eq. 8.
    """

    weights = ("capacity", "gamma")

    def __init__(self, samples: int = 1, *, capacity: float = 10.0, gamma: float = 10.0) -> None:
        super().__init__()
        if capacity < 0 or gamma < 0 or samples < 1:
            raise ConfigError(f"need capacity >= 0, gamma >= 0, samples >= 1; got {capacity}, {gamma}, {samples}")
        self.capacity, self.gamma, self.samples = float(capacity), float(gamma), int(samples)

    @property
    def row_separable(self) -> bool:
        """The mean over the batch ties rows together."""
        return False

    def forward(self, passed: Pass) -> dict[str, Tensor]:
        """Terms ``reconstruction`` and ``capacity``, whose mean over rows is the weighted distance."""
        gap = torch.stack([kl_of(passed, name).sum(-1) for name in passed.groups]).sum(0) - self.capacity
        side = torch.where(gap.mean().detach() < 0.0, -1.0, 1.0)
        return {
            "reconstruction": -passed.terms.expect(passed.terms.reconstruction()),
            "capacity": self.gamma * side * gap,
        }
