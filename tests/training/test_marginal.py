"""Annealed likelihood and the parts of the gap, against values that are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.linear import SIGMA, B, L, block, make, make_world
from vaekit.errors import ConfigError
from vaekit.nn.latents import Flat
from vaekit.nn.parts import Around
from vaekit.training.marginal import annealed_log_p, gap_parts


def linear(world, shift: float = 0.0):
    """The linear model with its exact posterior, or one that is off, as a flat structure."""
    vae = make(world)
    latent = Flat(Around(5), L).double()
    precision = 1.0 + world.weight.square().sum(0) / SIGMA**2
    gain = world.weight.T / SIGMA**2 / precision[:, None]

    class Exact(torch.nn.Module):
        noise = latent.posterior.noise

        def forward(self, h):
            from vaekit.nn.posteriors import DiagonalNormal

            mean = (h - world.bias) @ gain.T + shift
            return DiagonalNormal(mean, (-0.5 * torch.log(precision)).expand_as(mean))

    latent.posterior = Exact()
    vae.latent = latent
    return vae.eval(), precision


def test_annealing_reaches_the_known_likelihood_from_a_posterior_that_is_off():
    world = make_world()
    vae, precision = linear(world, shift=0.8)
    found = annealed_log_p(vae, block(world.x), 0, steps=60, chains=8)
    np.testing.assert_allclose(found, world.exact, atol=0.15)
    assert abs(float(found.mean()) - world.exact.mean()) < 0.05
    with torch.no_grad():
        elbo = vae(block(world.x), {"z": torch.randn(2000, B, L).double()}).terms.log_weight().mean(0)
    off = 0.5 * 0.8**2 * float(precision.sum())  # KL of the posterior from the exact one
    np.testing.assert_allclose(world.exact - elbo.numpy(), off, atol=0.2)


def test_the_gap_is_split_where_both_parts_are_known():
    world = make_world()
    vae, precision = linear(world, shift=0.5)
    found = gap_parts(vae, block(world.x), 0, steps=150, temperatures=40)
    off = 0.5 * 0.5**2 * float(precision.sum())
    assert found["amortisation_gap"] == pytest.approx(off, abs=0.15)
    assert found["approximation_gap"] == pytest.approx(0.0, abs=0.05)
    assert found["log_p"] == pytest.approx(world.exact.mean(), abs=0.05)


def test_codes_of_other_kinds_are_refused():
    from tests.nn.test_latents import blocks, model

    with pytest.raises(ConfigError, match="structure Sparse has another kind of code"):
        annealed_log_p(model("sparse"), blocks(), 0)
    vae = make(make_world())
    vae.latent = Flat(Around(5), L, "iaf").double()
    with pytest.raises(ConfigError, match="own draws only"):
        annealed_log_p(vae, block(make_world().x), 0, steps=2)
