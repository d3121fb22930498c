"""Posteriors: from a hidden vector to a distribution over one latent group."""

from __future__ import annotations

from collections.abc import Callable

from vaekit.nn.posteriors.base import Distribution, Posterior
from vaekit.nn.posteriors.diagonal import Diagonal, DiagonalNormal, Fixed
from vaekit.nn.posteriors.full import FullCovariance
from vaekit.nn.posteriors.iaf import InverseAutoregressive

__all__ = ["POSTERIORS", "Diagonal", "DiagonalNormal", "Distribution", "Posterior"]

POSTERIORS: dict[str, Callable[..., Posterior]] = {
    "diagonal": Diagonal,
    "fixed": Fixed,
    "full": FullCovariance,
    "iaf": InverseAutoregressive,
}
