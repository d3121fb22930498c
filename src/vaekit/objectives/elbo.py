"""The evidence lower bound, beta-weighted, with free bits."""

from __future__ import annotations

import torch
from torch import Tensor

from vaekit.errors import ConfigError
from vaekit.nn.vae import Pass
from vaekit.objectives.base import Objective

__all__ = ["ELBO"]


class ELBO(Objective):
    """Negative ELBO per row: ``-E_q[log p(x | z)] + beta · KL(q(z | x) || p(z))``, in nats.

    The KL is the closed form where the latent group has one, else the Monte-Carlo estimate ``log q - log p`` over the K
    samples. With ``free_bits`` λ > 0 a latent dimension (or, without a closed form, a whole group with λ · L) costs
    at least λ nats on average over the batch, so the optimiser gains nothing by emptying it.

    Args:
        beta: Weight of the KL; a schedule may drive it.
        free_bits: λ in nats per latent dimension.
        samples: Monte-Carlo samples K per row.

    Raises:
        ConfigError: If beta or free_bits is negative, or samples is below 1.

    References:
        Kingma & Welling 2014, eq. 3. Higgins et al. 2017 (beta). Kingma et al. 2016, eq. 15 (free bits).
    """

    weights = ("beta", "free_bits")

    def __init__(self, beta: float = 1.0, free_bits: float = 0.0, samples: int = 1) -> None:
        super().__init__()
        if beta < 0 or free_bits < 0 or samples < 1:
            raise ConfigError(f"need beta >= 0, free_bits >= 0, samples >= 1; got {beta}, {free_bits}, {samples}")
        self.beta, self.free_bits, self.samples = float(beta), float(free_bits), int(samples)

    @property
    def row_separable(self) -> bool:
        """Free bits compare batch means, so they tie rows together."""
        return self.free_bits == 0.0

    def forward(self, passed: Pass) -> dict[str, Tensor]:
        """Terms ``reconstruction`` and ``kl`` (already weighted), each of shape (B,)."""
        kl = torch.stack([self._kl(passed, name) for name in passed.groups]).sum(0)
        return {"reconstruction": -passed.terms.expect(passed.terms.reconstruction()), "kl": self.beta * kl}

    def _kl(self, passed: Pass, name: str) -> Tensor:
        terms, kl, floor = passed.terms, passed.terms.kl[name], self.free_bits
        if kl is None:
            kl = terms.expect(terms.log_qz[name] - terms.log_pz[name])[:, None]
            floor *= passed.groups[name].z.shape[-1]
        if floor > 0.0:
            # where the batch mean is below the floor: value = floor, gradient of the batch mean = 0
            kl = kl - kl.mean(0).clamp(max=floor) + floor
        return kl.sum(-1)
