"""Latent structures: they own the walk from a hidden vector to latent groups with their log-densities."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from vaekit.arrays import NoiseSpec
from vaekit.nn.posteriors import POSTERIORS
from vaekit.nn.priors import PRIORS

__all__ = ["LATENTS", "Flat", "Group", "Latent"]


@dataclass(frozen=True)
class Group:
    """One latent group of a forward pass: a draw and its log-densities belong together.

    Args:
        name: Name of the group.
        z: Draws, shape (K, B, L).
        log_q: Log-density of z under the posterior, shape (K, B).
        log_p: Log-density of z under the prior (given the groups above it), shape (K, B).
        kl: Closed-form KL per dimension, shape (B, L), or None where there is none.
    """

    name: str
    z: Tensor
    log_q: Tensor
    log_p: Tensor
    kl: Tensor | None = None


class Latent(nn.Module):
    """Base class of latent structures.

    Attributes:
        noise: The noise that one walk consumes, by name.
        groups: Width L of each group, by name, in the order of the walk.
    """

    noise: NoiseSpec
    groups: dict[str, int]

    def forward(self, h: Tensor, condition: Tensor | None, noise: Mapping[str, Tensor]) -> list[Group]:
        """Infer every group.

        Args:
            h: Hidden vector of the encoder, shape (B, H).
            condition: Hidden vector of the condition fields, shape (B, H), or None.
            noise: Draws of the declared noise, shapes (K, B, *shape).

        Returns:
            The groups in order.
        """
        raise NotImplementedError

    def sample(self, condition: Tensor | None, noise: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Draw every group from the prior: group name to z (K, B, L)."""
        raise NotImplementedError


class Flat(Latent):
    """One group ``z``: a posterior and a prior.

    Args:
        width: Width H of the hidden vector.
        size: Latent width L.
        posterior: Name of the posterior.
        prior: Name of the prior.
    """

    def __init__(self, width: int, size: int, posterior: str = "diagonal", prior: str = "standard") -> None:
        super().__init__()
        self.posterior = POSTERIORS[posterior](width, size)
        self.prior = PRIORS[prior](size)
        self.noise = {"z": self.posterior.noise}
        self.groups = {"z": size}

    def forward(self, h: Tensor, condition: Tensor | None, noise: Mapping[str, Tensor]) -> list[Group]:
        """Infer the one group."""
        q = self.posterior(h)
        z, log_q = q.rsample(noise["z"])
        return [Group("z", z, log_q, self.prior.log_prob(z, condition), self.prior.kl(q, condition))]

    def sample(self, condition: Tensor | None, noise: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Draw z from the prior."""
        return {"z": self.prior.sample(noise["z"], condition)}


LATENTS: dict[str, Callable[..., Latent]] = {"flat": Flat}
