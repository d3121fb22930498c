"""Priors over one latent group."""

from __future__ import annotations

from collections.abc import Callable

from vaekit.nn.priors.base import Prior
from vaekit.nn.priors.conditional import ConditionalNormal
from vaekit.nn.priors.flow import CouplingFlow
from vaekit.nn.priors.mixture import MixtureOfNormals, VampPrior
from vaekit.nn.priors.standard import StandardNormal

__all__ = ["PRIORS", "Prior", "StandardNormal"]

PRIORS: dict[str, Callable[..., Prior]] = {
    "standard": StandardNormal,
    "mixture": MixtureOfNormals,
    "vamp": VampPrior,
    "flow": CouplingFlow,
    "conditional": ConditionalNormal,
}
