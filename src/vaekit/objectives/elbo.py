"""The evidence lower bound, beta-weighted, with free bits."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from vaekit.errors import ConfigError
from vaekit.nn.vae import VAE, Pass
from vaekit.objectives.base import Objective

__all__ = ["ELBO", "kl_of"]


class ELBO(Objective):
    """Negative ELBO per row: ``-E_q[log p(x | z)] + beta · KL(q(z | x) || p(z))``, in nats.

    The KL is the closed form where the latent group has one, else the Monte-Carlo estimate ``log q - log p`` over the K
    samples. With ``free_bits`` λ > 0 a latent dimension (or, without a closed form, a whole group with λ · L) costs
    at least λ nats on average over the batch, so the optimiser gains nothing by emptying it.

    Args:
        beta: Weight of the KL; a schedule may drive it.
        free_bits: λ in nats per latent dimension.
        samples: Monte-Carlo samples K per row.
        groups: Factor of the KL of single latent groups, on top of beta; schedules may drive them as ``beta.<group>``.

    Raises:
        ConfigError: If beta, free_bits or a factor is negative, or samples is below 1.

    References:
        Kingma & Welling 2014, eq. 3. Higgins et al. 2017 (beta). Kingma et al. 2016, eq. 15 (free bits).
    """

    weights: tuple[str, ...] = ("beta", "free_bits")

    def __init__(
        self,
        beta: float = 1.0,
        free_bits: float = 0.0,
        samples: int = 1,
        groups: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        self.factors: dict[str, float | Tensor] = {
            f"beta.{name}": float(value) for name, value in (groups or {}).items()
        }
        if beta < 0 or free_bits < 0 or samples < 1 or min((groups or {}).values(), default=0.0) < 0:
            raise ConfigError(
                f"need beta >= 0, free_bits >= 0, samples >= 1, factors of groups >= 0; got {beta}, {free_bits}, "
                f"{samples}, {groups}"
            )
        self.beta, self.free_bits, self.samples = float(beta), float(free_bits), int(samples)
        self.weights = (*self.weights, *self.factors)
        self._judged = "bound" if beta > 0 else "reconstruction"

    @property
    def row_separable(self) -> bool:
        """Free bits compare batch means, so they tie rows together."""
        return self.free_bits == 0.0

    @property
    def criterion(self) -> str:
        """Without any weight on the KL the bound says nothing about what is trained."""
        return self._judged

    def prepare(self, vae: VAE, passed: Pass, rows: int, seed: int) -> None:
        """Check the names of groups."""
        if unknown := [name for name in self.factors if name.removeprefix("beta.") not in passed.groups]:
            raise ConfigError(f"no latent group for {', '.join(unknown)}; groups: {', '.join(passed.groups)}")

    def set_weight(self, name: str, value: float | Tensor) -> None:
        """Set beta, free bits, or the factor of a group."""
        if name in self.factors:
            self.factors[name] = value
        else:
            super().set_weight(name, value)

    def weight(self, name: str) -> float:
        """The present value of a weight."""
        return float(self.factors[name]) if name in self.factors else super().weight(name)

    def forward(self, passed: Pass) -> dict[str, Tensor]:
        """Terms ``reconstruction`` and ``kl`` (already weighted), each of shape (B,)."""
        kl = torch.stack([self.factors.get(f"beta.{name}", 1.0) * self._kl(passed, name) for name in passed.groups])
        return {"reconstruction": -passed.terms.expect(passed.terms.reconstruction()), "kl": self.beta * kl.sum(0)}

    def _kl(self, passed: Pass, name: str) -> Tensor:
        kl, floor = kl_of(passed, name), self.free_bits
        if passed.terms.kl[name] is None:
            floor *= passed.groups[name].z.shape[-1]
        if floor > 0.0:
            # where the batch mean is below the floor: value = floor, gradient of the batch mean = 0
            kl = kl - kl.mean(0).clamp(max=floor) + floor
        return kl.sum(-1)


def kl_of(passed: Pass, name: str) -> Tensor:
    """KL of a group per dimension (B, L) in closed form, or its Monte-Carlo estimate (B, 1)."""
    kl = passed.terms.kl[name]
    return passed.terms.expect(passed.terms.log_qz[name] - passed.terms.log_pz[name])[:, None] if kl is None else kl
