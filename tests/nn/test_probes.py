"""Two models that the core was not written for fit it without touching it.

A two-layer ladder, and a flow prior over a masked series.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
import zuko
from torch import nn

from vaekit.arrays import Block, BlockSpec, Noise
from vaekit.nn import likelihoods
from vaekit.nn.latents import Group, Latent
from vaekit.nn.posteriors import Diagonal, DiagonalNormal
from vaekit.nn.priors import Prior, StandardNormal
from vaekit.nn.stems import Stems
from vaekit.nn.trunks import MLP
from vaekit.nn.vae import VAE
from vaekit.objectives import ELBO

WIDTH = 32


class Ladder(Latent):
    """Top-down inference with two groups: q(z2 | x) q(z1 | x, z2), p(z2) p(z1 | z2) (Sønderby et al. 2016)."""

    def __init__(self) -> None:
        super().__init__()
        self.noise = {"z2": Noise("normal", (2,)), "z1": Noise("normal", (4,))}
        self.groups = {"z2": 2, "z1": 4}
        self.top, self.top_prior = Diagonal(WIDTH, 2), StandardNormal(2)
        self.down, self.low, self.low_prior = nn.Linear(2, WIDTH), Diagonal(WIDTH, 4), Diagonal(WIDTH, 4)

    def forward(self, h, condition, noise):
        q2 = self.top(h)
        z2, log_q2 = q2.rsample(noise["z2"])
        below = torch.tanh(self.down(z2))
        q1, p1 = self.low(h + below), self.low_prior(below)
        z1, log_q1 = q1.rsample(noise["z1"])
        return [
            Group("z2", z2, log_q2, self.top_prior.log_prob(z2), self.top_prior.kl(q2)),
            Group("z1", z1, log_q1, p1.log_prob(z1), q1.kl_to(p1.mean, p1.log_std).mean(0)),
        ]

    def sample(self, condition, noise):
        z2 = noise["z2"]
        z1, _ = self.low_prior(torch.tanh(self.down(z2))).rsample(noise["z1"])
        return {"z2": z2, "z1": z1}


class FlowPrior(Prior):
    """A masked autoregressive flow as the prior: a density, and no closed-form KL."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.flow = zuko.flows.MAF(size, transforms=2, hidden_features=(16,))

    def log_prob(self, z, condition=None):
        return self.flow().log_prob(z)

    def sample(self, noise, condition=None):
        return self.flow().transform.inv(noise[""])


class OneGroup(Latent):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.posterior, self.prior = Diagonal(WIDTH, size), FlowPrior(size)
        self.noise, self.groups = {"z": self.posterior.noise}, {"z": size}

    def forward(self, h, condition, noise):
        q = self.posterior(h)
        z, log_q = q.rsample(noise["z"])
        return [Group("z", z, log_q, self.prior.log_prob(z, condition), self.prior.kl(q, condition))]

    def sample(self, condition, noise):
        return {"z": self.prior.sample({"": noise["z"]}, condition)}


