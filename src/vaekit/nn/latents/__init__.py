"""Latent structures: they own the walk from a hidden vector to latent groups with their log-densities."""

from __future__ import annotations

from collections.abc import Callable

from vaekit.nn.latents.base import Group, Latent
from vaekit.nn.latents.categorical import Categorical
from vaekit.nn.latents.experts import Experts
from vaekit.nn.latents.flat import Flat
from vaekit.nn.latents.ladder import Ladder
from vaekit.nn.latents.quantised import Quantised
from vaekit.nn.latents.sparse import Sparse
from vaekit.nn.latents.spatial import Spatial

__all__ = ["LATENTS", "Flat", "Group", "Latent"]

LATENTS: dict[str, Callable[..., Latent]] = {
    "flat": Flat,
    "ladder": Ladder,
    "spatial": Spatial,
    "categorical": Categorical,
    "quantised": Quantised,
    "sparse": Sparse,
    "experts": Experts,
}
