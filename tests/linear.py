"""The linear-Gaussian VAE: a model whose log p(x) is known, which every objective and estimator is held to, in float64.

x = W z + b + s·e with orthogonal columns of W, so the exact posterior is a diagonal normal. E_q of a quadratic is exact
with the 2L cubature points ±sqrt(L)·e_i in place of random noise, so equalities are tested as equalities.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import multivariate_normal
from torch import nn

from vaekit.arrays import Block, BlockSpec, Noise
from vaekit.nn import likelihoods
from vaekit.nn.latents import Group, Latent
from vaekit.nn.posteriors import DiagonalNormal
from vaekit.nn.priors import StandardNormal
from vaekit.nn.vae import VAE

SIGMA, L, D, B = 0.75, 2, 5, 6  # sigma is exact in binary
SPEC = BlockSpec(
    name="number.gaussian",
    kind="number",
    likelihood="gaussian",
    fields=tuple(f"x{i}" for i in range(D)),
    cell=(0.0,) * D,
    options={"scale": "fixed", "sigma": SIGMA},
)


class LinearLatent(Latent):
    """q(z | x) = N(A (x - b) + shift, exp(log_std)²), the exact posterior when shift and stretch are zero."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor, closed: bool = True) -> None:
        super().__init__()
        precision = 1.0 + weight.square().sum(0) / SIGMA**2  # diagonal, the columns are orthogonal
        self.gain = nn.Parameter(weight.T / SIGMA**2 / precision[:, None])
        self.register_buffer("bias", bias)
        self.shift = nn.Parameter(torch.zeros(L, dtype=torch.float64))
        self.log_std = nn.Parameter(-0.5 * torch.log(precision))
        self.prior = StandardNormal(L)
        self.noise, self.groups, self.closed = {"z": Noise("normal", (L,))}, {"z": L}, closed

    def forward(self, h, condition, noise):
        q = DiagonalNormal((h - self.bias) @ self.gain.T + self.shift, self.log_std.expand(len(h), L))
        z, log_q = q.rsample(noise["z"])
        return [Group("z", z, log_q, self.prior.log_prob(z), self.prior.kl(q) if self.closed else None, q)]

    def log_q(self, h, condition, z):
        q = DiagonalNormal((h - self.bias) @ self.gain.T + self.shift, self.log_std.expand(len(h), L))
        return q.log_prob(z["z"])


class Identity(nn.Module):
    def forward(self, *args):
        first = args[0]
        return first["z"] if "z" in first else first["number.gaussian"].values


class World(NamedTuple):
    """Weight (D, L), bias (D,), rows (B, D) and their exact log p(x)."""

    weight: torch.Tensor
    bias: torch.Tensor
    x: torch.Tensor
    exact: np.ndarray


def make_world() -> World:
    rng = np.random.default_rng(0)
    weight = np.linalg.qr(rng.normal(size=(D, L)))[0] * np.array([2.0, 0.8])
    bias = rng.normal(size=D)
    x = rng.normal(size=(B, L)) @ weight.T + bias + SIGMA * rng.normal(size=(B, D))
    exact = multivariate_normal(bias, weight @ weight.T + SIGMA**2 * np.eye(D)).logpdf(x)
    return World(torch.tensor(weight), torch.tensor(bias), torch.tensor(x), exact)


def make(world, closed: bool = True) -> VAE:
    weight, bias, *_ = world
    head = likelihoods.make(SPEC, L).double()
    linear = next(module for module in head.modules() if isinstance(module, nn.Linear))
    with torch.no_grad():
        linear.weight.copy_(weight)
        linear.bias.copy_(bias)
    vae = VAE(
        [SPEC],
        encoder=Identity(),
        latent=LinearLatent(weight, bias, closed),
        decoder=Identity(),
        heads={SPEC.name: head},
    )
    return vae.double().eval()


def block(x: torch.Tensor, observed: torch.Tensor | None = None) -> dict[str, Block]:
    seen = torch.ones_like(x, dtype=torch.bool) if observed is None else observed
    return {SPEC.name: Block(x, seen, torch.zeros_like(x), torch.zeros_like(x))}


def cubature(rows: int) -> dict[str, torch.Tensor]:
    points = math.sqrt(L) * torch.cat([torch.eye(L), -torch.eye(L)]).double()
    return {"z": points[:, None].expand(2 * L, rows, L)}


def loss(objective: nn.Module, passed) -> torch.Tensor:
    return torch.stack(list(objective(passed).values())).sum(0)
