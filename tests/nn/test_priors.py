"""Every prior: it integrates to one, its draws follow it, its KL agrees with Monte Carlo, its export with torch.

Tests run over the registry: a new prior is tested by being registered.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from tests.nn.exporting import onnx_run
from vaekit.arrays import draw, middle, tempered
from vaekit.errors import ConfigError
from vaekit.nn.parts import Around, make
from vaekit.nn.posteriors import Diagonal, DiagonalNormal
from vaekit.nn.priors import PRIORS
from vaekit.nn.trunks import MLP

WIDTH, L, REACH = 6, 2, 9.0
SMALL = {"flow": {"hidden": 6}}  # of moderate reach, so that a grid holds nearly all of it
FREE = {"standard", "mixture", "vamp"}  # do not look at the condition


def prior(name: str, size: int = L, dtype: torch.dtype = torch.float64, **options):
    """A prior away from where it starts."""
    options = SMALL.get(name, {}) | options
    torch.manual_seed(3)
    trunk, posterior = MLP(WIDTH, 2), Diagonal(WIDTH, size)
    made = make("prior", {"name": name, **options}, PRIORS, size, Around(WIDTH, WIDTH, trunk.forward), posterior)
    made = nn.ModuleDict({"prior": made, "trunk": trunk, "posterior": posterior}).to(dtype).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    return made["prior"]


def condition(rows: int = 1) -> torch.Tensor:
    return torch.linspace(-1.0, 1.0, WIDTH, dtype=torch.float64).expand(rows, WIDTH)


def noise(made, samples: int, rows: int = 1, seed: int = 0) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(v).double() for name, v in draw(made.noise, seed, samples, rows).items()}


def grid(points: int) -> tuple[torch.Tensor, float]:
    axis = (torch.arange(points, dtype=torch.float64) + 0.5) / points * 2 * REACH - REACH
    return torch.cartesian_prod(axis, axis)[:, None], (2 * REACH / points) ** 2


@pytest.mark.parametrize("name", PRIORS)
def test_the_density_integrates_to_one(name):
    points, cell = grid(500)
    with torch.no_grad():
        total = prior(name).log_prob(points, condition()).exp().sum() * cell
    assert total.item() == pytest.approx(1.0, abs=2e-4)


@pytest.mark.parametrize("name", sorted(PRIORS.keys() - {"flow"}))
def test_one_dimension_is_enough(name):
    axis = torch.linspace(-12, 12, 4001, dtype=torch.float64)
    with torch.no_grad():
        density = prior(name, 1).log_prob(axis[:, None, None], condition()).exp()[:, 0]
    assert torch.trapezoid(density, axis).item() == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("name", PRIORS)
def test_draws_follow_the_density(name):
    made, bins, draws = prior(name), 12, 40_000
    points, cell = grid(bins * 20)
    with torch.no_grad():
        mass = made.log_prob(points, condition()).exp()[:, 0].reshape(bins, 20, bins, 20).sum((1, 3)) * cell
        z = made.sample(noise(made, draws), condition())[:, 0].numpy()
    edges = np.linspace(-REACH, REACH, bins + 1)
    found = np.histogram2d(z[:, 0], z[:, 1], bins=[edges, edges])[0] / draws
    error = np.sqrt(np.maximum(mass.numpy(), 1 / draws) / draws)
    assert np.abs(found - mass.numpy()).max() > 0.0
    assert (np.abs(found - mass.numpy()) < 5 * error).all()


@pytest.mark.parametrize("name", PRIORS)
def test_the_closed_kl_agrees_with_monte_carlo(name):
    made = prior(name)
    q = DiagonalNormal(torch.tensor([[0.5, -1.0]]).double(), torch.tensor([[-0.7, 0.3]]).double())
    with torch.no_grad():
        z, log_q = q.rsample(torch.randn(200_000, 1, L, dtype=torch.float64))
        kl, estimate = made.kl(q, condition()), (log_q - made.log_prob(z, condition())).mean()
    assert estimate > 0.0
    if name in ("standard", "conditional"):
        assert kl.shape == (1, L)
        assert kl.sum().item() == pytest.approx(estimate.item(), abs=0.02)
    else:
        assert kl is None


@pytest.mark.parametrize("name", PRIORS)
def test_the_condition_counts_where_it_should(name):
    made, z = prior(name), torch.ones(3, 1, L, dtype=torch.float64)
    with torch.no_grad():
        one, other = made.log_prob(z, condition()), made.log_prob(z, -condition())
    assert torch.equal(one, other) == (name in FREE)


@pytest.mark.parametrize("name", PRIORS)
def test_every_part_learns(name):
    made = prior(name)
    if name == "standard":
        assert not list(made.parameters())
        return
    made.log_prob(made.sample(noise(made, 50), condition()), condition()).sum().backward()
    gone = [n for n, p in made.named_parameters() if p.grad is None or not bool(p.grad.abs().sum() > 0)]
    assert gone == []


def test_flow_draws_come_back_to_their_noise():
    made = prior("flow", 5)
    e = torch.randn(20, 1, 5, dtype=torch.float64)
    z = made.sample({"": e}, condition())
    for layer in made.layers:
        z, _ = layer(z, condition())
    np.testing.assert_allclose(z.detach(), e, atol=1e-10)


def test_a_new_flow_is_standard_normal():
    around = Around(WIDTH)
    made = make("prior", "flow", PRIORS, 3, around, None)
    z = torch.randn(4, 1, 3)
    torch.testing.assert_close(made.log_prob(z), make("prior", "standard", PRIORS, 3, around, None).log_prob(z))


def test_low_temperatures_draw_the_middle_of_the_heaviest_component():
    made = prior("mixture", components=4)
    heavy = int(made.logits.argmax())
    z = made.sample({n: torch.from_numpy(v).double() for n, v in middle(made.noise, 1, 1).items()})
    torch.testing.assert_close(z[0, 0], made.means[heavy])
    cold = tempered(made.noise, draw(made.noise, 0, 500, 1), 1e-3)
    near = made.sample({n: torch.from_numpy(v).double() for n, v in cold.items()})
    assert (near - made.means[heavy]).abs().max() < 0.05


def test_vamp_components_are_posteriors_of_the_encoder():
    made = prior("vamp", components=3)
    q = made.posterior(made.trunk(math.sqrt(WIDTH) * made.pseudo))
    np.testing.assert_array_equal(made.components().mean.detach(), q.mean.detach())
    assert not [n for n, _ in made.named_parameters() if "posterior" in n or "trunk" in n]  # registered where they live


class Both(nn.Module):
    """Log-density and draw in one graph."""

    def __init__(self, made) -> None:
        super().__init__()
        self.made = made

    def forward(self, z, main, component):
        drawn = self.made.sample({"": main, ".component": component}, self.condition())
        return self.made.log_prob(z, self.condition()), drawn.clone()

    def condition(self):
        return torch.linspace(-1.0, 1.0, WIDTH)[None]


@pytest.mark.parametrize("name", PRIORS)
def test_export_agrees_with_torch(name):
    made = prior(name, 3, torch.float32, **({"layers": 2} if name == "flow" else {}))
    module = Both(made)
    choice = made.noise.get(".component")
    torch.manual_seed(0)
    inputs = {"z": 2 * torch.randn(3, 5, 3), "main": torch.randn(3, 5, 3)}
    inputs["component"] = torch.randn(3, 5, choice.shape[0] if choice else 1)
    with torch.no_grad():
        expected = module(**inputs)
    for found, value in zip(onnx_run(module, inputs), expected, strict=True):
        np.testing.assert_allclose(found, value.numpy(), rtol=1e-4, atol=1e-4)


def test_nonsense_is_refused_by_name():
    posterior = Diagonal(WIDTH, L)
    for part, around, message in (
        ("nothing", Around(WIDTH), "unknown prior 'nothing'; known: conditional, flow"),
        ({"name": "mixture", "layers": 3}, Around(WIDTH), "prior 'mixture' has no option layers; it has: components"),
        ({"name": "mixture", "components": 0}, Around(WIDTH), "components of at least 1"),
        ("conditional", Around(WIDTH), "needs at least one field of role 'condition'"),
        ("vamp", Around(WIDTH), "trunk of the encoder"),
        ({"name": "flow", "layers": 0}, Around(WIDTH), "layers and hidden of at least 1"),
    ):
        with pytest.raises(ConfigError, match=message):
            make("prior", part, PRIORS, L, around, posterior)
    with pytest.raises(ConfigError, match="have to be 'diagonal'"):
        make("prior", "vamp", PRIORS, L, Around(WIDTH, 0, MLP(WIDTH).forward), None)
    with pytest.raises(ConfigError, match="latent width of at least 2"):
        make("prior", "flow", PRIORS, 1, Around(WIDTH), posterior)
