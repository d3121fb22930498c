"""Priors over one latent group."""

from __future__ import annotations

import math
from collections.abc import Callable

from torch import Tensor, nn

from vaekit.arrays import Noise
from vaekit.nn.posteriors import DiagonalNormal

__all__ = ["PRIORS", "Prior", "StandardNormal"]


class Prior(nn.Module):
    """A distribution p(z) or p(z | condition) over one latent group of width L.

    Args:
        size: Latent width L.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.noise = Noise("normal", (size,))

    def log_prob(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """Log-density of z (K, B, L), summed over L: shape (K, B)."""
        raise NotImplementedError

    def sample(self, noise: Tensor, condition: Tensor | None = None) -> Tensor:
        """A draw of shape (K, B, L) from the noise that the prior declares."""
        raise NotImplementedError

    def kl(self, posterior: object, condition: Tensor | None = None) -> Tensor | None:
        """Closed-form KL(posterior || self) per dimension (B, L), or None where there is none."""
        return None


class StandardNormal(Prior):
    """``p(z) = N(0, I)``.

    Example:
        >>> import torch
        >>> round(StandardNormal(2).log_prob(torch.zeros(1, 1, 2)).item(), 4)
        -1.8379
    """

    def log_prob(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """Log-density, summed over L."""
        return (-0.5 * z.square() - 0.5 * math.log(2.0 * math.pi)).sum(-1)

    def sample(self, noise: Tensor, condition: Tensor | None = None) -> Tensor:
        """The noise itself."""
        return noise

    def kl(self, posterior: object, condition: Tensor | None = None) -> Tensor | None:
        """Closed form for a diagonal normal posterior, else None."""
        return posterior.kl_to() if isinstance(posterior, DiagonalNormal) else None


PRIORS: dict[str, Callable[[int], Prior]] = {"standard": StandardNormal}
