"""Every posterior: its log-density is that of its draws, its KL agrees with Monte Carlo, its export with torch.

Tests run over the registry: a new posterior is tested by being registered.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from torch import nn

from tests.nn.exporting import onnx_run
from vaekit.errors import ConfigError
from vaekit.nn.parts import make
from vaekit.nn.posteriors import POSTERIORS

WIDTH, L, B = 5, 3, 2
OWN_DRAWS_ONLY = {"iaf"}


def posterior(name: str, **options):
    """A posterior away from where it starts, in float64."""
    torch.manual_seed(5)
    made = make("posterior", {"name": name, **options}, POSTERIORS, WIDTH, L).double()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return made


def hidden() -> torch.Tensor:
    return torch.linspace(-1.0, 1.5, B * WIDTH, dtype=torch.float64).reshape(B, WIDTH)


@pytest.mark.parametrize("name", POSTERIORS)
def test_log_density_of_a_draw_follows_from_its_jacobian(name):
    """log q(z(e)) = log N(e) - log |det dz/de|, with the determinant by automatic differentiation."""
    q = posterior(name)(hidden()[:1])
    for seed in range(5):
        e = torch.randn(L, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        jacobian = torch.autograd.functional.jacobian(lambda e: q.rsample(e[None, None])[0][0, 0], e)
        expected = multivariate_normal(np.zeros(L)).logpdf(e.numpy()) - torch.linalg.slogdet(jacobian)[1].item()
        assert q.rsample(e[None, None])[1].item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", POSTERIORS)
def test_a_foreign_log_density_is_right_or_refused_by_name(name):
    q = posterior(name)(hidden())
    z, log_q = q.rsample(torch.randn(20, B, L, dtype=torch.float64))
    if name in OWN_DRAWS_ONLY:
        with pytest.raises(ConfigError, match=r"FlowDraws knows the log-density of its own draws only"):
            q.log_prob(z)
        return
    np.testing.assert_allclose(q.log_prob(z).detach(), log_q.detach(), rtol=1e-8, atol=1e-8)
    for row in range(B):  # moments and density against SciPy
        factor = torch.diag(torch.exp(q.log_std[row])) + getattr(q, "low", torch.zeros(B, L, L))[row]
        normal = multivariate_normal(q.mean[row].detach(), (factor @ factor.T).detach())
        np.testing.assert_allclose(q.log_prob(z)[:, row].detach(), normal.logpdf(z[:, row].detach()), rtol=1e-6)


@pytest.mark.parametrize("name", POSTERIORS)
def test_the_closed_kl_agrees_with_monte_carlo(name):
    q = posterior(name)(hidden())
    mean, log_std = torch.tensor([0.3, -0.5, 0.1]).double(), torch.tensor([0.2, -0.4, 0.0]).double()
    kl = q.kl_to(mean, log_std)
    if kl is None:
        assert name in OWN_DRAWS_ONLY
        return
    assert kl.shape == (B, L)
    z, log_q = q.rsample(torch.randn(200_000, B, L, dtype=torch.float64))
    normal = torch.distributions.Normal(mean, log_std.exp())
    estimate = (log_q - normal.log_prob(z).sum(-1)).mean(0)
    np.testing.assert_allclose(kl.sum(-1).detach(), estimate.detach(), rtol=0.01)


@pytest.mark.parametrize("name", POSTERIORS)
def test_every_part_learns_and_none_through_a_detached_one(name):
    made = posterior(name)
    q = made(hidden())
    z, log_q = q.rsample(torch.randn(4, B, L, dtype=torch.float64))
    (z.square().sum() + log_q.sum()).backward()
    assert [n for n, p in made.named_parameters() if p.grad is None or not bool(p.grad.abs().sum() > 0)] == []
    if name not in OWN_DRAWS_ONLY:
        assert not q.detached().log_prob(z.detach()).requires_grad


class Draw(nn.Module):
    def __init__(self, made, foreign) -> None:
        super().__init__()
        self.made, self.foreign = made, foreign

    def forward(self, e):
        q = self.made(hidden().float()[:1])
        z, log_q = q.rsample(e)
        return (z, log_q, q.log_prob(2.0 * z)) if self.foreign else (z, log_q)


@pytest.mark.parametrize("name", POSTERIORS)
def test_export_agrees_with_torch(name):
    module, e = Draw(posterior(name).float(), name not in OWN_DRAWS_ONLY), torch.randn(3, 4, L)
    with torch.no_grad():
        expected = module(e)
    for found, value in zip(onnx_run(module, {"e": e}), expected, strict=True):
        np.testing.assert_allclose(found, value.numpy(), rtol=1e-3, atol=1e-4)


def test_new_posteriors_are_no_wilder_than_the_diagonal_one():
    torch.manual_seed(0)
    e = torch.randn(1000, B, L)
    for name in POSTERIORS:
        z, _ = make("posterior", name, POSTERIORS, WIDTH, L)(hidden().float()).rsample(e)
        assert z.abs().max() < 12.0, name


def test_nonsense_is_refused_by_name():
    for part, size, message in (
        ("nothing", L, "unknown posterior 'nothing'; known: diagonal, fixed, full, iaf"),
        ({"name": "iaf", "layers": 1}, L, "posterior 'iaf' has no option layers; it has: steps, hidden"),
        ({"name": "iaf", "steps": 0}, L, "steps and hidden of at least 1"),
        ("iaf", 1, "latent width of at least 2"),
        ({"name": "fixed", "std": 0.0}, L, "std above 0"),
    ):
        with pytest.raises(ConfigError, match=message):
            make("posterior", part, POSTERIORS, WIDTH, size)
