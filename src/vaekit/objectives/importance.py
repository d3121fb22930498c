"""The importance-weighted bound as an objective: tighter than the ELBO, and kinder to posteriors that do not fit."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vaekit.errors import ConfigError
from vaekit.nn.vae import Pass
from vaekit.objectives.base import Objective

__all__ = ["ImportanceWeighted"]


class ImportanceWeighted(Objective):
    """Negative importance-weighted bound per row: ``-log (1/K) Σ_k p(x | z_k) (p(z_k) / q(z_k | x))^beta``, in nats.

    With beta = 1 it is a bound on -log p(x) that falls with K. The ELBO charges for every misfit of q to the true
    posterior, so it prefers models whose posteriors are simple; here one good draw among K is enough. That matters most
    where many cells are missing.

    Args:
        samples: Importance samples K per row.
        beta: Exponent of the prior's part of the weight; a schedule may drive it.

    Raises:
        ConfigError: If beta is negative, or samples is below 2.

    References:
        Burda, Grosse & Salakhutdinov, Importance Weighted Autoencoders, 2016, eq. 8. Mattei & Frellsen, MIWAE, 2019,
        eq. 4 (missing cells).
    """

    weights = ("beta",)

    def __init__(self, samples: int = 8, beta: float = 1.0) -> None:
        super().__init__()
        if beta < 0 or samples < 2:
            raise ConfigError(f"an importance-weighted bound needs beta >= 0 and samples >= 2; got {beta}, {samples}")
        self.beta, self.samples = float(beta), int(samples)

    @property
    def importance(self) -> int:
        """The number of samples of the bound."""
        return self.samples

    def forward(self, passed: Pass) -> dict[str, Tensor]:
        """Terms ``reconstruction`` (mean of -log p(x | z)) and ``kl`` (the rest of the bound), each of shape (B,)."""
        reconstruction = passed.terms.reconstruction()
        log_weight = reconstruction + self.beta * (passed.terms.log_weight() - reconstruction)
        bound = torch.logsumexp(log_weight, 0) - math.log(len(log_weight))
        return {"reconstruction": -reconstruction.mean(0), "kl": reconstruction.mean(0) - bound}
