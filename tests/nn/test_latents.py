"""Every latent structure: densities that belong to its draws, closed KLs, gradients, priors, export.

Tests run over the registry: a new structure is tested by being registered.
"""

from __future__ import annotations

import itertools

import numpy as np
import onnxruntime
import pytest
import torch

from vaekit.arrays import Block, BlockSpec, draw, middle
from vaekit.bundle.export import export
from vaekit.errors import ConfigError
from vaekit.nn.build import ModelConfig, build
from vaekit.nn.latents import LATENTS
from vaekit.nn.primitives import PRIMITIVES
from vaekit.objectives import ELBO

B, WIDTH = 3, 8
SPECS = (
    BlockSpec(name="number.gaussian", kind="number", likelihood="gaussian", fields=("a", "b"), cell=(0.0, 0.0)),
    BlockSpec(name="category.categorical", kind="category", likelihood="categorical", fields=("c",), levels=(3,)),
    BlockSpec(name="condition.number", kind="number", role="condition", fields=("d",), cell=(0.0,)),
)
IMAGE = BlockSpec(name="image.x", kind="image", likelihood="bernoulli", fields=("x",), event=(2, 2, 1))
CASES = {
    **{name: {"name": name} for name in LATENTS},
    "three layers": {"name": "ladder", "layers": 3},
    "categorical, many codes": {"name": "categorical", "categories": 3, "enumerated": 2},
    "mixture of experts": {"name": "experts", "rule": "mixture"},
    "two groups at each size": {"name": "spatial", "each": 2},
}
DEFAULTS = {
    "categorical": {"categories": 3},
    "quantised": {"codes": 4},
    "sparse": {"active": 0.4},
    "spatial": {"depth": 1},
}
SMALL = {"name": "conv", "channels": 2, "smallest": 1}


def model(case: str):
    """A VAE with a structure away from where it starts, in float64, with a codebook that has seen rows."""
    part = DEFAULTS.get(CASES[case]["name"], {}) | CASES[case]
    size = 4 if part["name"] == "quantised" else 2
    specs = (*SPECS, IMAGE) if part["name"] == "spatial" else SPECS
    config = ModelConfig(width=WIDTH, depth=1, latent=size, structure=part, images=SMALL)
    vae = build(specs, config, seed=2).double()
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
        for _ in range(30):
            vae.train()(blocks(40), noise(vae, 1, 40))
    return vae.eval()


def blocks(rows: int = B, seed: int = 0) -> dict[str, Block]:
    rng = np.random.default_rng(seed)
    x = torch.tensor(rng.normal(size=(rows, 2)))
    seen, zero = torch.ones(rows, 2, dtype=torch.bool), torch.zeros(rows, 2, dtype=torch.float64)
    return {
        "number.gaussian": Block(x, seen, zero, zero),
        "category.categorical": Block(torch.tensor(rng.integers(0, 3, (rows, 1))), seen[:, :1]),
        "condition.number": Block(x[:, :1] - 0.3, seen[:, :1]),
        "image.x": Block((x > 0.0).byte().repeat(1, 2).reshape(-1, 1, 2, 2, 1), seen[:, :1].reshape(-1, 1, 1, 1, 1)),
    }


def noise(vae, samples: int, rows: int = B, prior: bool = False, seed: int = 0) -> dict[str, torch.Tensor]:
    spec = vae.latent.prior_noise if prior else vae.latent.noise
    return {name: torch.from_numpy(v).double() for name, v in draw(spec, seed, samples, rows).items()}


def features(z: dict[str, torch.Tensor]) -> torch.Tensor:
    """Functions of z that fade far out, where a narrow posterior draws too seldom."""
    joined = torch.cat(list(z.values()), -1)
    near = torch.exp(-joined.square().sum(-1, keepdim=True))
    return near * torch.cat([torch.ones_like(near), joined, joined.square(), joined.prod(-1, keepdim=True)], -1)


