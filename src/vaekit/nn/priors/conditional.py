"""A normal prior that the condition fields move."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from vaekit.errors import ConfigError
from vaekit.nn.parts import Around
from vaekit.nn.posteriors import DiagonalNormal, Distribution, Posterior
from vaekit.nn.priors.base import Prior
from vaekit.nn.special import soft_bound

__all__ = ["ConditionalNormal"]


class ConditionalNormal(Prior):
    """``p(z | c) = N(mean(c), exp(log_std(c))²)`` with two linear maps of the condition's hidden vector.

    With a standard prior a conditional VAE has to decode every condition from the same z; here the conditions may lie
    apart in the latent space. It starts as the standard normal prior.

    Args:
        size: Latent width L.
        around: What it leans on: the width of the condition.
        posterior: Not used.

    Raises:
        ConfigError: If the model has no condition fields.

    References:
        Sohn, Lee & Yan, Learning structured output representation using deep conditional generative models, 2015,
        eq. 4.
    """

    def __init__(self, size: int, around: Around | None = None, posterior: Posterior | None = None) -> None:
        super().__init__(size)
        if around is None or not around.condition:
            raise ConfigError("prior 'conditional' needs at least one field of role 'condition'; the contract has none")
        self.linear = nn.Linear(around.condition, 2 * size)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def given(self, condition: Tensor | None) -> DiagonalNormal:
        """The prior given the condition (B, H)."""
        if condition is None:
            raise ConfigError("prior 'conditional' was asked without a condition")
        mean, raw = self.linear(condition).chunk(2, dim=-1)
        return DiagonalNormal(mean, soft_bound(raw, -5.0, 5.0))

    def log_prob(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """Log-density given the condition."""
        return self.given(condition).log_prob(z)

    def sample(self, noise: Mapping[str, Tensor], condition: Tensor | None = None) -> Tensor:
        """A draw given the condition."""
        return self.given(condition).rsample(noise[""])[0]

    def kl(self, posterior: Distribution, condition: Tensor | None = None) -> Tensor | None:
        """The posterior's closed form, if it has one."""
        prior = self.given(condition)
        return posterior.kl_to(prior.mean, prior.log_std)
