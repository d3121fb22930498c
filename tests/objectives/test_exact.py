"""Every prior and every posterior on a linear decoder, where log p(x) is an integral over a plane."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from torch import nn

from tests.linear import SIGMA, SPEC, B, D, Identity, L, block, cubature, loss, make, make_world
from vaekit.arrays import Noise
from vaekit.metrics import log_mean_exp
from vaekit.nn.latents import Flat, Group, Latent
from vaekit.nn.parts import Around
from vaekit.nn.posteriors import POSTERIORS
from vaekit.nn.posteriors.full import FullNormal
from vaekit.nn.priors import PRIORS, StandardNormal
from vaekit.objectives import ELBO, ImportanceWeighted

WIDTH = 6


@pytest.fixture(scope="module")
def world():
    return make_world()


class Centred(nn.Module):
    """Hidden vectors that are the same for all rows, as if an encoder had learnt nothing."""

    def forward(self, blocks):
        return torch.zeros(len(blocks[SPEC.name]), WIDTH, dtype=torch.float64)


def family(world, posterior, prior):
    """The linear decoder with any posterior and prior, away from where they start."""
    vae = make(world)
    torch.manual_seed(1)
    vae.encoder, vae.condition = Centred(), Centred()
    vae.latent = Flat(Around(WIDTH, WIDTH, nn.Identity().forward), L, posterior, prior).double()
    with torch.no_grad():
        for parameter in vae.latent.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return vae


def integral(vae, x) -> np.ndarray:
    """log ∫ p(x | z) p(z) dz on a grid."""
    axis = torch.linspace(-8, 8, 321, dtype=torch.float64)
    z = torch.cartesian_prod(axis, axis)[:, None].expand(-1, len(x), -1)
    blocks = block(x)
    with torch.no_grad():
        log_px = vae.log_density(vae.decode({"z": z}, blocks), blocks)[SPEC.name].sum(-1)
        log_pz = vae.latent.prior.log_prob(z, vae.conditioning(blocks))
        return (torch.logsumexp(log_px + log_pz, 0) + 2 * torch.log(axis[1] - axis[0])).numpy()


PAIRS = [("diagonal", name) for name in PRIORS] + [(name, "standard") for name in POSTERIORS if name != "diagonal"]


@pytest.mark.parametrize(("posterior", "prior"), PAIRS)
def test_bounds_stay_below_the_integral_and_reach_it(world, posterior, prior):
    part = {"name": "fixed", "std": 1.0} if posterior == "fixed" else posterior
    vae, x = family(world, part, prior), world.x[:3]
    noise = torch.randn(20_000, 3, L, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        passed = vae(block(x), {"z": noise})
        exact, elbo = integral(vae, x), -loss(ELBO(), passed).numpy()
        few = vae(block(x).copy(), {"z": noise[:5]})
        estimate = log_mean_exp(passed.terms.log_weight().numpy())
    assert (elbo < exact - 0.05).all()
    np.testing.assert_allclose(estimate, exact, atol=0.1)
    np.testing.assert_allclose(
        -loss(ImportanceWeighted(5), few).numpy(), log_mean_exp(few.terms.log_weight().numpy()), rtol=1e-9
    )


def test_the_integral_is_the_known_value_for_the_standard_prior(world):
    np.testing.assert_allclose(integral(make(world), world.x), world.exact, rtol=1e-6)


class ExactFull(Latent):
    """The exact posterior of a decoder whose columns are not orthogonal."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        super().__init__()
        covariance = torch.linalg.inv(torch.eye(L) + weight.T @ weight / SIGMA**2)
        self.factor = nn.Parameter(torch.linalg.cholesky(covariance))
        self.gain, self.bias, self.prior = covariance @ weight.T / SIGMA**2, bias, StandardNormal(L)
        self.noise, self.groups = {"z": Noise("normal", (L,))}, {"z": L}

    def forward(self, h, condition, noise):
        log_std, low = torch.diagonal(self.factor).log().expand(len(h), L), torch.tril(self.factor, -1)
        q = FullNormal((h - self.bias) @ self.gain.T, log_std, low.expand(len(h), L, L))
        z, log_q = q.rsample(noise["z"])
        return [Group("z", z, log_q, self.prior.log_prob(z), self.prior.kl(q), q)]


def test_full_covariance_reaches_the_exact_value_where_a_diagonal_cannot(world):
    weight = world.weight @ torch.tensor([[1.0, 0.8], [0.0, 1.0]]).double()
    exact = multivariate_normal(world.bias, weight @ weight.T + SIGMA**2 * torch.eye(D)).logpdf(world.x)
    vae = make((weight, world.bias))
    vae.latent, vae.encoder = ExactFull(weight, world.bias), Identity()
    passed = vae(block(world.x), cubature(B))
    np.testing.assert_allclose(-loss(ELBO(), passed).detach(), exact, rtol=1e-9)
    with torch.no_grad():
        vae.latent.factor[1, 0] = 0.0
    worse = -loss(ELBO(), vae(block(world.x), cubature(B))).detach().numpy()
    assert (worse < exact - 1e-3).all()
