"""The standard normal prior."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor

from vaekit.nn.posteriors import Distribution
from vaekit.nn.priors.base import Prior

__all__ = ["StandardNormal"]


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

    def sample(self, noise: Mapping[str, Tensor], condition: Tensor | None = None) -> Tensor:
        """The noise itself."""
        return noise[""]

    def kl(self, posterior: Distribution, condition: Tensor | None = None) -> Tensor | None:
        """The posterior's closed form, if it has one."""
        return posterior.kl_to()
