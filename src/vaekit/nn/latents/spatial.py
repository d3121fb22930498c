"""A hierarchy over an image: a vector on top, and maps below it that get finer, inferred from the top down."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaekit.arrays import Noise, NoiseSpec
from vaekit.errors import ConfigError
from vaekit.nn.images.maps import Merge
from vaekit.nn.latents.base import Group, Latent, noise_of, own_noise
from vaekit.nn.parts import Around, Part, make, named
from vaekit.nn.posteriors import Diagonal, DiagonalNormal
from vaekit.nn.priors import PRIORS
from vaekit.nn.special import soft_bound

__all__ = ["Spatial"]


class Spatial(Latent):
    """A vector ``z<n>``, maps ``z<n-1>`` to ``z1``: ``p(z_n) Π p(z_i | z_>i)`` and ``q(z_n | x) Π q(z_i | x, z_>i)``.

    The state that comes down is a map that doubles its size from group to group. A lower posterior is told as its
    difference from the prior above it, ``N(m + Δm, (s Δs)²)``, place by place, and leans on the encoder's map of the
    same size. Other fields than the image hang on the vector alone.

    Args:
        around: What it leans on: the encoder's vector and maps.
        size: Width L of the vector on top.
        posterior: ``diagonal``; there is no other.
        prior: The prior of the vector.
        layers: A vector, and so many sizes of maps less one.
        depth: Latent channels of each map.
        each: Groups at each size of maps, one after another; there are n = 1 + (layers - 1) · each in all.

    Raises:
        ConfigError: If there is no image to lay maps over, or the posterior is not diagonal.

    References:
        Vahdat & Kautz, NVAE, 2020, section 3 (residual normal). Child, Very deep VAEs, 2021, section 3 (top-down maps).
    """

    generative = ("top_prior.", "start.", "merges.", "priors.", "enter.")

    def __init__(
        self,
        around: Around,
        size: int,
        posterior: Part = "diagonal",
        prior: Part = "standard",
        *,
        layers: int = 2,
        depth: int = 4,
        each: int = 1,
    ) -> None:
        super().__init__()
        if named(posterior) != "diagonal" or min(depth, each) < 1 or len(around.maps) != layers - 1:
            raise ConfigError(
                f"structure 'spatial' needs posterior 'diagonal', depth and each of at least 1, and a map of an image "
                f"for each layer but the first; got {named(posterior)!r}, {depth}, {each} and {len(around.maps)} maps"
            )
        self.width, self.seen = around.width, list(around.maps)
        self.maps = [shape for shape in around.maps for _ in range(each)]
        self.each = each
        self.names = [f"z{index}" for index in range(len(self.maps) + 1, 0, -1)]
        self.top = Diagonal(around.width, size)
        self.top_prior = make("prior", prior, PRIORS, size, around, None)
        first = self.maps[0]
        self.start = nn.Linear(size + around.condition, first[0] * first[1] * first[2])
        above = [first, *self.maps[:-1]]
        self.merges = nn.ModuleList([Merge(one, here) for one, here in zip(above, self.maps, strict=True)])
        self.priors = nn.ModuleList([nn.Conv2d(shape[0], 2 * depth, 1) for shape in self.maps])
        self.changes = nn.ModuleList([nn.Conv2d(shape[0], 2 * depth, 3, padding=1) for shape in self.maps])
        self.enter = nn.ModuleList([nn.Conv2d(depth, shape[0], 1) for shape in self.maps[:-1]])
        for layer in (*self.priors, *self.changes):  # posteriors begin as priors, and these as N(0, 1)
            with torch.no_grad():
                cast(nn.Conv2d, layer).weight.mul_(0.1)
                nn.init.zeros_(cast(Tensor, layer.bias))
        sizes = [depth * shape[1] * shape[2] for shape in self.maps]
        self.groups = dict(zip(self.names, [size, *sizes], strict=True))
        self.noise = {name: Noise("normal", (width,)) for name, width in self.groups.items()}

    @property
    def prior_noise(self) -> NoiseSpec:
        """The noise of the prior on top, and normal noise below."""
        return noise_of(self.names[0], self.top_prior.noise) | {name: self.noise[name] for name in self.names[1:]}

    def forward(self, h: Tensor, condition: Tensor | None, noise: Mapping[str, Tensor]) -> list[Group]:
        """Infer all groups from the top down."""
        vector, maps = h[..., : self.width], h[..., self.width :]
        q = self.top(vector)
        z, log_q = q.rsample(noise[self.names[0]])
        prior = self.top_prior
        found = [Group(self.names[0], z, log_q, prior.log_prob(z, condition), prior.kl(q, condition), q)]
        parts = maps.split([c * height * width for c, height, width in self.seen], dim=-1)
        x = self.begin(z, condition)
        for index, name in enumerate(self.names[1:]):
            x, p = self.below(index, x, z)
            seen = parts[index // self.each].unflatten(-1, self.maps[index])
            both = x.unflatten(0, z.shape[:2]) + seen  # shape: (K, B, C, H, W)
            change, raw = self.changes[index](F.silu(both).flatten(0, 1)).chunk(2, dim=1)
            q = DiagonalNormal(p.mean + _flat(change, z), p.log_std + soft_bound(_flat(raw, z), -5.0, 2.0))
            one, log_q = q.rsample(noise[name])
            found.append(Group(name, one, log_q, p.log_prob(one), q.kl_to(p.mean, p.log_std).mean(0)))
            x = self.told(index, x, one)
        return found

    def sample(self, condition: Tensor | None, noise: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Draw all groups from the top down."""
        top = self.names[0]
        z = self.top_prior.sample(own_noise(top, self.top_prior.noise, noise), condition)
        found = {top: z}
        x = self.begin(z, condition)
        for index, name in enumerate(self.names[1:]):
            x, p = self.below(index, x, z)
            found[name] = p.rsample(noise[name])[0]
            x = self.told(index, x, found[name])
        return found

    def begin(self, z: Tensor, condition: Tensor | None) -> Tensor:
        """The first map (K · B, C, H, W) from the vector and the condition."""
        joined = z if condition is None else torch.cat([z, condition.expand(*z.shape[:-1], -1)], -1)
        return self.start(joined).flatten(0, 1).unflatten(-1, self.maps[0])

    def below(self, index: int, x: Tensor, z: Tensor) -> tuple[Tensor, DiagonalNormal]:
        """The map of the next group, and its prior, (K, B, L)."""
        x = self.merges[index](x)
        mean, raw = self.priors[index](F.silu(x)).chunk(2, dim=1)
        return x, DiagonalNormal(_flat(mean, z), soft_bound(_flat(raw, z), -5.0, 5.0))

    def told(self, index: int, x: Tensor, z: Tensor) -> Tensor:
        """The map with what a group says, for the groups below it."""
        if index == len(self.enter):
            return x
        return x + self.enter[index](z.flatten(0, 1).unflatten(-1, (-1, *self.maps[index][1:])))


def _flat(x: Tensor, like: Tensor) -> Tensor:
    """A map (K · B, C, H, W) as (K, B, C · H · W)."""
    return x.flatten(1).unflatten(0, like.shape[:2])
