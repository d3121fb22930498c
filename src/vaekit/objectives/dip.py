"""Covariances of the aggregate posterior drawn towards the identity."""

from __future__ import annotations

import torch
from torch import Tensor

from vaekit.errors import ConfigError
from vaekit.nn.vae import VAE, Pass
from vaekit.objectives.base import Objective
from vaekit.objectives.parts import diagonal, spread

__all__ = ["DIP"]


class DIP(Objective):
    """``off · Σ_{i≠j} C_ij² + diag · Σ_i (C_ii - 1)²``, to be added to an ELBO: DIP-VAE.

    C is the covariance over rows of the posterior means (kind 1), or of z itself, to which the mean posterior variance
    adds (kind 2).

    Args:
        kind: 1 or 2.
        off: Weight of the covariances; a schedule may drive it.
        diag: Weight of the variances; a schedule may drive it.

    Raises:
        ConfigError: If the kind is unknown or a weight negative.

    References:
        Kumar, Sattigeri & Balakrishnan, Variational inference of disentangled latent concepts, 2018, eq. 6 and 7.
    """

    weights = ("off", "diag")

    def __init__(self, *, kind: int = 1, off: float = 10.0, diag: float = 10.0) -> None:
        super().__init__()
        if kind not in (1, 2) or off < 0 or diag < 0:
            raise ConfigError(f"dip needs kind 1 or 2 and weights of at least 0; got {kind}, {off}, {diag}")
        self.kind, self.off, self.diag = kind, float(off), float(diag)

    @property
    def row_separable(self) -> bool:
        """Covariances are over rows."""
        return False

    def prepare(self, vae: VAE, passed: Pass, rows: int, seed: int) -> None:
        """Check the posteriors."""
        diagonal(passed, "dip")

    def forward(self, passed: Pass) -> dict[str, Tensor]:
        """The term ``dip``, the same for all rows."""
        q = diagonal(passed, "dip")
        centred = q.mean - q.mean.mean(0)
        covariance = centred.T @ centred / len(centred)
        if self.kind == 2:
            covariance = covariance + torch.diag(torch.exp(2.0 * q.log_std).mean(0))
        variances = torch.diagonal(covariance)
        off = covariance.square().sum() - variances.square().sum()
        return {"dip": spread(self.off * off + self.diag * (variances - 1.0).square().sum(), len(centred))}
