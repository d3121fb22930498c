"""An inverse autoregressive flow as the posterior."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from vaekit.arrays import Noise
from vaekit.errors import ConfigError
from vaekit.nn.autoregressive import Autoregressive
from vaekit.nn.posteriors.base import Distribution, Posterior
from vaekit.nn.posteriors.diagonal import Diagonal, DiagonalNormal
from vaekit.nn.special import log_sigmoid

__all__ = ["FlowDraws", "InverseAutoregressive"]


@dataclass(frozen=True)
class FlowDraws(Distribution):
    """A diagonal normal and the steps that its draws go through.

    Args:
        base: The distribution of the first draw.
        steps: From a draw to the last one and the log-determinant of the way.
    """

    base: DiagonalNormal
    steps: Callable[[Tensor], tuple[Tensor, Tensor]]

    def rsample(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """A draw, moved step by step, and its log-density."""
        z, log_q = self.base.rsample(noise)
        moved, log_det = self.steps(z)
        return moved, log_q - log_det


class InverseAutoregressive(Posterior):
    """``z_t = gate_t ⊙ z_{t-1} + (1 - gate_t) ⊙ shift_t`` where gate and shift of dimension i see dimensions before i.

    The order of dimensions turns round after each step. Its own draws are exact and parallel; the density of a foreign
    z would take one pass per dimension and step, and is refused.

    Args:
        width: Width H of the hidden vector.
        size: Latent width L.
        steps: Number of steps.
        hidden: Width of their networks.

    Raises:
        ConfigError: If z has one dimension only, or there is no step.

    References:
        Kingma et al., Improved variational inference with inverse autoregressive flow, 2016, algorithm 1.
    """

    def __init__(self, width: int, size: int, *, steps: int = 2, hidden: int = 64) -> None:
        super().__init__()
        if size < 2 or steps < 1 or hidden < 1:
            raise ConfigError(
                f"posterior 'iaf' needs a latent width of at least 2, and steps and hidden of at least 1; got {size}, "
                f"{steps} and {hidden}"
            )
        self.noise = Noise("normal", (size,))
        self.base = Diagonal(width, size)
        self.steps = nn.ModuleList([Autoregressive(size, 2, hidden, width) for _ in range(steps)])

    def forward(self, h: Tensor) -> FlowDraws:
        """The posterior given h (..., H)."""
        return FlowDraws(self.base(h), lambda z: self.walk(z, h))

    def walk(self, z: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """All steps: the last z and the log-determinant of the way."""
        total = torch.zeros_like(z[..., 0])
        for step in self.steps:
            shift, raw = cast(Autoregressive, step)(z, h).unbind(-1)
            log_gate = log_sigmoid(raw + 2.0)  # close to one at first, as the paper advises
            z = torch.exp(log_gate) * z + (1.0 - torch.exp(log_gate)) * shift
            total, z = total + log_gate.sum(-1), z.flip(-1)
        return z, total
