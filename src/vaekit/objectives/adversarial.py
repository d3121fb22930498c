"""A critic of rows: imagined rows should look real to it, and reconstructed rows like their originals."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vaekit.arrays import BlockSpec
from vaekit.errors import ConfigError
from vaekit.nn.special import softplus
from vaekit.nn.vae import VAE, Params, Pass
from vaekit.objectives.base import Objective
from vaekit.objectives.parts import critic_net
from vaekit.objectives.shown import SHOWN, mask_of

__all__ = ["Adversarial"]


class Adversarial(Objective):
    """Terms of a VAE-GAN, to be added to an ELBO: ``weight · softplus(-D(x̂)) + features · ½|f(x) - f(x̃)|²``.

    x̂ is imagined from the prior, x̃ reconstructed, f the last hidden layer of the critic D, whose layers have spectral
    norm 1. D learns in a phase of its own. Cells that are missing in a row are missing in all three.

    Args:
        weight: Weight of the first term; a schedule may drive it.
        features: Weight of the second; a schedule may drive it.
        hidden: Width of the critic.
        learning_rate: Peak learning rate of the critic.

    Raises:
        ConfigError: If a weight is negative.

    References:
        Larsen et al., Autoencoding beyond pixels using a learned similarity metric, 2016, eq. 5 and 8. Miyato et al.,
        Spectral normalization for generative adversarial networks, 2018.
    """

    weights = ("adversarial", "features")
    prior_draws = True
    prior_rows = True
    critic: nn.Sequential
    specs: dict[str, BlockSpec]

    def __init__(
        self, *, weight: float = 0.1, features: float = 1.0, hidden: int = 64, learning_rate: float = 1e-3
    ) -> None:
        super().__init__()
        if weight < 0 or features < 0 or hidden < 1 or not learning_rate > 0:
            raise ConfigError(
                f"adversarial needs weights >= 0, hidden >= 1, learning_rate > 0; got {weight}, {features}, {hidden}, "
                f"{learning_rate}"
            )
        self.adversarial, self.features = float(weight), float(features)
        self.hidden, self.critic_rate = int(hidden), float(learning_rate)

    @property
    def row_separable(self) -> bool:
        """The critic is learned from all rows."""
        return False

    def prepare(self, vae: VAE, passed: Pass, rows: int, seed: int) -> None:
        """Make the critic, and check that every likelihood has a differentiable point."""
        self.specs = {name: vae.specs[name] for name in passed.likelihoods}
        for spec in self.specs.values():
            if spec.likelihood not in SHOWN:
                raise ConfigError(
                    f"adversarial needs values that gradients go through; that of block {spec.name!r}, likelihood "
                    f"{spec.likelihood}, has none. Known: {', '.join(SHOWN)}"
                )
        self.critic = critic_net(self._real(passed).shape[-1], self.hidden, seed, normalise=True)

    def forward(self, passed: Pass) -> dict[str, Tensor]:
        """Terms ``adversarial`` and ``features``."""
        imagined = self._shown(passed, passed.imagined or {})
        gap = self.critic[:-1](self._real(passed)) - self.critic[:-1](self._shown(passed, passed.likelihoods))
        return {
            "adversarial": self.adversarial * softplus(-self.critic(imagined)[:, 0]),
            "features": self.features * 0.5 * gap.square().sum(-1),
        }

    def criticise(self, passed: Pass) -> dict[str, Tensor]:
        """Cross-entropy of the critic between real and imagined rows, ``adversarial_critic``."""
        imagined = self._shown(passed, passed.imagined or {}).detach()
        real = self.critic(self._real(passed))[:, 0]
        return {"adversarial_critic": softplus(-real) + softplus(self.critic(imagined)[:, 0])}

    def _real(self, passed: Pass) -> Tensor:
        """Rows as the critic sees them, (B, ·); missing cells are 0."""
        found = []
        for name, spec in self.specs.items():
            block = passed.blocks[name]
            found.append(SHOWN[spec.likelihood].real(block.values, spec) * mask_of(block, spec))
        return torch.cat(found, -1)

    def _shown(self, passed: Pass, params: Params) -> Tensor:
        """Points of the likelihoods at their first draw, seen in the same way."""
        found = []
        for name, spec in self.specs.items():
            first = {key: value[0] for key, value in params[name].items()}
            point = SHOWN[spec.likelihood].point(first, spec)
            found.append(point * mask_of(passed.blocks[name], spec))
        return torch.cat(found, -1)
