"""Diagonal normal posteriors, with a scale of their own for each row or one fixed scale."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vaekit.arrays import Noise
from vaekit.errors import ConfigError
from vaekit.nn.posteriors.base import Distribution, Posterior
from vaekit.nn.special import HALF_LOG_2PI, soft_bound

__all__ = ["Diagonal", "DiagonalNormal", "Fixed"]


@dataclass(frozen=True)
class DiagonalNormal(Distribution):
    """A normal distribution with diagonal covariance, ``N(mean, exp(log_std)²)``.

    Args:
        mean: Shape (..., B, L).
        log_std: Shape (..., B, L).

    Example:
        >>> import torch
        >>> q = DiagonalNormal(torch.zeros(1, 2), torch.zeros(1, 2))
        >>> z, log_q = q.rsample(torch.zeros(3, 1, 2))
        >>> log_q.shape, round(log_q[0].item(), 4)
        (torch.Size([3, 1]), -1.8379)
    """

    mean: Tensor
    log_std: Tensor

    def rsample(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Reparameterised draw and its log-density from standard-normal noise (K, B, L): ``z = mean + std · noise``."""
        z = self.mean + torch.exp(self.log_std) * noise
        return z, (-0.5 * noise.square() - self.log_std - HALF_LOG_2PI).sum(-1)

    def log_prob(self, z: Tensor) -> Tensor:
        """Log-density of a foreign z, summed over L."""
        white = (z - self.mean) * torch.exp(-self.log_std)
        return (-0.5 * white.square() - self.log_std - HALF_LOG_2PI).sum(-1)

    def kl_to(self, mean: Tensor | float = 0.0, log_std: Tensor | float = 0.0) -> Tensor:
        """Closed-form ``KL(self || N(mean, exp(log_std)²))`` per dimension, shape (..., B, L)."""
        gap = self.log_std - log_std
        far = (self.mean - mean) * torch.exp(-torch.as_tensor(log_std, device=self.mean.device))
        return 0.5 * (torch.exp(2.0 * gap) + far.square() - 1.0) - gap


class Diagonal(Posterior):
    """Amortised diagonal normal posterior (Kingma & Welling 2014, eq. 9 and appendix C.2).

    Args:
        width: Width H of the hidden vector.
        size: Latent width L.
    """

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.noise = Noise("normal", (size,))
        self.linear = nn.Linear(width, 2 * size)

    def forward(self, h: Tensor) -> DiagonalNormal:
        """The posterior given h (..., H)."""
        mean, raw = self.linear(h).chunk(2, dim=-1)
        return DiagonalNormal(mean, soft_bound(raw, -7.0, 3.0))


class Fixed(Posterior):
    """A normal posterior of one fixed standard deviation: an encoder that names a point, and a little noise.

    With a small ``std`` and no weight on the KL this is a plain autoencoder; its bounds stay bounds.

    Args:
        width: Width H of the hidden vector.
        size: Latent width L.
        std: The standard deviation.

    Raises:
        ConfigError: If it is not above 0.

    References:
        Ghosh et al., From variational to deterministic autoencoders, 2020, section 3.
    """

    log_std: Tensor

    def __init__(self, width: int, size: int, *, std: float = 0.01) -> None:
        super().__init__()
        if not std > 0:
            raise ConfigError(f"posterior 'fixed' needs std above 0, got {std}")
        self.noise = Noise("normal", (size,))
        self.linear = nn.Linear(width, size)
        self.register_buffer("log_std", torch.full((size,), float(std)).log(), persistent=False)

    def forward(self, h: Tensor) -> DiagonalNormal:
        """The posterior given h (..., H)."""
        mean = self.linear(h)
        return DiagonalNormal(mean, self.log_std.expand_as(mean))