@pytest.mark.parametrize("case", CASES)
def test_draws_weighed_by_their_densities_are_draws_from_the_prior(case):
    """E_q[f(z) p(z) / q(z)] = E_p[f(z)] for several f: densities or draws that are wrong by a factor would show."""
    vae, samples = model(case), 60_000
    with torch.no_grad():
        for parameter in vae.latent.parameters():
            parameter *= 0.5
        for name, value in vae.latent.named_buffers():
            value *= 20.0 if name == "squares" else 1.0  # codes that are drawn now and then, all of them
        groups = vae.encode(blocks(), noise(vae, samples))
        weight = torch.exp(sum(group.log_p - group.log_q for group in groups))[..., None]
        weighed = weight * features({group.name: group.z for group in groups})
        plain = features(vae.prior(noise(vae, samples, prior=True, seed=1), blocks()))
    error = 5 * torch.sqrt((weighed.var(0) + plain.var(0)) / samples) + 1e-5
    assert (weighed.mean(0) - plain.mean(0)).abs().le(error).all()
    assert (error[:, 0] < 0.15 * plain.mean(0)[:, 0]).all()  # sharp enough to tell


@pytest.mark.parametrize("case", CASES)
def test_the_closed_kl_agrees_with_monte_carlo(case):
    vae = model(case)
    with torch.no_grad():
        groups = vae.encode(blocks(), noise(vae, 60_000))
    for group in groups:
        if group.kl is not None:
            gap = group.log_q - group.log_p
            error = 5 * gap.std(0) / len(gap) ** 0.5 + 1e-6
            assert (gap.mean(0) - group.kl.sum(-1)).abs().le(error).all(), group.name


@pytest.mark.parametrize("case", CASES)
def test_every_parameter_learns_from_the_elbo(case):
    vae = model(case).train()
    passed = vae(blocks(), noise(vae, 2))
    loss = sum(term.mean() for term in ELBO()(passed).values())
    extra = [group.commitment.mean() for group in passed.groups.values() if group.commitment is not None]
    sum(extra, loss).backward()
    gone = [name for name, p in vae.named_parameters() if p.grad is None or not bool(p.grad.abs().sum() > 0)]
    assert gone == []


@pytest.mark.parametrize("case", CASES)
def test_the_middle_of_the_noise_gives_one_answer_for_a_row(case):
    vae = model(case)
    centre = {name: torch.from_numpy(v).double() for name, v in middle(vae.latent.noise, 2, B).items()}
    with torch.no_grad():
        groups = vae.encode(blocks(), centre)
    for group in groups:
        assert group.z.shape == (2, B, vae.latent.groups[group.name])
        assert torch.equal(group.z[0], group.z[1])
        assert torch.isfinite(group.z).all()


# graphs of these cases are those of others here, or of the models that bundles are tested with
_SAME = {"flat": {"encode", "prior"}, "ladder": {"encode", "prior"}, "categorical, many codes": {"encode", "prior"}}
_SAME |= {"experts": {"prior"}, "mixture of experts": {"prior"}}


@pytest.mark.parametrize("case", CASES)
def test_groups_are_decoded_alike_in_whatever_order_they_come(case):
    vae, rows = model(case), blocks()
    with torch.no_grad():
        z = {group.name: group.z for group in vae.encode(rows, noise(vae, 2))}
        first, second = vae.decode(z, rows), vae.decode(dict(reversed(z.items())), rows)
    for name, params in first.items():
        for one, value in params.items():
            np.testing.assert_array_equal(value, second[name][one])


@pytest.mark.parametrize("case", CASES)
def test_exports_agree_with_torch(case):
    graphs = [name for name in ("encode", "prior") if name not in _SAME.get(case, ())]
    if not graphs:
        return
    vae = model(case).float()
    rows = {
        name: Block(*(v.float() if v.is_floating_point() else v for v in b.arrays().values()))
        for name, b in blocks().items()
        if name in vae.specs
    }
    arrays = {f"{n}.{a}": v for n, b in rows.items() for a, v in b.arrays().items() if a in vae.specs[n].inputs}
    for name, (content, signature) in export(vae, tuple(graphs)).items():
        drawn = noise(vae, 2, prior=name == "prior", seed=4)
        inputs = arrays | {f"noise.{n}": v.float() for n, v in drawn.items()}
        with torch.no_grad():
            expected = PRIMITIVES[name](vae)(inputs)
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        found = session.run(list(signature.outputs), {n: inputs[n].numpy() for n in signature.inputs})
        for output, value in zip(signature.outputs, found, strict=True):
            np.testing.assert_allclose(value, expected[output].numpy(), rtol=1e-3, atol=1e-4, err_msg=output)


