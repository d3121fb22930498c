"""Experts: each group of fields has a posterior of its own, and they are combined by product or mixture."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vaekit.arrays import Noise, NoiseSpec
from vaekit.errors import ConfigError
from vaekit.nn.latents.base import Group, Latent, noise_of, own_noise
from vaekit.nn.parts import Around, Part, make, named
from vaekit.nn.posteriors import Diagonal, DiagonalNormal, Distribution
from vaekit.nn.priors import PRIORS

__all__ = ["Experts", "MixtureDraws"]


@dataclass(frozen=True)
class MixtureDraws(Distribution):
    """A mixture of diagonal normals with given weights; a draw comes from the expert that `chosen` marks.

    Args:
        mean: Shape (B, G, L).
        log_std: Shape (B, G, L).
        log_weight: Shape (B, G).
        chosen: One-hot, shape (K, B, G).
    """

    mean: Tensor
    log_std: Tensor
    log_weight: Tensor
    chosen: Tensor

    def rsample(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """A draw from the chosen expert, and its log-density under the whole mixture."""
        mark = self.chosen[..., None]
        z = (mark * self.mean).sum(-2) + torch.exp((mark * self.log_std).sum(-2)) * noise
        return z, self.log_prob(z)

    def log_prob(self, z: Tensor) -> Tensor:
        """Log of the weighted sum of densities."""
        each = DiagonalNormal(self.mean, self.log_std).log_prob(z[..., None, :])
        return torch.logsumexp(each + self.log_weight, -1)


class Experts(Latent):
    """One group ``z`` whose posterior combines experts, each of which sees the fields of its group alone.

    - ``product``: ``q(z | x) ∝ N(0, I) Π_g N(m_g, s_g²)``, sharper the more groups were seen;
    - ``mixture``: ``q(z | x) = 1/G Σ_g N(m_g, s_g²)`` over the groups that were seen.

    An expert that saw no cell of its fields is left out; if no field was seen at all, what remains is N(0, I). So any
    set of fields can be given, and the others imputed.

    Args:
        around: What it leans on.
        size: Latent width L.
        posterior: ``diagonal``; there is no other.
        prior: The prior.
        rule: ``product`` or ``mixture``.
        groups: Name of each expert to the fields that it sees; by default one expert per block of fields.

    Raises:
        ConfigError: If the rule is unknown, or the posterior is not diagonal.

    References:
        Wu & Goodman, Multimodal generative models for scalable weakly-supervised learning, 2018, eq. 3. Shi et al.,
        Variational mixture-of-experts autoencoders for multi-modal deep generative models, 2019, eq. 4.
    """

    def __init__(
        self,
        around: Around,
        size: int,
        posterior: Part = "diagonal",
        prior: Part = "standard",
        *,
        rule: str = "product",
        groups: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        super().__init__()
        if rule not in ("product", "mixture"):
            raise ConfigError(f"structure 'experts' has rule product or mixture, got {rule!r}")
        if named(posterior) != "diagonal" or not around.experts:
            raise ConfigError(
                f"structure 'experts' combines 'diagonal' posteriors of an encoder with experts; got posterior "
                f"{named(posterior)!r} and {around.experts} experts"
            )
        self.rule = rule
        self.posterior = torch.nn.ModuleList([Diagonal(around.width, size) for _ in range(around.experts)])
        self.prior = make("prior", prior, PRIORS, size, around, None)
        self.noise = {"z": Noise("normal", (size,))}
        if rule == "mixture":
            self.noise["z.expert"] = Noise("gumbel", (around.experts + 1,))
        self.groups = {"z": size}

    @property
    def prior_noise(self) -> NoiseSpec:
        """The noise of the prior."""
        return noise_of("z", self.prior.noise)

    def forward(self, h: Tensor, condition: Tensor | None, noise: Mapping[str, Tensor]) -> list[Group]:
        """Infer the one group from (B, G, H + 1): a hidden vector per expert, and whether it saw anything."""
        q = self.combined(h, noise.get("z.expert"))
        z, log_q = q.rsample(noise["z"])
        return [Group("z", z, log_q, self.prior.log_prob(z, condition), self.prior.kl(q, condition), q)]

    def log_q(self, h: Tensor, condition: Tensor | None, z: Mapping[str, Tensor]) -> Tensor:
        """That of the combined posterior."""
        return self.combined(h, None).log_prob(z["z"])

    def combined(self, h: Tensor, choice: Tensor | None) -> Distribution:
        """The product or the mixture of what all experts say; a mixture draws from the expert that noise chooses."""
        seen = h[..., -1]  # shape: (B, G)
        found: list[Any] = [expert(h[:, index, :-1]) for index, expert in enumerate(self.posterior)]
        mean, log_std = (torch.stack([getattr(q, name) for q in found], 1) for name in ("mean", "log_std"))
        return (
            self.product(mean, log_std, seen) if self.rule == "product" else self.mixture(mean, log_std, seen, choice)
        )

    def product(self, mean: Tensor, log_std: Tensor, seen: Tensor) -> DiagonalNormal:
        """Precisions add up, that of N(0, I) included."""
        precision = torch.exp(-2.0 * log_std) * seen[..., None]
        total = 1.0 + precision.sum(1)
        return DiagonalNormal((precision * mean).sum(1) / total, -0.5 * torch.log(total))

    def mixture(self, mean: Tensor, log_std: Tensor, seen: Tensor, choice: Tensor | None) -> MixtureDraws:
        """Experts that saw something have equal weights; N(0, I) has all of it if none did."""
        count = seen.sum(1, keepdim=True)
        weight = torch.cat([seen / torch.clamp(count, min=1.0), (count == 0.0).to(seen.dtype)], 1)
        log_weight = torch.where(weight > 0.0, torch.log(torch.clamp(weight, min=1e-30)), -math.inf)
        blank = torch.zeros_like(mean[:, :1])
        scores = torch.clamp(log_weight, min=-1e9) + (0.0 if choice is None else choice)
        chosen = (scores == scores.amax(-1, keepdim=True)).to(mean.dtype)
        return MixtureDraws(torch.cat([mean, blank], 1), torch.cat([log_std, blank], 1), log_weight, chosen)

    def sample(self, condition: Tensor | None, noise: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Draw z from the prior."""
        return {"z": self.prior.sample(own_noise("z", self.prior.noise, noise), condition)}
