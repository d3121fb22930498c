"""A normal posterior with full covariance."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from vaekit.arrays import Noise
from vaekit.nn.posteriors.base import Distribution, Posterior
from vaekit.nn.special import HALF_LOG_2PI, soft_bound

__all__ = ["FullCovariance", "FullNormal"]


@dataclass(frozen=True)
class FullNormal(Distribution):
    """``N(mean, T Tᵀ)`` with a lower triangular T, ``T = low + diag(exp(log_std))``.

    Args:
        mean: Shape (..., B, L).
        log_std: Log of the diagonal of T, shape (..., B, L).
        low: T below its diagonal, shape (..., B, L, L).
    """

    mean: Tensor
    log_std: Tensor
    low: Tensor

    def rsample(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """``z = mean + T noise``."""
        z = self.mean + torch.exp(self.log_std) * noise + (self.low @ noise[..., None])[..., 0]
        return z, (-0.5 * noise.square() - self.log_std - HALF_LOG_2PI).sum(-1)

    def log_prob(self, z: Tensor) -> Tensor:
        """By forward substitution, one dimension after the other, which every runtime can do."""
        gap, scale = z - self.mean, torch.exp(-self.log_std)
        white: list[Tensor] = []
        for i in range(gap.shape[-1]):
            past = [self.low[..., i, j] * white[j] for j in range(i)]
            white.append((gap[..., i] - sum(past)) * scale[..., i])
        return (-0.5 * torch.stack(white, -1).square() - self.log_std - HALF_LOG_2PI).sum(-1)

    def kl_to(self, mean: Tensor | float = 0.0, log_std: Tensor | float = 0.0) -> Tensor:
        """Terms of the chain rule: dimension i given those before it, averaged over them."""
        scale = torch.exp(-torch.as_tensor(log_std, device=self.mean.device))
        spread = torch.exp(2.0 * self.log_std) + self.low.square().sum(-1) + (self.mean - mean).square()
        return 0.5 * (spread * scale.square() - 1.0) - (self.log_std - log_std)


class FullCovariance(Posterior):
    """Amortised normal posterior with full covariance through its Cholesky factor.

    Args:
        width: Width H of the hidden vector.
        size: Latent width L.

    References:
        Kingma & Welling, An introduction to variational autoencoders, 2019, section 2.5.1.
    """

    mask: Tensor

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.noise = Noise("normal", (size,))
        self.linear = nn.Linear(width, 2 * size)
        self.off = nn.Linear(width, size * size)
        nn.init.zeros_(self.off.weight)  # it starts as the diagonal posterior
        nn.init.zeros_(self.off.bias)
        self.register_buffer("mask", torch.tril(torch.ones(size, size), -1), persistent=False)

    def forward(self, h: Tensor) -> FullNormal:
        """The posterior given h (..., H)."""
        mean, raw = self.linear(h).chunk(2, dim=-1)
        size = mean.shape[-1]
        return FullNormal(mean, soft_bound(raw, -7.0, 3.0), self.off(h).unflatten(-1, (size, size)) * self.mask)
