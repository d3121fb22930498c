"""Maximum mean discrepancy between the aggregate posterior and the prior."""

from __future__ import annotations

import torch
from torch import Tensor

from vaekit.errors import ConfigError
from vaekit.nn.vae import VAE, Pass
from vaekit.objectives.base import Objective
from vaekit.objectives.parts import draws, spread

__all__ = ["MMD", "discrepancy"]

_SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class MMD(Objective):
    """``weight · MMD²(q(z), p(z))`` between draws of a batch and as many draws from the prior.

    Added to an ELBO with beta = 1 - alpha it is an InfoVAE, with beta = 0 a Wasserstein autoencoder. Any prior that can
    be drawn from will do.

    Args:
        weight: The weight; a schedule may drive it.

    Raises:
        ConfigError: If the weight is negative.

    References:
        Zhao, Song & Ermon, InfoVAE, 2019, eq. 6. Tolstikhin et al., Wasserstein auto-encoders, 2018, algorithm 2 and
        section 4 (kernel and scales).
    """

    weights = ("mmd",)
    prior_draws = True

    def __init__(self, *, weight: float = 100.0) -> None:
        super().__init__()
        if weight < 0:
            raise ConfigError(f"the weight of mmd must not be negative, got {weight}")
        self.mmd = float(weight)

    @property
    def row_separable(self) -> bool:
        """Rows are compared with each other."""
        return False

    def prepare(self, vae: VAE, passed: Pass, rows: int, seed: int) -> None:
        """Check that there are draws."""
        draws(passed, "mmd")

    def forward(self, passed: Pass) -> dict[str, Tensor]:
        """The term ``mmd``, the same for all rows."""
        z = draws(passed, "mmd")
        prior = torch.cat([value[0] for value in (passed.prior or {}).values()], -1)
        return {"mmd": spread(self.mmd * discrepancy(z, prior), len(z))}


def discrepancy(x: Tensor, y: Tensor) -> Tensor:
    """Unbiased estimate of MMD² with a sum of inverse multiquadratic kernels ``C / (C + |x - y|²)``, C = 2 L · scale.

    Args:
        x: Draws (B, L).
        y: Draws of the other distribution, as many.

    Returns:
        A scalar, 0 on average if the distributions are the same; 0 for a single draw.

    References:
        Gretton et al., A kernel two-sample test, 2012, eq. 3.
    """
    count, size = x.shape
    if count < 2:
        return x.sum() * 0.0
    off = 1.0 - torch.eye(count, dtype=x.dtype, device=x.device)
    total = x.new_zeros(())
    for scale in _SCALES:
        c = 2.0 * size * scale
        xx, yy, xy = (c / (c + (a[:, None] - b).square().sum(-1)) for a, b in ((x, x), (y, y), (x, y)))
        total = total + ((xx + yy) * off).sum() / (count * (count - 1)) - 2.0 * xy.mean()
    return total