# ------------------------------------------------------------------------------------------------- each on its own


def every_code(vae) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """All codes of a small categorical structure with log p(x, c) and log q(c | x), by a loop."""
    rows, eye = blocks(), torch.eye(3).double()
    log_q = torch.log_softmax(vae.latent.posterior(vae.encoder(rows)).unflatten(-1, (2, 3)), -1)
    log_p = vae.latent.log_prior(vae.conditioning(rows))
    joint, mass = [], []
    for one, other in itertools.product(range(3), repeat=2):
        z = torch.cat([eye[one], eye[other]]).expand(1, B, 6)
        log_px = vae.log_density(vae.decode({"z": z}, rows), rows)
        joint.append(sum(v.sum(-1)[0] for v in log_px.values()) + log_p[:, 0, one] + log_p[:, 1, other])
        mass.append(log_q[:, 0, one] + log_q[:, 1, other])
    return torch.stack(joint), torch.stack(mass)


def test_few_codes_are_enumerated_exactly_in_training():
    vae = model("categorical").train()
    passed = vae(blocks(), noise(vae, 1))
    joint, mass = every_code(vae)
    exact = (mass.exp() * (mass - joint)).sum(0)
    terms = ELBO()(passed)
    np.testing.assert_allclose(sum(terms.values()).detach(), exact.detach(), rtol=1e-9)
    parameter = vae.latent.posterior.weight
    one = torch.autograd.grad(sum(terms.values()).sum(), parameter, retain_graph=True)[0]
    np.testing.assert_allclose(one, torch.autograd.grad(exact.sum(), parameter)[0], rtol=1e-7, atol=1e-10)


def test_many_codes_have_an_unbiased_value_and_a_gradient_whose_bias_falls_with_the_temperature():
    exact_model, vae = model("categorical").train(), model("categorical, many codes").train()
    vae.load_state_dict(exact_model.state_dict(), strict=False)
    exact = sum(ELBO()(exact_model(blocks(), noise(vae, 1))).values()).mean()
    gradient = torch.autograd.grad(exact, exact_model.latent.posterior.weight)[0]
    gaps = []
    for temperature in (5.0, 0.5):
        vae.latent.set_knob("temperature", temperature)
        value = sum(ELBO()(vae(blocks(), noise(vae, 20_000))).values()).mean()
        assert value.item() == pytest.approx(exact.item(), abs=0.02)
        found = torch.autograd.grad(value, vae.latent.posterior.weight)[0]
        gaps.append((found - gradient).norm().item() / gradient.norm().item())
    assert gaps[1] < 0.7 * gaps[0]
    assert gaps[1] < 0.5
    with pytest.raises(ConfigError, match="Categorical has no attribute 'heat' to schedule; it has: temperature"):
        vae.latent.set_knob("heat", 1.0)


def test_a_sparse_row_is_zero_where_it_is_not_active():
    vae = model("sparse")
    with torch.no_grad():
        z = vae.prior(noise(vae, 20_000, prior=True), blocks())["z"]
        (group,) = vae.encode(blocks(), noise(vae, 500))
    assert (z == 0.0).double().mean().item() == pytest.approx(0.6, abs=0.01)
    assert 0.0 < (group.z == 0.0).double().mean() < 1.0


def test_codes_are_the_nearest_and_follow_what_they_stand_for():
    vae = model("quantised").train()
    latent, rows = vae.latent, blocks(200, seed=3)
    with torch.no_grad():
        for _ in range(800):
            vae(rows, noise(vae, 1, 200))
        value = latent.linear(vae.encoder(rows)).unflatten(-1, (2, 2)).transpose(0, 1)
        (group,) = vae.eval().encode(rows, {"z": torch.zeros(1, 200, *latent.shape)})
    far = torch.cdist(value, latent.codebook)  # shape: (M, B, C)
    for position in range(2):
        book, nearest = latent.codebook[position], far[position].argmin(-1)
        np.testing.assert_allclose(group.z[0].unflatten(-1, (2, 2))[:, position], book[nearest], atol=1e-12)
        for code in nearest.unique():  # at rest each code is the mean of its rows
            np.testing.assert_allclose(book[code], value[position][nearest == code].mean(0), atol=0.02)
    assert latent.spread.item() == pytest.approx(far.min(-1).values.square().mean().item() / 2, rel=0.05)


