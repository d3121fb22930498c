"""Sparse latents: most dimensions of a row are exactly zero."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from vaekit.arrays import Noise
from vaekit.errors import ConfigError
from vaekit.nn.latents.base import Group, Latent, refuse_parts
from vaekit.nn.parts import Around, Part
from vaekit.nn.posteriors import DiagonalNormal
from vaekit.nn.special import HALF_LOG_2PI, log_sigmoid, soft_bound

__all__ = ["Sparse"]


class Sparse(Latent):
    """Spike and slab: each dimension is N(0, 1) with probability α and exactly 0 otherwise, a priori.

    The posterior has a probability, a mean and a scale per row and dimension. A trained model draws hard spikes, and
    its densities are exact with respect to the sum of Lebesgue measure and a point mass at 0. In training the value
    uses hard spikes as well, and their gradient goes through a sigmoid at `temperature` (straight-through, biased).
    The KL is exact.

    Args:
        around: What it leans on.
        size: Latent width L.
        posterior: Left at its default; the structure has its own.
        prior: Left at its default; the structure has its own.
        active: α, the share of dimensions that a row uses a priori.
        temperature: Temperature of the sigmoid; a schedule may drive it as ``latent.temperature``.

    Raises:
        ConfigError: If active is not between 0 and 1, the temperature not above 0, or a posterior or prior is given.

    References:
        Tonolini, Jensen & Murray-Smith, Variational sparse coding, 2019, eq. 4 to 8.
    """

    knobs = ("temperature",)

    def __init__(
        self,
        around: Around,
        size: int,
        posterior: Part = "diagonal",
        prior: Part = "standard",
        *,
        active: float = 0.2,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        refuse_parts("sparse", posterior, prior)
        if not (0.0 < active < 1.0 and temperature > 0):
            raise ConfigError(
                f"structure 'sparse' needs active between 0 and 1 and temperature above 0, got {active} and "
                f"{temperature}"
            )
        self.active, self.temperature = float(active), float(temperature)
        self.noise = {"z": Noise("normal", (size,)), "z.spike": Noise("uniform", (size,))}
        self.groups = {"z": size}
        self.linear = nn.Linear(around.width, 3 * size)

    def forward(self, h: Tensor, condition: Tensor | None, noise: Mapping[str, Tensor]) -> list[Group]:
        """Infer spikes and slabs."""
        mean, raw, logit = self.linear(h).chunk(3, dim=-1)
        slab, u = DiagonalNormal(mean, soft_bound(raw, -7.0, 3.0)), noise["z.spike"]
        score = logit + torch.log(u) - torch.log(1.0 - u)
        hard = (score > 0.0).to(h.dtype)
        spike = hard
        if self.training:
            soft = torch.sigmoid(score / self.temperature)
            spike = hard + soft - soft.detach()
        value = mean + torch.exp(slab.log_std) * noise["z"]
        on, off = log_sigmoid(logit), log_sigmoid(-logit)
        prior_on, prior_off = math.log(self.active), math.log(1.0 - self.active)
        normal = -0.5 * math.log(2.0 * math.pi)
        log_q = hard * (on + normal - 0.5 * noise["z"].square() - slab.log_std) + (1.0 - hard) * off
        log_p = hard * (prior_on + normal - 0.5 * value.square()) + (1.0 - hard) * prior_off
        share = torch.sigmoid(logit)
        kl = share * (slab.kl_to() + on - prior_on) + (1.0 - share) * (off - prior_off)
        return [Group("z", spike * value, log_q.sum(-1), log_p.sum(-1), kl)]

    def log_q(self, h: Tensor, condition: Tensor | None, z: Mapping[str, Tensor]) -> Tensor:
        """A normal density where z is active, the mass of the spike where it is zero."""
        mean, raw, logit = self.linear(h).chunk(3, dim=-1)
        log_std = soft_bound(raw, -7.0, 3.0)
        slab = -0.5 * ((z["z"] - mean) * torch.exp(-log_std)).square() - log_std - HALF_LOG_2PI
        return torch.where(z["z"] == 0.0, log_sigmoid(-logit), log_sigmoid(logit) + slab).sum(-1)

    def sample(self, condition: Tensor | None, noise: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Draw spikes and slabs from the prior."""
        return {"z": torch.where(noise["z.spike"] > 1.0 - self.active, noise["z"], 0.0)}