class SeriesEncoder(nn.Module):
    """A recurrent encoder of (B, 1, T, C) with its mask, stopped at each row's length."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gru = nn.GRU(2 * channels, WIDTH, batch_first=True)

    def forward(self, blocks):
        block = blocks["series.x"]
        mask = block.observed[:, 0].expand_as(block.values[:, 0]).float()
        steps, _ = self.gru(torch.cat([block.values[:, 0] * mask, mask], -1))
        return steps[torch.arange(len(steps)), block.lengths - 1]


class Concat(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        self.linear, self.trunk = nn.Linear(size, WIDTH), MLP(WIDTH, 2)

    def forward(self, z, condition):
        return self.trunk(self.linear(torch.cat(list(z.values()), -1)))


def fit(vae: VAE, blocks: dict[str, Block], steps: int = 150) -> list[float]:
    rng = torch.Generator().manual_seed(0)
    objective, optimizer = ELBO(), torch.optim.Adam(vae.parameters(), lr=5e-3)
    rows, losses = len(next(iter(blocks.values()))), []
    for _ in range(steps):
        noise = {name: torch.randn(1, rows, *n.shape, generator=rng) for name, n in vae.latent.noise.items()}
        value = torch.stack(list(objective(vae(blocks, noise)).values())).sum(0).mean()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        losses.append(value.item())
    return losses


def ladder() -> tuple[VAE, dict[str, Block]]:
    from sklearn.datasets import load_breast_cancer

    x = load_breast_cancer().data[:400, :10]
    x = torch.tensor((x - x.mean(0)) / x.std(0), dtype=torch.float32)
    spec = BlockSpec(
        name="number.gaussian", kind="number", likelihood="gaussian", fields=tuple("abcdefghij"), cell=(0.0,) * 10
    )
    torch.manual_seed(0)
    encoder = nn.Sequential(Stems([spec], WIDTH), MLP(WIDTH, 2))
    vae = VAE(
        [spec], encoder=encoder, latent=Ladder(), decoder=Concat(6), heads={spec.name: likelihoods.make(spec, WIDTH)}
    )
    return vae, {spec.name: Block(x, torch.ones_like(x, dtype=torch.bool), torch.zeros_like(x), torch.zeros_like(x))}


def series() -> tuple[VAE, dict[str, Block]]:
    from statistics import fmean

    rng = np.random.default_rng(0)
    rows, steps = 256, 12
    phase = rng.uniform(0, 2 * np.pi, (rows, 1))
    x = np.stack([np.sin(phase + np.arange(steps) / 2), np.cos(phase + np.arange(steps) / 2)], -1)
    x += 0.05 * rng.normal(size=x.shape)
    assert abs(fmean(x.ravel())) < 0.1
    lengths = rng.integers(4, steps + 1, rows)
    observed = (np.arange(steps) < lengths[:, None])[..., None] & (rng.random(x.shape) > 0.1)
    values = torch.tensor(np.where(observed, x, 0.0), dtype=torch.float32)[:, None]
    spec = BlockSpec(name="series.x", kind="vector", likelihood="gaussian", fields=("x",), event=(steps, 2))
    block = Block(
        values, torch.tensor(observed)[:, None], constant=torch.zeros_like(values), lengths=torch.tensor(lengths)
    )
    torch.manual_seed(0)
    vae = VAE(
        [spec],
        encoder=SeriesEncoder(2),
        latent=OneGroup(3),
        decoder=Concat(3),
        heads={spec.name: likelihoods.make(spec, WIDTH)},
    )
    return vae, {spec.name: block}


@pytest.mark.parametrize("probe", [ladder, series])
def test_probe_models_train(probe):
    vae, blocks = probe()
    losses = fit(vae, blocks)
    assert np.mean(losses[-10:]) < np.mean(losses[:10]) - 3.0


@pytest.mark.parametrize("probe", [ladder, series])
def test_probe_models_sample_from_their_prior(probe):
    vae, blocks = probe()
    rows = 5
    noise = {name: torch.randn(2, rows, *n.shape) for name, n in vae.latent.noise.items()}
    z = vae.prior(noise, blocks)
    assert {name: tuple(v.shape) for name, v in z.items()} == {n: (2, rows, s) for n, s in vae.latent.groups.items()}
    params = vae.decode(z, blocks)
    assert all(torch.isfinite(value).all() for group in params.values() for value in group.values())


def test_what_is_masked_in_a_series_cannot_change_the_answer():
    vae, blocks = series()
    vae.eval()
    block = blocks["series.x"]
    noise = {"z": torch.randn(1, len(block), 3)}
    garbage = Block(
        torch.where(block.observed, block.values, 1e3), block.observed, constant=block.constant, lengths=block.lengths
    )
    one, other = vae(blocks, noise).terms, vae({"series.x": garbage}, noise).terms
    assert torch.equal(one.log_px["series.x"], other.log_px["series.x"])
    assert torch.equal(one.log_qz["z"], other.log_qz["z"])


def test_free_bits_work_without_a_closed_form():
    vae, blocks = series()
    noise = {"z": torch.randn(1, len(blocks["series.x"]), 3)}
    passed = vae(blocks, noise)
    assert passed.terms.kl["z"] is None
    plain, floored = ELBO()(passed)["kl"].mean(), ELBO(free_bits=50.0)(passed)["kl"].mean()
    assert floored.item() == pytest.approx(150.0, rel=1e-5)
    assert plain.item() < 150.0


def test_ladder_kl_is_closed_and_agrees_with_monte_carlo():
    vae, blocks = ladder()
    vae.eval()
    noise = {name: torch.randn(2000, 400, *n.shape) for name, n in vae.latent.noise.items()}
    small = {name: block.take(slice(0, 5)) for name, block in blocks.items()}
    terms = vae(small, {name: value[:, :5] for name, value in noise.items()}).terms
    for name in ("z2", "z1"):
        monte_carlo = (terms.log_qz[name] - terms.log_pz[name]).mean(0)
        np.testing.assert_allclose(monte_carlo.detach(), terms.kl[name].sum(-1).detach(), atol=0.15)
    assert isinstance(vae.latent.top(torch.zeros(1, WIDTH)), DiagonalNormal)
