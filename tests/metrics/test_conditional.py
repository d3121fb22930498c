"""A field given the rest of its row: the estimate against the exact conditional of a linear-Gaussian model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from vaekit.arrays import Block, BlockSpec, Noise
from vaekit.metrics.conditional import conditional_nats, log_predictive, without
from vaekit.nn.latents import Group, Latent
from vaekit.nn.likelihoods import make
from vaekit.nn.posteriors import DiagonalNormal
from vaekit.nn.primitives import PRIMITIVES
from vaekit.nn.priors import StandardNormal
from vaekit.nn.vae import VAE

SIGMA, L, D, B = 0.75, 2, 5, 40
SPEC = BlockSpec(
    name="number.gaussian",
    kind="number",
    likelihood="gaussian",
    fields=tuple(f"x{i}" for i in range(D)),
    cell=(0.0,) * D,
    options={"scale": "fixed", "sigma": SIGMA},
)


class MissingAware(Latent):
    """A diagonal normal around the exact posterior mean given the observed cells, `stretch` times as wide."""

    def __init__(self, weight, bias, stretch):
        super().__init__()
        self.weight, self.bias, self.stretch = weight, bias, stretch
        self.prior = StandardNormal(L)
        self.noise, self.groups = {"z": Noise("normal", (L,))}, {"z": L}

    def forward(self, h, condition, noise):
        values, observed = h
        precision = torch.eye(L) + torch.einsum("bd,di,dj->bij", observed, self.weight, self.weight) / SIGMA**2
        covariance = torch.linalg.inv(precision)
        pull = (observed * (values - self.bias)) @ self.weight / SIGMA**2
        mean = torch.einsum("bij,bj->bi", covariance, pull)
        log_std = 0.5 * torch.log(torch.diagonal(covariance, dim1=1, dim2=2)) + np.log(self.stretch)
        q = DiagonalNormal(mean, log_std)
        z, log_q = q.rsample(noise["z"])
        return [Group("z", z, log_q, self.prior.log_prob(z), None)]


class Blockwise(torch.nn.Module):
    def forward(self, blocks):
        return torch.stack([blocks[SPEC.name].values, blocks[SPEC.name].observed.double()])


class Take(torch.nn.Module):
    def forward(self, z, condition):
        return z["z"]


@pytest.fixture(scope="module")
def world():
    rng = np.random.default_rng(0)
    weight = np.linalg.qr(rng.normal(size=(D, L)))[0] * np.array([2.0, 0.8])
    bias = rng.normal(size=D)
    x = rng.normal(size=(B, L)) @ weight.T + bias + SIGMA * rng.normal(size=(B, D))
    cov = weight @ weight.T + SIGMA**2 * np.eye(D)
    exact = np.empty((B, D))
    for f in range(D):
        rest = np.delete(np.arange(D), f)
        exact[:, f] = multivariate_normal(bias[rest], cov[np.ix_(rest, rest)]).logpdf(x[:, rest])
    exact -= multivariate_normal(bias, cov).logpdf(x)[:, None]
    return weight, bias, x, exact


def runner(world, stretch):
    weight, bias, *_ = (torch.tensor(part) for part in world)
    head = make(SPEC, L).double()
    with torch.no_grad():
        head.head.weight.copy_(weight)
        head.head.bias.copy_(bias)
    latent = MissingAware(weight, bias, stretch)
    vae = VAE([SPEC], encoder=Blockwise(), latent=latent, decoder=Take(), heads={SPEC.name: head}).double().eval()

    def run(name, inputs):
        with torch.inference_mode():
            found = PRIMITIVES[name](vae)({key: torch.from_numpy(value) for key, value in inputs.items()})
        return {key: value.numpy() for key, value in found.items()}

    return run


def estimate(world, samples, seed, stretch=1.5):
    x = world[2]
    blocks = {SPEC.name: Block(x, np.ones_like(x, dtype=bool), np.zeros_like(x), np.zeros_like(x))}
    noise = {"noise.z": np.random.default_rng(seed).normal(size=(samples, B, L))}
    found = conditional_nats(runner(world, stretch), [SPEC], blocks, noise)
    assert list(found) == list(SPEC.fields)
    return np.stack(list(found.values()), axis=1)  # shape: (B, D)


def test_many_samples_give_the_exact_conditional_of_every_row_and_field(world):
    np.testing.assert_allclose(estimate(world, 20_000, 0), world[3], atol=0.05)


def test_the_estimate_is_too_high_and_the_gap_shrinks_as_one_over_k(world):
    gaps = {}
    for samples, repeats in ((8, 60), (64, 30)):
        found = np.stack([estimate(world, samples, seed) for seed in range(repeats)])
        gaps[samples] = (found - world[3]).mean()
    assert gaps[8] > gaps[64] > -0.002
    assert 4.0 < gaps[8] / gaps[64] < 16.0
    assert gaps[64] < 0.02


def test_a_missing_cell_has_no_nats_and_rows_do_not_mix(world):
    x = world[2].copy()
    observed = np.ones_like(x, dtype=bool)
    observed[::2, 1] = False
    x[~observed] = 0.0
    blocks = {SPEC.name: Block(x, observed, np.zeros_like(x), np.zeros_like(x))}
    noise = {"noise.z": np.random.default_rng(0).normal(size=(4000, B, L))}
    found = conditional_nats(runner(world, 1.5), [SPEC], blocks, noise)
    assert (np.abs(found["x1"][::2]) < 1e-12).all()
    np.testing.assert_allclose(found["x0"][1::2], world[3][1::2, 0], atol=0.1)
    assert np.abs(found["x0"][::2] - world[3][::2, 0]).max() > 0.1  # these rows know one cell less


def test_predictive_density_is_the_weighted_mean():
    rng = np.random.default_rng(0)
    log_weight, log_p = rng.normal(size=(2, 50, 3)) * 30
    weight = np.exp(log_weight - log_weight.max(0))
    expected = (weight * np.exp(log_p - log_p.max())).sum(0) / weight.sum(0)
    np.testing.assert_allclose(log_predictive(log_weight, log_p), np.log(expected) + log_p.max(), rtol=1e-9)


def test_a_hidden_field_of_a_vector_block_is_cleared_and_the_block_is_left_alone():
    block = Block(np.ones((2, 1, 3)), np.ones((2, 1, 1), bool), constant=np.ones((1, 1, 3)))
    hidden = without(block, 0)
    assert not hidden.values.any()
    assert not hidden.observed.any()
    assert not hidden.constant.any()
    assert block.values.all()
    assert block.observed.all()
