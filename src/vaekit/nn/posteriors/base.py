"""What a posterior is: a module that gives a distribution, which gives a draw and its log-density together."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Self

from torch import Tensor, nn

from vaekit.arrays import Noise
from vaekit.errors import ConfigError

__all__ = ["Distribution", "Posterior"]


class Distribution:
    """A distribution over one latent group; a frozen dataclass of tensors."""

    def rsample(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """A reparameterised draw (K, B, L) and its log-density (K, B)."""
        raise NotImplementedError

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density of a foreign z (K, B, L): shape (K, B).

        Raises:
            ConfigError: If it is only known for z that the posterior drew itself.
        """
        raise ConfigError(f"{type(self).__name__} knows the log-density of its own draws only, not of a foreign z")

    def kl_to(self, mean: Tensor | float = 0.0, log_std: Tensor | float = 0.0) -> Tensor | None:
        """Closed-form ``KL(self || N(mean, exp(log_std)²))``, one term per dimension (..., B, L), or None."""
        return None

    def detached(self) -> Self:
        """The same distribution without gradients towards its parameters."""
        tensors = {one.name: getattr(self, one.name) for one in fields(self)}  # type: ignore[arg-type]
        return replace(self, **{n: v.detach() for n, v in tensors.items() if isinstance(v, Tensor)})  # type: ignore[type-var]


class Posterior(nn.Module):
    """Maps the encoder's hidden vector to a distribution over one latent group.

    Attributes:
        noise: What a draw consumes.
    """

    noise: Noise

    def forward(self, h: Tensor) -> Distribution:
        """The posterior given h (..., H)."""
        raise NotImplementedError