def test_dead_codes_start_again_and_are_reported():
    vae = model("quantised")
    latent = vae.latent
    with torch.no_grad():
        latent.usage.copy_(torch.tensor([0.997, 0.001, 0.001, 0.001]).double().expand(2, 4))
        latent.total.copy_(latent.total * 0 + 100.0)
    found = latent.figures()
    assert found["dead_codes"] == pytest.approx(0.75)
    assert found["perplexity"] == pytest.approx(np.exp(-(0.997 * np.log(0.997) + 0.003 * np.log(0.001))), rel=1e-6)
    with torch.no_grad():
        for _ in range(600):
            vae.train()(blocks(100, seed=5), noise(vae, 1, 100))
    assert latent.figures()["dead_codes"] == 0.0
    assert latent.figures()["perplexity"] > 2.0
    assert latent.codebook.abs().max() < 50.0


def test_experts_see_their_own_fields_and_none_leaves_the_standard_normal():
    for case in ("experts", "mixture of experts"):
        vae = model(case)
        rows = blocks()
        hidden = dict(rows)
        for name in ("number.gaussian", "category.categorical"):
            hidden[name] = Block(*(rows[name].arrays() | {"observed": rows[name].observed & False}).values())
        with torch.no_grad():
            none = vae.encode(hidden, noise(vae, 2000))[0]
            both = vae.encoder(rows)
            one = vae.encoder(rows | {"number.gaussian": hidden["number.gaussian"]})
        standard = (-0.5 * none.z.square() - 0.5 * np.log(2 * np.pi)).sum(-1)
        np.testing.assert_allclose(none.log_q, standard, rtol=1e-9)
        assert torch.equal(one[:, 1], both[:, 1])  # the expert of the category did not see the numbers go
        assert one[:, 0, -1].eq(0).all()
        assert both[..., -1].eq(1).all()


def test_a_product_of_experts_is_sharper_than_each():
    vae = model("experts")
    with torch.no_grad():
        h = vae.encoder(blocks())
        q = vae.latent(h, None, noise(vae, 1))[0].q
        each = [expert(h[:, i, :-1]).log_std for i, expert in enumerate(vae.latent.posterior)]
    precision = 1.0 + sum(torch.exp(-2 * log_std) for log_std in each)
    np.testing.assert_allclose(torch.exp(-2 * q.log_std), precision, rtol=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"structure": {"name": "ladder", "layers": 1}}, "layers of at least 2"),
        ({"structure": "ladder", "posterior": "iaf"}, "only 'diagonal' ones can; got 'iaf'"),
        ({"structure": "sparse", "prior": "flow"}, "structure 'sparse' has a posterior and a prior of its own"),
        (
            {"structure": "quantised", "posterior": "full"},
            "structure 'quantised' has a posterior and a prior of its own",
        ),
        ({"structure": {"name": "quantised", "dim": 3}}, "divides the latent width"),
        ({"structure": {"name": "categorical", "categories": 1}}, "categories of at least 2"),
        ({"structure": {"name": "sparse", "active": 1.0}}, "active between 0 and 1"),
        ({"structure": {"name": "experts", "rule": "sum"}}, "rule product or mixture"),
        ({"structure": {"name": "experts", "groups": {"x": ["a"]}}}, "every model field exactly once"),
        ({"structure": "experts", "posterior": "full"}, "combines 'diagonal' posteriors"),
        ({"structure": "experts", "prior": "vamp"}, "trunk of the encoder"),
        ({"structure": {"name": "flat", "layers": 2}}, "structure 'flat' has no option layers; it has: none"),
    ],
)
def test_combinations_that_make_no_sense_are_refused_by_name(options, message):
    with pytest.raises(ConfigError, match=message):
        build(SPECS, ModelConfig(latent=4, **options))
