"""Total correlation through a critic that tells draws from draws with shuffled dimensions."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vaekit.errors import ConfigError
from vaekit.nn.special import softplus
from vaekit.nn.vae import VAE, Pass
from vaekit.objectives.base import Objective
from vaekit.objectives.parts import critic_net, draws

__all__ = ["DensityRatio"]


class DensityRatio(Objective):
    """``weight · E[log D(z) / (1 - D(z))]``, an estimate of the total correlation; added to an ELBO a FactorVAE.

    The critic D learns in a phase of its own to tell z of a batch from z whose dimensions were shuffled over its rows.

    Args:
        weight: The weight; a schedule may drive it.
        hidden: Width of the critic.
        learning_rate: Peak learning rate of the critic.

    Raises:
        ConfigError: If the weight is negative.

    References:
        Kim & Mnih, Disentangling by factorising, 2018, eq. 2 and 3, algorithm 2.
    """

    weights = ("ratio",)
    critic: nn.Module

    def __init__(self, *, weight: float = 5.0, hidden: int = 64, learning_rate: float = 1e-3) -> None:
        super().__init__()
        if weight < 0 or hidden < 1 or not learning_rate > 0:
            raise ConfigError(
                f"density_ratio needs weight >= 0, hidden >= 1, learning_rate > 0; got {weight}, {hidden}, "
                f"{learning_rate}"
            )
        self.ratio, self.hidden, self.critic_rate = float(weight), int(hidden), float(learning_rate)

    @property
    def row_separable(self) -> bool:
        """The critic is learned from all rows."""
        return False

    def prepare(self, vae: VAE, passed: Pass, rows: int, seed: int) -> None:
        """Make the critic."""
        width = draws(passed, "density_ratio").shape[-1]
        if width < 2:
            raise ConfigError("density_ratio compares dimensions of z; it needs a latent width of at least 2")
        self.critic = critic_net(width, self.hidden, seed)

    def forward(self, passed: Pass) -> dict[str, Tensor]:
        """The term ``density_ratio``."""
        return {"density_ratio": self.ratio * self.critic(draws(passed, "density_ratio"))[:, 0]}

    def criticise(self, passed: Pass) -> dict[str, Tensor]:
        """Cross-entropy of the critic, ``density_ratio_critic``."""
        z = draws(passed, "density_ratio").detach()
        order = torch.rand(z.shape, device=z.device).argsort(0)  # every dimension in an order of its own
        real, shuffled = self.critic(z)[:, 0], self.critic(z.gather(0, order))[:, 0]
        return {"density_ratio_critic": 0.5 * (softplus(-real) + softplus(shuffled))}
