"""Latent structures: they own the walk from a hidden vector to latent groups with their log-densities."""

from __future__ import annotations

from collections.abc import Callable

from vaekit.nn.latents.base import Group, Latent
from vaekit.nn.latents.flat import Flat

__all__ = ["LATENTS", "Flat", "Group", "Latent"]

LATENTS: dict[str, Callable[..., Latent]] = {
    "flat": Flat,
}
