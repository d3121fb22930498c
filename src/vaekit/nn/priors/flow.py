"""A coupling flow as a prior: any density, with exact draws and an exact log-density in one pass each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from vaekit.errors import ConfigError
from vaekit.nn.parts import Around
from vaekit.nn.posteriors import Posterior
from vaekit.nn.priors.base import Prior
from vaekit.nn.special import soft_bound

__all__ = ["Coupling", "CouplingFlow"]


class Coupling(nn.Module):
    """One affine coupling: the dimensions of one half move the others, ``b -> (b - shift(a)) exp(-log_scale(a))``.

    Args:
        keep: Indices of the half that stays.
        move: Indices of the half that moves.
        hidden: Width of its network.
        condition: Width of the condition, which joins the half that stays; 0 for none.
    """

    keep: Tensor
    move: Tensor
    back: Tensor

    def __init__(self, keep: Tensor, move: Tensor, hidden: int, condition: int = 0) -> None:
        super().__init__()
        self.register_buffer("keep", keep, persistent=False)
        self.register_buffer("move", move, persistent=False)
        self.register_buffer("back", torch.argsort(torch.cat([keep, move])), persistent=False)
        last = nn.Linear(hidden, 2 * len(move))
        nn.init.zeros_(last.weight)  # the flow starts as the identity
        nn.init.zeros_(last.bias)
        first = nn.Linear(len(keep) + condition, hidden)
        self.net = nn.Sequential(first, nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), last)

    def affine(self, a: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        """Shift and log-scale of the half that moves."""
        joined = a if condition is None else torch.cat([a, condition.expand(*a.shape[:-1], -1)], -1)
        shift, raw = self.net(joined).chunk(2, dim=-1)
        return shift, soft_bound(raw, -3.0, 3.0)

    def forward(self, z: Tensor, condition: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Towards the noise: the moved z, and the log-determinant (...,)."""
        a, b = z[..., self.keep], z[..., self.move]
        shift, log_scale = self.affine(a, condition)
        moved = (b - shift) * torch.exp(-log_scale)
        return torch.cat([a, moved], -1)[..., self.back], -log_scale.sum(-1)

    def inverse(self, e: Tensor, condition: Tensor | None = None) -> Tensor:
        """From the noise."""
        a, b = e[..., self.keep], e[..., self.move]
        shift, log_scale = self.affine(a, condition)
        return torch.cat([a, b * torch.exp(log_scale) + shift], -1)[..., self.back]


class CouplingFlow(Prior):
    """``z = f_1⁻¹(… f_n⁻¹(e)), e ~ N(0, I)``, with affine couplings; conditional if there are condition fields.

    It starts as the standard normal prior. Which dimensions move alternates between two halves, and the halves
    between neighbours and the two ends of z.

    Args:
        size: Latent width L.
        around: What it leans on: the width of the condition.
        posterior: Not used.
        layers: Number of couplings.
        hidden: Width of their networks.

    Raises:
        ConfigError: If z has one dimension only, or there is no layer.

    References:
        Dinh, Sohl-Dickstein & Bengio, Density estimation using Real NVP, 2017, eq. 7. Chen et al., Variational lossy
        autoencoder, 2017, section 3.2 (flows as priors).

    Example:
        >>> round(CouplingFlow(2).log_prob(torch.zeros(1, 1, 2)).item(), 4)
        -1.8379
    """

    def __init__(
        self,
        size: int,
        around: Around | None = None,
        posterior: Posterior | None = None,
        *,
        layers: int = 6,
        hidden: int = 64,
    ) -> None:
        super().__init__(size)
        if size < 2 or layers < 1 or hidden < 1:
            raise ConfigError(
                f"prior 'flow' needs a latent width of at least 2, and layers and hidden of at least 1; got {size}, "
                f"{layers} and {hidden}"
            )
        condition = around.condition if around else 0
        order, half = torch.arange(size), size // 2
        splits = [(order[::2], order[1::2]), (order[half:], order[:half])]
        splits = [*splits, *((move, keep) for keep, move in splits)]
        self.layers = nn.ModuleList([Coupling(*splits[i % 4], hidden, condition) for i in range(layers)])

    def log_prob(self, z: Tensor, condition: Tensor | None = None) -> Tensor:
        """Log-density of the noise behind z, and the log-determinants."""
        total = torch.zeros_like(z[..., 0])
        for layer in self.layers:
            z, log_det = layer(z, condition)
            total = total + log_det
        return (-0.5 * z.square() - 0.5 * math.log(2.0 * math.pi)).sum(-1) + total

    def sample(self, noise: Mapping[str, Tensor], condition: Tensor | None = None) -> Tensor:
        """The noise through all couplings, backwards."""
        z = noise[""]
        for layer in reversed(self.layers):
            z = cast(Coupling, layer).inverse(z, condition)
        return z
