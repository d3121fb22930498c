"""A hierarchy of latent groups, inferred from the top down."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from vaekit.arrays import NoiseSpec
from vaekit.errors import ConfigError
from vaekit.nn.latents.base import Group, Latent, noise_of, own_noise
from vaekit.nn.parts import Around, Part, make, named
from vaekit.nn.posteriors import Diagonal, DiagonalNormal
from vaekit.nn.priors import PRIORS
from vaekit.nn.special import soft_bound

__all__ = ["Ladder"]


class Ladder(Latent):
    """Groups ``z<n>`` (top) to ``z1``: ``p(z_n) Π p(z_i | z_>i)`` and ``q(z_n | x) Π q(z_i | x, z_>i)``.

    A lower posterior is told as its difference from the prior above it, ``N(m + Δm, (s Δs)²)`` for a prior
    ``N(m, s²)``, so a group that has nothing to add costs nothing. A condition enters the priors of all lower groups.

    Args:
        around: What it leans on.
        size: Width L of each group.
        posterior: ``diagonal``; there is no other.
        prior: The prior of the top group.
        layers: Number n of groups.

    Raises:
        ConfigError: If there are fewer than two layers, or the posterior is not diagonal.

    References:
        Sønderby et al., Ladder variational autoencoders, 2016. Vahdat & Kautz, NVAE, 2020, section 3.2 (residual
        normal).
    """

    generative = ("top_prior.", "down.", "priors.")

    def __init__(
        self, around: Around, size: int, posterior: Part = "diagonal", prior: Part = "standard", *, layers: int = 2
    ) -> None:
        super().__init__()
        if layers < 2:
            raise ConfigError(f"structure 'ladder' needs layers of at least 2, got {layers}; one layer is 'flat'")
        if named(posterior) != "diagonal":
            raise ConfigError(
                f"structure 'ladder' tells each posterior as a difference from the prior above it, which only "
                f"'diagonal' ones can; got {named(posterior)!r}"
            )
        width, lower = around.width, layers - 1
        self.names = [f"z{index}" for index in range(layers, 0, -1)]
        self.groups = dict.fromkeys(self.names, size)
        self.up = nn.ModuleList([nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width)) for _ in range(lower)])
        self.top = Diagonal(width, size)
        self.top_prior = make("prior", prior, PRIORS, size, around, None)
        self.down = nn.ModuleList([nn.Linear(size, width) for _ in range(lower)])
        self.priors = nn.ModuleList([Diagonal(width, size) for _ in range(lower)])
        self.changes = nn.ModuleList([nn.Linear(width, 2 * size) for _ in range(lower)])
        self.noise = dict.fromkeys(self.names, self.top.noise)

    @property
    def prior_noise(self) -> NoiseSpec:
        """The noise of the top prior, and normal noise below."""
        return noise_of(self.names[0], self.top_prior.noise) | {name: self.noise[name] for name in self.names[1:]}

    def forward(self, h: Tensor, condition: Tensor | None, noise: Mapping[str, Tensor]) -> list[Group]:
        """Infer all groups from the top down."""
        seen = self.climb(h)
        q = self.top(seen[-1])
        z, log_q = q.rsample(noise[self.names[0]])
        found = [
            Group(
                self.names[0],
                z,
                log_q,
                self.top_prior.log_prob(z, condition),
                self.top_prior.kl(q, condition),
                q,
            )
        ]
        state = condition
        for index, name in enumerate(self.names[1:]):
            state, p = self.below(index, z, state)
            q = self.moved(index, p, state, seen)
            z, log_q = q.rsample(noise[name])
            kl = q.kl_to(p.mean, p.log_std).mean(0)  # the prior depends on the draws above, shape: (K, B, L)
            found.append(Group(name, z, log_q, p.log_prob(z), kl))
        return found

    def log_q(self, h: Tensor, condition: Tensor | None, z: Mapping[str, Tensor]) -> Tensor:
        """The densities of all groups, each given those above it."""
        seen = self.climb(h)
        found: Tensor = self.top(seen[-1]).log_prob(z[self.names[0]])
        state = condition
        for index, (above, name) in enumerate(itertools.pairwise(self.names)):
            state, p = self.below(index, z[above], state)
            found = found + self.moved(index, p, state, seen).log_prob(z[name])
        return found

    def climb(self, h: Tensor) -> list[Tensor]:
        """What each layer has seen of the rows, from the bottom up."""
        seen = [h]
        for layer in self.up:
            seen.append(seen[-1] + torch.nn.functional.silu(layer(seen[-1])))
        return seen

    def moved(self, index: int, p: DiagonalNormal, state: Tensor, seen: list[Tensor]) -> DiagonalNormal:
        """The posterior of a lower group, told as its difference from the prior above it."""
        change, raw = self.changes[index](torch.tanh(state + seen[-2 - index])).chunk(2, dim=-1)
        return DiagonalNormal(p.mean + change, p.log_std + soft_bound(raw, -5.0, 2.0))

    def sample(self, condition: Tensor | None, noise: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Draw all groups from the top down."""
        top = self.names[0]
        found = {top: self.top_prior.sample(own_noise(top, self.top_prior.noise, noise), condition)}
        z, state = found[top], condition
        for index, name in enumerate(self.names[1:]):
            state, p = self.below(index, z, state)
            found[name] = z = p.rsample(noise[name])[0]
        return found

    def below(self, index: int, z: Tensor, state: Tensor | None) -> tuple[Tensor, DiagonalNormal]:
        """What the groups above say, (K, B, H), and the prior of the next one."""
        told = torch.nn.functional.silu(self.down[index](z))
        state = told if state is None else state + told
        return state, cast(Diagonal, self.priors[index])(state)
