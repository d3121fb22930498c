"""Total correlation of the aggregate posterior, estimated from the batch itself."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vaekit.errors import ConfigError
from vaekit.nn.special import HALF_LOG_2PI
from vaekit.nn.vae import VAE, Pass
from vaekit.objectives.base import Objective
from vaekit.objectives.parts import diagonal, draws

__all__ = ["TotalCorrelation", "log_aggregate", "total_correlation"]


class TotalCorrelation(Objective):
    """``weight · KL(q(z) || Π_i q(z_i))``, to be added to an ELBO: together a beta-TCVAE with beta = 1 + weight.

    Args:
        weight: The weight; a schedule may drive it.

    Raises:
        ConfigError: If the weight is negative.

    References:
        Chen et al., Isolating sources of disentanglement in variational autoencoders, 2018, eq. 4 and appendix C.
    """

    weights = ("tc",)

    def __init__(self, *, weight: float = 5.0) -> None:
        super().__init__()
        if weight < 0:
            raise ConfigError(f"the weight of the total correlation must not be negative, got {weight}")
        self.tc, self.rows = float(weight), 0

    @property
    def row_separable(self) -> bool:
        """Rows are compared with each other."""
        return False

    def prepare(self, vae: VAE, passed: Pass, rows: int, seed: int) -> None:
        """Keep the number of training rows."""
        diagonal(passed, "total_correlation")
        self.rows = rows

    def forward(self, passed: Pass) -> dict[str, Tensor]:
        """The term ``total_correlation``."""
        q, z = diagonal(passed, "total_correlation"), draws(passed, "total_correlation")
        return {"total_correlation": self.tc * total_correlation(z, q.mean, q.log_std, self.rows)}


def total_correlation(z: Tensor, mean: Tensor, log_std: Tensor, rows: int) -> Tensor:
    """Estimate of log q(z_b) - Σ_i log q(z_bi) for draws z_b ~ q(z | x_b) of a batch.

    The aggregate posterior over N rows is ``q(z) = 1/N q(z | x_b) + (N - 1)/N · mean_{j ≠ b} q(z | x_j)``: the row that
    z came from is certainly among them, so it has weight 1/N, and the other rows of the batch stand for the N - 1
    others. This estimate of q(z) is unbiased, and exact if the batch is all rows. (The published weights put the excess
    on one neighbour; this is their mean over the choice of the neighbour, with less variance.)

    Args:
        z: Draws (B, L).
        mean: Means (B, L).
        log_std: Log standard deviations (B, L).
        rows: Training rows N, at least B.

    Returns:
        Nats per row, shape (B,); zeros for a batch of one row.
    """
    batch = len(z)
    if batch < 2:
        return torch.zeros_like(z[:, 0])
    white = (z[:, None] - mean) * torch.exp(-log_std)
    each = -0.5 * white.square() - log_std - HALF_LOG_2PI  # shape: (B, B, L), draw by row
    return log_aggregate(each.sum(-1)[..., None], rows)[:, 0] - log_aggregate(each, rows).sum(-1)


def log_aggregate(each: Tensor, rows: int) -> Tensor:
    """Log-density under the aggregate posterior of N rows, from log-densities given each row of a batch.

    Args:
        each: log q(z_b | x_j), shape (B, B, L), draw by row.
        rows: Training rows N, at least B.

    Returns:
        Shape (B, L).
    """
    batch = len(each)
    weight = torch.full_like(each[..., :1], math.log((rows - 1) / (rows * (batch - 1))))  # shape: (B, B, 1)
    weight.diagonal().fill_(-math.log(rows))
    return torch.logsumexp(each + weight, 1)
