"""Mixtures of normals as priors: free components, or components that the encoder itself gives to pseudo-inputs."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from vaekit.arrays import Noise
from vaekit.errors import ConfigError
from vaekit.nn.parts import Around
from vaekit.nn.posteriors import Diagonal, DiagonalNormal, Posterior
from vaekit.nn.priors.base import Prior

__all__ = ["MixtureOfNormals", "VampPrior"]


class MixtureOfNormals(Prior):
    """``p(z) = Σ_c w_c N(mean_c, exp(log_std_c)²)`` with learned weights, means and scales.

    A draw chooses its component by the largest of log w_c plus Gumbel noise.

    Args:
        size: Latent width L.
        around: Not used.
        posterior: Not used.
        components: Number C of components.

    Raises:
        ConfigError: If there are fewer than one component.

    References:
        Dilokthanakul et al., Deep unsupervised clustering with Gaussian mixture variational autoencoders, 2016.

    Example:
        >>> MixtureOfNormals(2, components=3).noise[".component"]
        Noise(kind='gumbel', shape=(3,))
    """

    def __init__(
        self,
        size: int,
        around: Around | None = None,
        posterior: Posterior | None = None,
        *,
        components: int = 16,
    ) -> None:
        super().__init__(size)
        if components < 1:
            raise ConfigError(f"a mixture prior needs components of at least 1, got {components}")
        self.noise[".component"] = Noise("gumbel", (components,))
        self.logits = nn.Parameter(torch.zeros(components))
        self.declare(components)

    def declare(self, components: int) -> None:
        """Make the parameters of the components."""
        self.means = nn.Parameter(torch.randn(components, self.size))
        self.log_stds = nn.Parameter(torch.zeros(components, self.size))

    def components(self) -> DiagonalNormal:
        """All components, leading shape (C,)."""
        return DiagonalNormal(self.means, self.log_stds)

    def log_prob(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """Log of the weighted sum of densities."""
        each = self.components().log_prob(z[..., None, :])  # shape: (K, B, C)
        return torch.logsumexp(each + torch.log_softmax(self.logits, 0), dim=-1)

    def sample(self, noise: Mapping[str, Tensor], condition: Tensor | None = None) -> Tensor:
        """A draw from the component that the Gumbel noise chooses."""
        found = self.components()
        chosen = (self.logits + noise[".component"]).argmax(-1)  # shape: (K, B)
        return DiagonalNormal(found.mean[chosen], found.log_std[chosen]).rsample(noise[""])[0]


class VampPrior(MixtureOfNormals):
    """``p(z) = Σ_c w_c q(z | u_c)``: a mixture of the posteriors of C learned pseudo-inputs.

    A pseudo-input u_c lives where every row lives after the stems, the first layer of the encoder, which has already
    brought all kinds of fields to one vector. So it works for any table, missing cells included, and no gradient has
    to go through categories or counts. The rest of the encoder and the posterior are shared with the rows. Parameters
    are pseudo-inputs over √H: one step of an optimiser moves them as far as one layer more before them would.

    Args:
        size: Latent width L.
        around: What it leans on: the trunk of the encoder and its width.
        posterior: The posterior of the same group.
        components: Number C of pseudo-inputs.

    Raises:
        ConfigError: If the posterior is not a diagonal normal, or the encoder has no trunk.

    References:
        Tomczak & Welling, VAE with a VampPrior, 2018, eq. 9 (here with learned weights).
    """

    def __init__(
        self,
        size: int,
        around: Around | None = None,
        posterior: Posterior | None = None,
        *,
        components: int = 64,
    ) -> None:
        if around is None or around.trunk is None:
            raise ConfigError("prior 'vamp' sends pseudo-inputs through the trunk of the encoder; this one has none")
        if not isinstance(posterior, Diagonal):
            raise ConfigError("prior 'vamp' is a mixture of posteriors, which have to be 'diagonal'")
        self.width = around.width
        super().__init__(size, components=components)
        # bound methods: the modules stay where they belong, registered once
        self.trunk, self.posterior = around.trunk, posterior.forward

    def declare(self, components: int) -> None:
        """Make the pseudo-inputs."""
        self.pseudo = nn.Parameter(torch.randn(components, self.width) / math.sqrt(self.width))

    def components(self) -> DiagonalNormal:
        """The posteriors of the pseudo-inputs."""
        return self.posterior(self.trunk(math.sqrt(self.width) * self.pseudo))
