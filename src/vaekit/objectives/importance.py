"""The importance-weighted bound as an objective, with the gradient estimators that its literature offers."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vaekit.errors import ConfigError
from vaekit.nn.vae import VAE, Pass
from vaekit.objectives.base import Objective

__all__ = ["ImportanceWeighted"]

GRADIENTS = ("plain", "stl", "dreg")


class ImportanceWeighted(Objective):
    """Negative importance-weighted bound per row: ``-log (1/K) Σ_k p(x | z_k) (p(z_k) / q(z_k | x))^beta``, in nats.

    With beta = 1 it is a bound on -log p(x) that falls with K. The ELBO charges for every misfit of q to the true
    posterior, so it prefers models whose posteriors are simple; here one good draw among K is enough. That matters most
    where many cells are missing.

    Three estimators of the gradient with respect to the posterior (the value is the same):

    - ``plain``: that of the value; its signal-to-noise ratio falls with K;
    - ``stl``: without the score of q, whose mean is zero for K = 1; its variance vanishes at the exact posterior. For
      K > 1 it is biased;
    - ``dreg``: path derivatives weighed by squared normalised weights; unbiased for every K.

    Args:
        samples: Importance samples K per row.
        beta: Exponent of the prior's part of the weight; a schedule may drive it.
        gradient: ``plain``, ``stl`` or ``dreg``.

    Raises:
        ConfigError: If beta is negative, the gradient unknown, or samples is below 2 (below 1 for ``stl``, which with
            one sample is an ELBO).

    References:
        Burda, Grosse & Salakhutdinov, Importance Weighted Autoencoders, 2016, eq. 8. Mattei & Frellsen, MIWAE, 2019,
        eq. 4 (missing cells). Roeder, Wu & Duvenaud, Sticking the landing, 2017, eq. 8. Tucker et al., Doubly
        reparameterized gradient estimators, 2019, eq. 8.
    """

    weights = ("beta",)

    def __init__(self, samples: int = 8, beta: float = 1.0, gradient: str = "plain") -> None:
        super().__init__()
        if gradient not in GRADIENTS:
            raise ConfigError(f"unknown gradient {gradient!r}; known: {', '.join(GRADIENTS)}")
        least = 1 if gradient == "stl" else 2
        if beta < 0 or samples < least:
            raise ConfigError(
                f"an importance-weighted bound needs beta >= 0 and samples >= {least}; got {beta}, {samples}"
            )
        self.beta, self.samples, self.gradient = float(beta), int(samples), gradient
        self.addable = gradient != "dreg"

    @property
    def importance(self) -> int:
        """The number of samples of the bound."""
        return self.samples

    def prepare(self, vae: VAE, passed: Pass, rows: int, seed: int) -> None:
        """Check that z is drawn, and that posteriors give what the gradient needs."""
        if passed.terms.weights is not None:
            raise ConfigError(
                "an importance-weighted bound works on draws of z, but this structure enumerates its codes"
            )
        if any(group.commitment is not None for group in passed.groups.values()):
            raise ConfigError("an importance-weighted bound works on draws of z; 'quantised' takes the nearest code")
        self._log_q(passed)

    def forward(self, passed: Pass) -> dict[str, Tensor]:
        """Terms ``reconstruction`` (mean of -log p(x | z)) and ``kl`` (the rest of the bound), each of shape (B,)."""
        reconstruction = passed.terms.reconstruction()
        ratio = torch.stack(list(passed.terms.log_pz.values())).sum(0) - self._log_q(passed)
        log_weight = reconstruction + self.beta * ratio
        bound = torch.logsumexp(log_weight, 0) - math.log(len(log_weight))
        if self.gradient == "dreg" and log_weight.requires_grad:
            share = torch.softmax(log_weight.detach(), 0)[..., None]  # shape: (K, B, 1)
            factor = 1.0 - self.beta + self.beta * share
            for group in passed.groups.values():
                group.z.register_hook(lambda gradient: gradient * factor)
        return {"reconstruction": -reconstruction.mean(0), "kl": reconstruction.mean(0) - bound}

    def _log_q(self, passed: Pass) -> Tensor:
        """Log q of all groups, for the other two estimators as a function of z alone."""
        if self.gradient == "plain":
            return torch.stack(list(passed.terms.log_qz.values())).sum(0)
        found = []
        for name, group in passed.groups.items():
            if group.q is None:
                raise ConfigError(
                    f"gradient {self.gradient!r} needs log q as a function of z alone; the posterior of group {name!r} "
                    f"depends on draws above it, or is no density over z"
                )
            found.append(group.q.detached().log_prob(group.z))
        return torch.stack(found).sum(0)
