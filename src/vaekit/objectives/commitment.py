"""Rows are held close to the codes that they take."""

from __future__ import annotations

import torch
from torch import Tensor

from vaekit.errors import ConfigError
from vaekit.nn.vae import VAE, Pass
from vaekit.objectives.base import Objective

__all__ = ["Commitment"]


class Commitment(Objective):
    """``weight · |h - e|²``, the squared distance of a row from its codes; added to an ELBO a VQ-VAE.

    Args:
        weight: The weight; a schedule may drive it.

    Raises:
        ConfigError: If the weight is negative.

    References:
        van den Oord, Vinyals & Kavukcuoglu, Neural discrete representation learning, 2017, eq. 3, last term.
    """

    weights = ("commitment",)

    def __init__(self, *, weight: float = 0.25) -> None:
        super().__init__()
        if weight < 0:
            raise ConfigError(f"the weight of commitment must not be negative, got {weight}")
        self.commitment = float(weight)

    def prepare(self, vae: VAE, passed: Pass, rows: int, seed: int) -> None:
        """Check that there are codes."""
        if all(group.commitment is None for group in passed.groups.values()):
            raise ConfigError("commitment holds rows close to codes; only structure 'quantised' has codes")

    def forward(self, passed: Pass) -> dict[str, Tensor]:
        """The term ``commitment``, shape (B,)."""
        found = [group.commitment for group in passed.groups.values() if group.commitment is not None]
        return {"commitment": self.commitment * torch.stack(found).sum(0)}
