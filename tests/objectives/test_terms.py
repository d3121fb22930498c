"""Terms that are added to a bound: exact on examples that can be enumerated, with the sign of what they state."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from tests.linear import B, L, block, cubature, loss, make, make_world
from tests.nn.test_latents import blocks, model, noise
from vaekit.errors import ConfigError
from vaekit.nn.parts import make as make_part
from vaekit.objectives import ELBO, TERMS, Capacity, ImportanceWeighted
from vaekit.objectives.density_ratio import DensityRatio
from vaekit.objectives.mmd import discrepancy
from vaekit.objectives.total_correlation import log_aggregate, total_correlation
from vaekit.training.config import TrainConfig
from vaekit.training.phases import optimizers_of, phases_of
from vaekit.training.stages import Stage

ROWS = 40
STRUCTURE = {"commitment": "quantised"}  # others take the flat one


def passed_by(name: str, vae=None):
    """A model in training that a term fits, the term made ready, and a pass."""
    vae = (vae or model(STRUCTURE.get(name, "flat"))).train()
    term = make_part("term", name, TERMS).double()
    torch.manual_seed(0)
    rows, drawn = blocks(ROWS), noise(vae, 1, ROWS)
    passed = vae(rows, drawn, noise(vae, 1, ROWS, prior=True, seed=5), True)
    term.prepare(vae, passed, 100, 0)
    return vae, term.double(), passed


# -------------------------------------------------------------------------------------------------- over the registry


@pytest.mark.parametrize("name", TERMS)
def test_a_term_is_of_every_row_scales_with_its_weights_and_moves_the_model(name):
    vae, term, passed = passed_by(name)
    torch.manual_seed(1)
    terms = term(passed)
    assert all(value.shape == (ROWS,) and torch.isfinite(value).all() for value in terms.values())
    total = sum(value.mean() for value in terms.values())
    total.backward(retain_graph=True)
    moved = [n for n, p in vae.named_parameters() if p.grad is not None and bool(p.grad.abs().sum() > 0)]
    part = "decoder" if name == "adversarial" else "inference"
    assert any(vae.part_of(n) == part for n in moved)
    for weight in term.weights:
        term.set_weight(weight, 0.0)
    assert sum(value.mean() for value in term(passed).values()).item() == 0.0


@pytest.mark.parametrize("name", TERMS)
def test_a_phase_reaches_its_own_parameters_and_no_others(name):
    vae, term, passed = passed_by(name)
    objective = (ELBO() + term).eval()  # spectral norms hold still
    stage = Stage("one", objective, 1)
    phases = phases_of(stage, vae, optimizers_of(stage, vae, TrainConfig()))
    critics, mine = list(objective.parameters()), list(vae.parameters())
    loss = sum(value.mean() for value in objective(passed).values())
    expected = torch.autograd.grad(loss, mine, retain_graph=True, allow_unused=True)
    phases["model"].backward(torch.stack(list(objective(passed).values())).sum(0).mean())
    assert all(p.grad is None for p in critics)
    found = [p.grad for p in mine]
    for one, other in zip(found, expected, strict=True):
        assert (one is None) == (other is None)
        assert one is None or torch.allclose(one, other)
    assert ("critic" in phases) == bool(critics) == (name in ("density_ratio", "adversarial"))
    if critics:
        kept = [None if g is None else g.clone() for g in found]
        phases["critic"].backward(sum(value.mean() for value in objective.criticise(passed).values()))
        assert phases["critic"].norm() > 0.0
        assert all(p.grad is not None for p in critics)
        assert all(a is None or torch.equal(a, p.grad) for a, p in zip(kept, mine, strict=True))


@pytest.mark.parametrize("name", ["total_correlation", "dip"])
@pytest.mark.parametrize(("case", "kind"), [("ladder", "depends on draws above it"), ("categorical", "or none")])
def test_terms_that_need_diagonal_posteriors_refuse_others_by_name(name, case, kind):
    with pytest.raises(ConfigError, match=rf"{name} needs diagonal normal posteriors; .*{kind}"):
        passed_by(name, model(case))


def test_what_a_model_lacks_is_refused_by_name():
    with pytest.raises(ConfigError, match="only structure 'quantised' has codes"):
        passed_by("commitment", model("flat"))
    with pytest.raises(ConfigError, match="enumerates its codes in training"):
        passed_by("mmd", model("categorical"))
    for name in TERMS:
        option = next(key for key in TERMS[name]().__init__.__kwdefaults__ if key not in ("kind",))
        with pytest.raises(ConfigError):
            make_part("term", {"name": name, option: -1.0}, TERMS)
        with pytest.raises(ConfigError, match=f"term '{name}' has no option nothing"):
            make_part("term", {"name": name, "nothing": 1.0}, TERMS)


# ------------------------------------------------------------------------------------------------- total correlation


def correlated(rows: int, seed: int = 0):
    rng = torch.Generator().manual_seed(seed)
    mean = torch.randn(rows, 3, generator=rng, dtype=torch.float64)
    mean[:, 1] += mean[:, 0]
    log_std = 0.3 * torch.randn(rows, 3, generator=rng, dtype=torch.float64) - 0.5
    return mean + torch.exp(log_std) * torch.randn(rows, 3, generator=rng, dtype=torch.float64), mean, log_std


def test_total_correlation_of_the_whole_table_is_exact():
    """With every row in the batch, log q(z) and log q(z_i) are means over rows, here by loops."""
    z, mean, log_std = correlated(7)
    found = total_correlation(z, mean, log_std, rows=7)
    for b in range(7):
        each = [torch.distributions.Normal(mean[j], log_std[j].exp()).log_prob(z[b]).exp() for j in range(7)]
        joint = sum(e.prod() for e in each) / 7
        marginals = [sum(e[i] for e in each) / 7 for i in range(3)]
        assert found[b].item() == pytest.approx(math.log(joint) - sum(math.log(m) for m in marginals), rel=1e-9)


def test_the_aggregate_density_is_unbiased_over_batches():
    """Over all batches that hold a row, the estimate of q(z) averages to q(z); weights in a column would not."""
    z, mean, log_std = correlated(6, seed=2)
    each = torch.distributions.Normal(mean[None], log_std.exp()[None]).log_prob(z[:, None])  # draw by row
    exact = torch.logsumexp(each.sum(-1), 1) - math.log(6)
    for row in range(6):
        estimates = []
        for others in itertools.permutations([j for j in range(6) if j != row], 2):
            batch = [others[0], row, others[1]]
            estimates.append(log_aggregate(each[batch][:, batch].sum(-1)[..., None], 6)[1, 0].exp())
        assert torch.stack(estimates).mean().item() == pytest.approx(exact[row].exp().item(), rel=1e-9)


def test_independent_dimensions_have_no_total_correlation():
    mean = torch.zeros(50, 3, dtype=torch.float64)
    z = torch.randn(50, 3, dtype=torch.float64)
    np.testing.assert_allclose(total_correlation(z, mean, mean, 1000), 0.0, atol=1e-12)
    assert total_correlation(z[:1], mean[:1], mean[:1], 10).tolist() == [0.0]


def test_the_critic_finds_the_total_correlation_of_a_normal():
    rho, rng = 0.8, torch.Generator().manual_seed(0)
    term = DensityRatio(weight=1.0, hidden=32)

    class Passed:
        terms = type("Terms", (), {"weights": None})()

        def __init__(self) -> None:
            e = torch.randn(1, 2000, 2, generator=rng)
            z = torch.stack([e[..., 0], rho * e[..., 0] + math.sqrt(1 - rho**2) * e[..., 1]], -1)
            self.groups = {"z": type("Group", (), {"z": z})()}

    torch.manual_seed(0)
    term.prepare(None, Passed(), 2000, 0)
    optimizer = torch.optim.Adam(term.parameters(), lr=5e-3)
    for _ in range(400):
        optimizer.zero_grad()
        term.criticise(Passed())["density_ratio_critic"].mean().backward()
        optimizer.step()
    exact = -0.5 * math.log(1 - rho**2)
    found = np.mean([term(Passed())["density_ratio"].mean().item() for _ in range(20)])
    assert found == pytest.approx(exact, rel=0.12)


# ------------------------------------------------------------------------------------------------ moments and kernels


@pytest.mark.parametrize("kind", [1, 2])
def test_dip_is_the_distance_of_the_covariance_from_the_identity(kind):
    vae = model("flat")
    passed = vae(blocks(ROWS), noise(vae, 1, ROWS))
    q = passed.groups["z"].q
    covariance = np.cov(q.mean.detach().numpy().T, bias=True)
    if kind == 2:
        covariance = covariance + np.diag(np.exp(2 * q.log_std.detach().numpy()).mean(0))
    off = covariance - np.diag(np.diag(covariance))
    expected = 3.0 * (off**2).sum() + 5.0 * ((np.diag(covariance) - 1) ** 2).sum()
    found = make_part("term", {"name": "dip", "kind": kind, "off": 3.0, "diag": 5.0}, TERMS)(passed)["dip"]
    np.testing.assert_allclose(found.detach(), expected, rtol=1e-9)


def test_discrepancy_is_the_unbiased_statistic_and_vanishes_for_equal_distributions():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(5, 2)), rng.normal(size=(5, 2)) + 1.0

    def kernel(a, b):
        far = ((a - b) ** 2).sum()
        return sum(4.0 * s / (4.0 * s + far) for s in (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0))

    pairs = list(itertools.permutations(range(5), 2))
    same = sum(kernel(x[i], x[j]) + kernel(y[i], y[j]) for i, j in pairs) / 20
    cross = sum(kernel(a, b) for a in x for b in y) / 25
    assert discrepancy(torch.tensor(x), torch.tensor(y)).item() == pytest.approx(same - 2 * cross, rel=1e-9)
    values = [
        discrepancy(*torch.randn(2, 20, 2, generator=torch.Generator().manual_seed(s))).item() for s in range(800)
    ]
    assert abs(np.mean(values)) < 4 * np.std(values) / len(values) ** 0.5
    shift = torch.tensor([[[0.0]], [[1.0]]])
    moved = [
        discrepancy(*(torch.randn(2, 20, 2, generator=torch.Generator().manual_seed(s)) + shift)).item()
        for s in range(50)
    ]
    assert np.mean(moved) > 5 * np.std(values)


# --------------------------------------------------------------------------------------------------------- adversarial


def test_the_models_adversarial_gradient_makes_imagined_rows_look_real():
    vae, term, passed = passed_by("adversarial")
    term.set_weight("features", 0.0)
    term.eval()
    before = term.critic(term._shown(passed, passed.imagined)).mean().item()
    sum(value.mean() for value in term(passed).values()).backward()
    with torch.no_grad():
        for parameter in vae.parameters():
            if parameter.grad is not None:
                parameter -= 0.05 * parameter.grad / parameter.grad.norm().clamp(min=1e-9)
    after = vae(blocks(ROWS), noise(vae, 1, ROWS), noise(vae, 1, ROWS, prior=True, seed=5), True)
    assert term.critic(term._shown(after, after.imagined)).mean().item() > before
    for name, parameter in vae.named_parameters():  # what is imagined from the prior cannot move inference
        assert vae.part_of(name) != "inference" or parameter.grad is None or not parameter.grad.abs().sum() > 0


def test_every_layer_of_the_adversarial_critic_has_spectral_norm_one():
    _, term, passed = passed_by("adversarial")
    with torch.no_grad():
        for _ in range(200):
            term.critic(term._real(passed))
    for layer in term.critic:
        if hasattr(layer, "weight"):
            assert torch.linalg.matrix_norm(layer.weight, 2).item() == pytest.approx(1.0, abs=1e-3)


# ------------------------------------------------------------------------------------- capacity, groups and gradients


@pytest.fixture
def world():
    return make_world()


def test_capacity_is_the_distance_of_the_mean_kl_and_always_has_a_gradient(world):
    vae = make(world)
    with torch.no_grad():
        vae.latent.shift += torch.tensor([0.5, -0.3])
    kl = vae(block(world.x), cubature(B)).terms.kl["z"].sum(-1).mean().item()
    for capacity in (0.0, kl - 0.5, kl + 0.5):
        vae.zero_grad()
        terms = Capacity(capacity=capacity, gamma=7.0)(vae(block(world.x), cubature(B)))
        assert terms["capacity"].mean().item() == pytest.approx(7.0 * abs(kl - capacity), rel=1e-9)
        terms["capacity"].mean().backward()
        reference = make(world)
        reference.latent.load_state_dict(vae.latent.state_dict())
        reference(block(world.x), cubature(B)).terms.kl["z"].sum(-1).mean().backward()
        sign = -1.0 if capacity > kl else 1.0
        np.testing.assert_allclose(vae.latent.shift.grad, 7.0 * sign * reference.latent.shift.grad, rtol=1e-9)
        assert vae.latent.shift.grad.abs().min() > 0


def test_factors_weigh_single_groups():
    vae = model("ladder")
    passed = vae(blocks(), noise(vae, 1))
    kl = {name: value.sum(-1) for name, value in passed.terms.kl.items()}
    objective = ELBO(beta=2.0, groups={"z2": 0.25})
    np.testing.assert_allclose(objective(passed)["kl"].detach(), (2 * (0.25 * kl["z2"] + kl["z1"])).detach())
    objective.set_weight("beta.z2", 1.0)
    np.testing.assert_allclose(objective(passed)["kl"].detach(), (2 * (kl["z2"] + kl["z1"])).detach())
    with pytest.raises(ConfigError, match="no latent group for beta.z9; groups: z2, z1"):
        ELBO(groups={"z9": 1.0}).prepare(vae, passed, 10, 0)


def gradients(world, objective, repeats: int, seed: int):
    """Gradients with respect to the posterior, mean over many draws and its standard error."""
    vae = make(world)
    with torch.no_grad():
        vae.latent.shift += torch.tensor([0.4, -0.3])
        vae.latent.log_std += torch.tensor([0.3, -0.2])
    vae.latent.shift.requires_grad_(True)
    rng, found = torch.Generator().manual_seed(seed), []
    for _ in range(40):
        vae.zero_grad()
        noise = {"z": torch.randn(objective.samples, repeats * B, L, generator=rng, dtype=torch.float64)}
        loss(objective, vae(block(world.x.repeat(repeats, 1)), noise)).mean().backward()
        found.append(torch.cat([vae.latent.shift.grad, vae.latent.log_std.grad, vae.latent.gain.grad.flatten()]))
    stack = torch.stack(found)
    return stack.mean(0), stack.std(0) / len(stack) ** 0.5


@pytest.mark.parametrize(
    ("gradient", "samples", "beta"), [("dreg", 2, 1.0), ("dreg", 5, 1.0), ("dreg", 4, 0.4), ("stl", 1, 1.0)]
)
def test_other_gradients_are_unbiased(world, gradient, samples, beta):
    plain = ELBO(beta=beta) if samples == 1 else ImportanceWeighted(samples, beta)
    one, error = gradients(world, plain, 250, seed=0)
    other, other_error = gradients(world, ImportanceWeighted(samples, beta, gradient), 250, seed=1)
    assert (one.abs() > 5 * error).any()
    assert ((one - other).abs() < 5 * torch.sqrt(error**2 + other_error**2)).all()


def test_values_do_not_depend_on_the_gradient(world):
    vae = make(world)
    passed = vae(block(world.x), cubature(B))
    plain = loss(ImportanceWeighted(4), passed)
    for gradient in ("stl", "dreg"):
        np.testing.assert_allclose(loss(ImportanceWeighted(4, 1.0, gradient), passed).detach(), plain.detach())


def test_at_the_exact_posterior_the_path_gradient_is_zero_for_every_draw(world):
    vae = make(world)
    noise = {"z": torch.randn(1, B, L, generator=torch.Generator().manual_seed(0), dtype=torch.float64)}
    loss(ImportanceWeighted(1, 1.0, "stl"), vae(block(world.x), noise)).mean().backward()
    assert max(p.grad.abs().max().item() for p in vae.latent.parameters()) < 1e-12
    vae.zero_grad()
    loss(ImportanceWeighted(2, 1.0), vae(block(world.x), {"z": noise["z"].repeat(2, 1, 1)})).mean().backward()
    assert max(p.grad.abs().max().item() for p in vae.latent.parameters()) > 1e-3


def test_gradients_that_need_more_of_a_posterior_refuse_by_name():
    for gradient in ("stl", "dreg"):
        vae = model("ladder")
        with pytest.raises(ConfigError, match=rf"'{gradient}' needs log q as a function of z alone; .*group 'z1'"):
            ImportanceWeighted(2, 1.0, gradient).prepare(vae, vae(blocks(), noise(vae, 2)), 10, 0)
    vae = model("categorical").train()
    with pytest.raises(ConfigError, match="enumerates its codes"):
        ImportanceWeighted(2).prepare(vae, vae(blocks(), noise(vae, 2)), 10, 0)
    with pytest.raises(ConfigError, match="ImportanceWeighted changes the gradient .* leave out MMD"):
        ImportanceWeighted(2, 1.0, "dreg") + make_part("term", "mmd", TERMS)
