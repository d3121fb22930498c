"""Vector quantisation: a few codes per row from learned codebooks, and a prior over the codes."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from vaekit.arrays import Noise
from vaekit.errors import ConfigError
from vaekit.nn.autoregressive import Autoregressive
from vaekit.nn.latents.base import Group, Latent, refuse_parts
from vaekit.nn.parts import Around, Part

__all__ = ["Quantised"]

_DEAD = 0.05  # of the usage that a code would have if all were used alike


class Quantised(Latent):
    """M positions of `dim` values each; every position takes one of C codes from a codebook of its own.

    Training is that of a VQ-VAE: the nearest code, gradients passed straight through it, the codebook a running mean
    of what it stands for, and the squared distance as `Group.commitment`, which the objective ``commitment`` weighs.
    Codes that are hardly used start again at a row of the batch. Outside training the codes have probabilities,
    ``q(c | x) ∝ exp(-|h - e_c|² / 2 s²)`` with the running mean squared distance s² per value, so that scores are
    bounds and imputations differ; with its noise at the middle the nearest code is taken.

    A priori each code depends on those before it. That prior is learned after the codes, in a stage that trains
    ``latent.code_prior`` alone.

    Args:
        around: What it leans on.
        size: Latent width, M · dim.
        posterior: Left at its default; the structure has its own.
        prior: Left at its default; the structure has its own.
        codes: Number C of codes of each codebook.
        dim: Values per code.
        decay: Weight that the running means keep at each batch.

    Raises:
        ConfigError: If dim does not divide the latent width, there are fewer than two codes, decay is not between 0
            and 1, or a posterior or prior is given.

    References:
        van den Oord, Vinyals & Kavukcuoglu, Neural discrete representation learning, 2017, eq. 3 and appendix A.1.
        Dhariwal et al., Jukebox, 2020, section 3.1 (restarts). Takida et al., SQ-VAE, 2022 (codes with probabilities).
    """

    generative = ("code_prior.",)
    usage: Tensor
    total: Tensor
    squares: Tensor
    weight: Tensor
    eye: Tensor

    def __init__(
        self,
        around: Around,
        size: int,
        posterior: Part = "diagonal",
        prior: Part = "standard",
        *,
        codes: int = 32,
        dim: int = 2,
        decay: float = 0.99,
    ) -> None:
        super().__init__()
        refuse_parts("quantised", posterior, prior)
        if dim < 1 or size % dim or codes < 2 or not 0.0 < decay < 1.0:
            raise ConfigError(
                f"structure 'quantised' needs dim that divides the latent width, codes of at least 2 and decay between "
                f"0 and 1; got dim={dim} of {size}, codes={codes}, decay={decay}"
            )
        self.shape, self.dim, self.decay = (size // dim, codes), dim, float(decay)
        self.noise, self.groups = {"z": Noise("gumbel", self.shape)}, {"z": size}
        self.linear = nn.Linear(around.width, size)
        self.code_prior = Autoregressive(self.shape[0], codes, 64, around.condition, inputs=codes)
        self.register_buffer("usage", torch.zeros(self.shape))
        self.register_buffer("total", torch.zeros(*self.shape, dim))
        # numerator and denominator of the running mean, so that it is unbiased from the first batch on
        self.register_buffer("squares", torch.zeros(()))
        self.register_buffer("weight", torch.zeros(()))
        self.register_buffer("eye", torch.eye(codes), persistent=False)

    @property
    def codebook(self) -> Tensor:
        """All codes, shape (M, C, dim)."""
        return self.total / torch.clamp(self.usage, min=1e-12)[..., None]

    @property
    def spread(self) -> Tensor:
        """Running mean of the squared distance of a value from its code; 1 before the first batch."""
        mean = self.squares / torch.clamp(self.weight, min=1e-12)
        return torch.where(self.weight > 0.0, torch.clamp(mean, min=1e-6), 1.0)

    def forward(self, h: Tensor, condition: Tensor | None, noise: Mapping[str, Tensor]) -> list[Group]:
        """Infer the codes."""
        value = self.linear(h).unflatten(-1, (self.shape[0], self.dim))  # shape: (B, M, dim)
        far = self.distance(value)
        if self.training:
            hard = self.eye[far.argmin(-1)]
            near = self.look_up(hard)
            commitment = (value - near).square().sum((-2, -1))
            self.learn(value.detach(), hard)
            z = (value + (near - value).detach()).flatten(1)
            log_p = self.log_prior(hard, condition)
            many = (len(noise["z"]), *log_p.shape)
            zero = torch.zeros(many, dtype=log_p.dtype, device=log_p.device)
            return [Group("z", z.expand(len(zero), *z.shape), zero, log_p.expand(many), commitment=commitment)]
        log_q = torch.log_softmax(-0.5 * far / self.spread, -1)
        hard = self.eye[(log_q + noise["z"]).argmax(-1)]  # shape: (K, B, M, C)
        z, mass = self.look_up(hard).flatten(2), (hard * log_q).sum((-2, -1))
        return [Group("z", z, mass, self.log_prior(hard, condition))]

    def log_q(self, h: Tensor, condition: Tensor | None, z: Mapping[str, Tensor]) -> Tensor:
        """Log-mass of codes, which are told by their vectors."""
        inside = (self.shape[0], self.dim)
        log_q = torch.log_softmax(-0.5 * self.distance(self.linear(h).unflatten(-1, inside)) / self.spread, -1)
        hard = self.eye[self.distance(z["z"].unflatten(-1, inside)).argmin(-1)]
        return (hard * log_q).sum((-2, -1))

    def codes_of(self, condition: Tensor | None, rows: int, most: int) -> tuple[dict[str, Tensor], Tensor] | None:
        """All combinations of codes."""
        size, codes = self.shape
        if codes**size > most:
            return None
        places = torch.cartesian_prod(*[torch.arange(codes)] * size).reshape(-1, size)
        hard = self.eye[places.to(self.eye.device)][:, None].expand(-1, rows, -1, -1)  # shape: (E, B, M, C)
        return {"z": self.look_up(hard).flatten(2)}, self.log_prior(hard, condition)

    def distance(self, value: Tensor) -> Tensor:
        """Squared distances of values (..., M, dim) from all codes, shape (..., M, C)."""
        return (value[..., None, :] - self.codebook).square().sum(-1)

    def sample(self, condition: Tensor | None, noise: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Draw codes from the prior, one position after the other, and look them up."""
        hard = torch.zeros_like(noise["z"])
        for position in range(self.shape[0]):
            scores = self.code_prior(hard.flatten(-2), condition)[..., position, :] + noise["z"][..., position, :]
            drawn = self.eye[scores.argmax(-1)]
            hard = torch.cat([hard[..., :position, :], drawn[..., None, :], hard[..., position + 1 :, :]], -2)
        return {"z": self.look_up(hard).flatten(2)}

    def look_up(self, hard: Tensor) -> Tensor:
        """Codes (..., M, dim) of one-hot choices (..., M, C)."""
        return (hard[..., None, :] @ self.codebook)[..., 0, :]

    def log_prior(self, hard: Tensor, condition: Tensor | None) -> Tensor:
        """Log-mass of one-hot choices (..., M, C) under the prior over codes."""
        return (hard * torch.log_softmax(self.code_prior(hard.flatten(-2), condition), -1)).sum((-2, -1))

    @torch.no_grad()
    def learn(self, value: Tensor, hard: Tensor) -> None:
        """Move the running means towards a batch, and restart codes that are hardly used at rows of it."""
        keep, codes = self.decay, self.shape[1]
        sums = hard.permute(1, 2, 0) @ value.transpose(0, 1) / len(value)  # shape: (M, C, dim)
        distance = (value - self.look_up(hard)).square().mean()
        self.usage.copy_(keep * self.usage + (1 - keep) * hard.mean(0))
        self.total.copy_(keep * self.total + (1 - keep) * sums)
        dead = self.usage < _DEAD / codes
        rows = torch.randint(len(value), dead.shape, device=value.device)
        fresh = value.transpose(0, 1).gather(1, rows[..., None].expand(-1, -1, self.dim))  # shape: (M, C, dim)
        self.total.copy_(torch.where(dead[..., None], fresh / codes, self.total))
        self.usage.copy_(torch.where(dead, 1.0 / codes, self.usage))
        self.squares.copy_(keep * self.squares + (1 - keep) * distance)
        self.weight.copy_(keep * self.weight + (1 - keep))

    def figures(self) -> dict[str, float]:
        """Perplexity of the codes, averaged over positions (C if all are used alike), and the share that is dead."""
        share = self.usage / torch.clamp(self.usage.sum(-1, keepdim=True), min=1e-12)
        entropy = -(share * torch.log(torch.clamp(share, min=1e-12))).sum(-1)
        dead = (self.usage < _DEAD / self.shape[1]).to(share.dtype)
        return {"perplexity": math.exp(float(entropy.mean())), "dead_codes": float(dead.mean())}
