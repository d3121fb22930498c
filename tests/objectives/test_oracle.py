"""A linear-Gaussian VAE has an exact log p(x); every objective and estimator is held to it, in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from tests.linear import SIGMA, SPEC, B, D, L, block, cubature, loss, make, make_world
from vaekit.errors import ConfigError
from vaekit.metrics import log_mean_exp
from vaekit.nn.posteriors import Diagonal, DiagonalNormal
from vaekit.nn.priors import StandardNormal
from vaekit.objectives import ELBO, ImportanceWeighted


@pytest.fixture
def world():
    return make_world()


@pytest.mark.parametrize("closed", [True, False])
def test_elbo_equals_the_exact_log_likelihood_at_the_exact_posterior_row_by_row(world, closed):
    vae = make(world, closed)
    found = -loss(ELBO(), vae(block(world[2]), cubature(B)))
    np.testing.assert_allclose(found.detach().numpy(), world[3], rtol=1e-10)


def test_elbo_is_below_the_exact_value_by_the_kl_to_the_exact_posterior(world):
    vae = make(world)
    exact = vae.latent.log_std.detach().clone()
    with torch.no_grad():
        vae.latent.shift += torch.tensor([0.5, -0.3])
        vae.latent.log_std += torch.tensor([0.4, -0.6])
    gap = DiagonalNormal(vae.latent.shift, vae.latent.log_std).kl_to(0.0, exact).sum()
    found = -loss(ELBO(), vae(block(world[2]), cubature(B)))
    np.testing.assert_allclose(world[3] - found.detach().numpy(), np.full(B, gap.item()), rtol=1e-9)


def test_importance_weighted_bound_rises_with_samples_and_converges(world):
    vae = make(world)
    with torch.no_grad():
        vae.latent.shift += 0.5
        vae.latent.log_std += 0.5
    rng = torch.Generator().manual_seed(0)
    means = []
    for samples, repeats in ((1, 4000), (4, 1000), (16, 250), (256, 40)):
        noise = {"z": torch.randn(samples, repeats * B, L, generator=rng, dtype=torch.float64)}
        passed = vae(block(world[2].repeat(repeats, 1)), noise)
        means.append(log_mean_exp(passed.terms.log_weight().detach().numpy()).mean())
    assert means == sorted(means)
    assert means[-1] == pytest.approx(world[3].mean(), abs=0.01)
    assert means[0] < world[3].mean() - 0.1


def test_importance_weighted_objective_is_the_bound_and_exact_at_the_exact_posterior(world):
    vae = make(world)
    noise = {"z": torch.randn(5, B, L, generator=torch.Generator().manual_seed(1), dtype=torch.float64)}
    found = -loss(ImportanceWeighted(5), vae(block(world[2]), noise))
    np.testing.assert_allclose(found.detach().numpy(), world[3], rtol=1e-10)
    with torch.no_grad():
        vae.latent.shift += torch.tensor([0.5, -0.3])
        vae.latent.log_std += torch.tensor([0.4, -0.6])
    passed = vae(block(world[2]), noise)
    found = loss(ImportanceWeighted(5), passed).detach().numpy()
    np.testing.assert_allclose(-found, log_mean_exp(passed.terms.log_weight().detach().numpy()), rtol=1e-10)
    beta = 0.3
    tempered = passed.terms.reconstruction() + beta * (passed.terms.log_pz["z"] - passed.terms.log_qz["z"])
    found = loss(ImportanceWeighted(5, beta), passed).detach().numpy()
    np.testing.assert_allclose(-found, log_mean_exp(tempered.detach().numpy()), rtol=1e-10)


def test_importance_weighted_gradients_are_those_of_the_bound(world):
    vae = make(world)
    with torch.no_grad():
        vae.latent.shift += torch.tensor([0.5, -0.3])
    noise = {"z": torch.randn(4, B, L, generator=torch.Generator().manual_seed(2), dtype=torch.float64)}

    def bound():
        return loss(ImportanceWeighted(4), vae(block(world[2]), noise)).mean()

    bound().backward()
    for parameter in (vae.latent.shift, vae.latent.log_std):
        for index in range(L):
            values = []
            for step in (-1e-5, 1e-5):
                with torch.no_grad():
                    parameter[index] += step
                    values.append(bound().item())
                    parameter[index] -= step
            assert parameter.grad[index].item() == pytest.approx((values[1] - values[0]) / 2e-5, rel=1e-5)


def test_gradients_equal_the_analytic_ones(world):
    weight, bias, x, _ = world
    vae = make(world)
    with torch.no_grad():
        vae.latent.shift += torch.tensor([0.5, -0.3])
        vae.latent.log_std += torch.tensor([0.2, -0.1])
    for beta in (0.0, 1.0, 3.0):
        vae.zero_grad()
        loss(ELBO(beta=beta), vae(block(x), cubature(B))).mean().backward()
        mean = ((x - bias) @ vae.latent.gain.T + vae.latent.shift).detach()
        variance = torch.exp(2 * vae.latent.log_std.detach())
        square = weight.square().sum(0) / SIGMA**2
        pull = (mean @ weight.T + bias - x) @ weight / SIGMA**2  # d(-E log p(x|z)) / d mean
        np.testing.assert_allclose(vae.latent.shift.grad, (pull + beta * mean).mean(0).detach(), rtol=1e-9)
        np.testing.assert_allclose(vae.latent.log_std.grad, square * variance + beta * (variance - 1.0), rtol=1e-9)
        assert (vae.latent.gain.grad.abs() > 0).all()


def test_missing_cells_give_the_exact_marginal_and_cannot_change_the_answer(world):
    weight, bias, x, _ = world
    observed = torch.tensor([True, False, True, True, False]).expand(B, D)
    vae = make(world)
    kept = observed[0].numpy()
    part = (weight @ weight.T + SIGMA**2 * torch.eye(D)).numpy()[np.ix_(kept, kept)]
    exact = multivariate_normal(bias.numpy()[kept], part).logpdf(x.numpy()[:, kept])
    rng = torch.Generator().manual_seed(0)
    noise = {"z": torch.randn(4096, B, L, generator=rng, dtype=torch.float64)}
    base = torch.where(observed, x, 0.0)
    passed = vae(block(base, observed), noise)
    # log w is an unbiased estimate of the marginal of what was observed, whatever q is
    np.testing.assert_allclose(log_mean_exp(passed.terms.log_weight().detach().numpy()), exact, atol=0.15)
    assert (passed.terms.log_px[SPEC.name][..., [1, 4]] == 0).all()
    garbage = torch.where(observed, x, 1e6)
    fixed = {"z": passed.groups["z"].z}
    one, other = (vae.log_density(vae.decode(fixed, block(v, observed)), block(v, observed)) for v in (base, garbage))
    assert torch.equal(one[SPEC.name], other[SPEC.name])


def test_terms_are_sums_over_columns_never_means(world):
    vae, x = make(world), world[2]
    passed = vae(block(x), cubature(B))
    by_field = passed.terms.log_px[SPEC.name]
    assert by_field.shape == (2 * L, B, D)
    np.testing.assert_allclose(passed.terms.reconstruction().detach(), by_field.sum(-1).detach(), rtol=1e-12)
    assert ELBO()(passed)["reconstruction"].shape == (B,)


def test_free_bits_hold_the_value_and_the_gradient_of_empty_dimensions(world):
    vae, x = make(world), world[2]
    kl = vae(block(x), cubature(B)).terms.kl["z"].mean(0)
    floor = float((kl[0] + kl[1]).detach() / 2)  # one dimension above, one below
    above, below = (0, 1) if kl[0] > kl[1] else (1, 0)
    terms = ELBO(free_bits=floor)(vae(block(x), cubature(B)))
    assert terms["kl"].mean().item() == pytest.approx(kl[above].item() + floor, rel=1e-9)
    terms["kl"].mean().backward()
    assert vae.latent.log_std.grad[below].abs() < 1e-12
    assert vae.latent.log_std.grad[above].abs() > 1e-3


def test_sampled_posterior_has_the_moments_that_its_kl_assumes():
    torch.manual_seed(0)
    q = Diagonal(3, L).double()(torch.randn(1, 3, dtype=torch.float64))
    z, log_q = q.rsample(torch.randn(200_000, 1, L, dtype=torch.float64))
    np.testing.assert_allclose(z.mean(0).detach(), q.mean.detach(), atol=0.02)
    np.testing.assert_allclose(z.std(0).detach(), torch.exp(q.log_std).detach(), rtol=0.01)
    np.testing.assert_allclose(log_q.detach(), q.log_prob(z).detach(), rtol=1e-9)
    monte_carlo = (log_q - StandardNormal(L).log_prob(z)).mean()
    assert monte_carlo.item() == pytest.approx(q.kl_to().sum().item(), abs=0.02)


@pytest.mark.parametrize("bad", [{"beta": -1.0}, {"free_bits": -0.1}, {"samples": 0}])
def test_nonsense_is_refused(bad):
    with pytest.raises(ConfigError):
        ELBO(**bad)


def test_objectives_add_up_and_refuse_clashes(world):
    class Extra(ELBO):
        weights = ("gamma",)
        gamma = 0.5

        def forward(self, passed):
            return {"extra": self.gamma * passed.groups["z"].z.square().sum(-1).mean(0)}

    vae = make(world)
    passed = vae(block(world[2]), cubature(B))
    both = ELBO() + Extra()
    np.testing.assert_allclose(
        loss(both, passed).detach(), (loss(ELBO(), passed) + loss(Extra(), passed)).detach(), rtol=1e-12
    )
    before = loss(both, passed).detach()
    both.set_weight("gamma", 1.0)
    assert (loss(both, passed) > before).all()
    with pytest.raises(ConfigError):
        ELBO() + ELBO()
    with pytest.raises(ConfigError, match="no part"):
        both.set_weight("nothing", 1.0)
