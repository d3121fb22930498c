"""Annealed likelihood and the parts of the gap, against values that are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from tests.linear import SIGMA, B, L, block, make, make_world
from tests.nn import test_latents as structures
from vaekit.arrays import Noise
from vaekit.nn.latents import Flat, Group, Latent
from vaekit.nn.parts import Around
from vaekit.nn.posteriors import DiagonalNormal
from vaekit.training.marginal import annealed_log_p, exact_log_p, gap_parts


def linear(world, shift: float = 0.0):
    """The linear model with its exact posterior, or one that is off, as a flat structure."""
    vae = make(world)
    latent = Flat(Around(5), L).double()
    precision = 1.0 + world.weight.square().sum(0) / SIGMA**2
    gain = world.weight.T / SIGMA**2 / precision[:, None]

    class Exact(torch.nn.Module):
        noise = latent.posterior.noise

        def forward(self, h):
            mean = (h - world.bias) @ gain.T + shift
            return DiagonalNormal(mean, (-0.5 * torch.log(precision)).expand_as(mean))

    latent.posterior = Exact()
    vae.latent = latent
    return vae.eval(), precision


def test_annealing_reaches_the_known_likelihood_from_a_posterior_that_is_off():
    world = make_world()
    vae, precision = linear(world, shift=0.8)
    found = annealed_log_p(vae, block(world.x), 0, steps=100, chains=64)
    np.testing.assert_allclose(found, world.exact, atol=0.15)
    assert abs(float(found.mean()) - world.exact.mean()) < 0.05
    with torch.no_grad():
        elbo = vae(block(world.x), {"z": torch.randn(2000, B, L).double()}).terms.log_weight().mean(0)
    off = 0.5 * 0.8**2 * float(precision.sum())  # KL of the posterior from the exact one
    np.testing.assert_allclose(world.exact - elbo.numpy(), off, atol=0.2)


def test_the_gap_is_split_where_both_parts_are_known():
    world = make_world()
    vae, precision = linear(world, shift=0.5)
    found = gap_parts(vae, block(world.x), 0, steps=150, temperatures=100)
    off = 0.5 * 0.5**2 * float(precision.sum())
    assert found["amortisation_gap"] == pytest.approx(off, abs=0.15)
    assert found["approximation_gap"] == pytest.approx(0.0, abs=0.06)
    assert found["log_p"] == pytest.approx(world.exact.mean(), abs=0.06)


def test_a_posterior_that_knows_its_own_draws_only_is_annealed_too():
    world = make_world()
    vae, _ = linear(world)
    vae.latent.posterior = Flow(vae.latent.posterior)
    np.testing.assert_allclose(annealed_log_p(vae.eval(), block(world.x), 0, steps=60, chains=8), world.exact, atol=0.2)


class Flow(torch.nn.Module):
    """A wrong posterior whose draws are bent, and that has no density of other z."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.noise = inner, inner.noise

    def forward(self, h):
        return Bent(self.inner(h))


class Bent:
    def __init__(self, q):
        self.q = q

    def rsample(self, noise):
        bent = noise + 0.3 * torch.tanh(noise)
        slope = 1.0 + 0.3 / torch.cosh(noise).square()
        z = self.q.mean + torch.exp(self.q.log_std) * bent
        log_q = -0.5 * noise.square() - 0.5 * np.log(2 * np.pi) - torch.log(slope) - self.q.log_std
        return z, log_q.sum(-1)

    def kl_to(self, *args):
        return None


class Hierarchy(Latent):
    """``z2 ~ N(0, 1)``, ``z1 ~ N(c z2, s²)``, x linear in z1: a linear ladder, with posteriors that are off."""

    def __init__(self, world, c=0.8, s=0.6):
        super().__init__()
        self.c, self.s = c, s
        self.noise, self.groups = {"z2": Noise("normal", (L,)), "z": Noise("normal", (L,))}, {"z2": L, "z": L}
        self.register_buffer("gain", world.weight.T / world.weight.square().sum(0)[:, None])
        self.register_buffer("bias", world.bias)

    def forward(self, h, condition, noise):
        one = torch.ones(len(h), L, dtype=torch.float64)
        guess = (h - self.bias) @ self.gain.T
        top = DiagonalNormal(0.4 * guess, -0.2 * one)
        z2, q2 = top.rsample(noise["z2"])
        low = DiagonalNormal(0.5 * (guess + self.c * z2), -0.7 * one)
        z1, q1 = low.rsample(noise["z"])
        below = DiagonalNormal(self.c * z2, float(np.log(self.s)) * one)
        prior = DiagonalNormal(0.0 * one, 0.0 * one)
        return [Group("z2", z2, q2, prior.log_prob(z2), None, top), Group("z", z1, q1, below.log_prob(z1), None, low)]


def test_a_hierarchy_is_annealed_to_its_known_likelihood():
    world = make_world()
    vae = make(world)
    vae.latent = Hierarchy(world).double()
    weight = world.weight.numpy()
    spread = (0.8**2 + 0.6**2) * weight @ weight.T + SIGMA**2 * np.eye(len(weight))
    exact = multivariate_normal(world.bias.numpy(), spread).logpdf(world.x.numpy())
    np.testing.assert_allclose(annealed_log_p(vae.eval(), block(world.x), 0, steps=60, chains=8), exact, atol=0.3)
    found = gap_parts(vae, block(world.x), 0, steps=60, temperatures=60)
    assert found["log_p"] == pytest.approx(exact.mean(), abs=0.1)
    assert found["gap"] == pytest.approx(found["amortisation_gap"] + found["approximation_gap"])
    assert found["amortisation_gap"] > 0.0
    assert found["approximation_gap"] > -0.05


def by_the_prior(vae, rows, draws):
    """Log of the mean of p(x | z) over very many z of the prior."""
    with torch.no_grad():
        z = vae.prior(structures.noise(vae, draws, prior=True), rows)
        density = vae.log_density(vae.decode(z, rows), rows)
    return torch.logsumexp(torch.stack([value.sum(-1) for value in density.values()]).sum(0), 0) - np.log(draws)


@pytest.mark.parametrize("case", ["categorical", "categorical, many codes", "quantised"])
def test_codes_are_summed_up_exactly(case):
    vae, rows = structures.model(case), structures.blocks()
    exact = exact_log_p(vae, rows)
    np.testing.assert_allclose(exact, by_the_prior(vae, rows, 40_000), atol=0.03)
    found = gap_parts(vae, rows, 0)
    assert found["log_p"] == pytest.approx(float(exact.mean()))
    assert found["log_p_by"] == "enumeration"
    assert found["gap"] > 0.0
    assert found["amortisation_gap"] is None
    if case != "quantised":  # whose posterior hardly ever draws most codes
        np.testing.assert_allclose(annealed_log_p(vae, rows, 0, steps=60, chains=32), exact, atol=0.25)


@pytest.mark.parametrize("case", ["sparse", "mixture of experts", "three layers", "spatial"])
def test_annealing_agrees_with_very_many_draws_of_the_prior(case):
    vae, rows = structures.model(case), structures.blocks()
    assert exact_log_p(vae, rows) is None
    found = annealed_log_p(vae, rows, 0, steps=40, chains=32)
    np.testing.assert_allclose(found, by_the_prior(vae, rows, 10_000 if case == "spatial" else 40_000), atol=0.3)


def test_too_many_codes_are_not_enumerated():
    assert structures.model("quantised").latent.codes_of(None, 3, most=10) is None
