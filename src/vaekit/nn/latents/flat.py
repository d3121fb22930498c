"""One latent group: a posterior and a prior."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from vaekit.arrays import NoiseSpec
from vaekit.nn.latents.base import Group, Latent, noise_of, own_noise
from vaekit.nn.parts import Around, Part, make
from vaekit.nn.posteriors import POSTERIORS
from vaekit.nn.priors import PRIORS

__all__ = ["Flat"]


class Flat(Latent):
    """One group ``z``: a posterior and a prior.

    Args:
        around: What it leans on: the width of the hidden vector, the condition, the trunk.
        size: Latent width L.
        posterior: The posterior.
        prior: The prior.
    """

    def __init__(self, around: Around, size: int, posterior: Part = "diagonal", prior: Part = "standard") -> None:
        super().__init__()
        self.posterior = make("posterior", posterior, POSTERIORS, around.width, size)
        self.prior = make("prior", prior, PRIORS, size, around, self.posterior)
        self.noise = {"z": self.posterior.noise}
        self.groups = {"z": size}

    @property
    def prior_noise(self) -> NoiseSpec:
        """The noise of the prior."""
        return noise_of("z", self.prior.noise)

    def forward(self, h: Tensor, condition: Tensor | None, noise: Mapping[str, Tensor]) -> list[Group]:
        """Infer the one group."""
        q = self.posterior(h)
        z, log_q = q.rsample(noise["z"])
        return [Group("z", z, log_q, self.prior.log_prob(z, condition), self.prior.kl(q, condition), q)]

    def log_q(self, h: Tensor, condition: Tensor | None, z: Mapping[str, Tensor]) -> Tensor:
        """That of the posterior."""
        found: Tensor = self.posterior(h).log_prob(z["z"])
        return found

    def sample(self, condition: Tensor | None, noise: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Draw z from the prior."""
        return {"z": self.prior.sample(own_noise("z", self.prior.noise, noise), condition)}
