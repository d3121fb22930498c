"""What is checked of each kind of part."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from vaekit.arrays import BlockSpec, draw
from vaekit.errors import ConfigError
from vaekit.nn.build import ModelConfig, build
from vaekit.nn.likelihoods import Likelihood
from vaekit.nn.parts import Around, Part, make
from vaekit.nn.posteriors import POSTERIORS
from vaekit.nn.priors import PRIORS
from vaekit.objectives import ELBO, Objective
from vaekit.testing.rows import SPECS, rows_of
from vaekit.testing.whole import whole_model

__all__ = [
    "CHECKS",
    "check",
    "check_likelihood",
    "check_objective",
    "check_posterior",
    "check_prior",
    "check_structure",
]

_WIDTH, _SIZE, _ROWS = 8, 2, 5
_REACH, _POINTS = 9.0, 400


def check(kind: str, part: Part, specs: Sequence[BlockSpec] | None = None) -> None:
    """Check a part against the contract of its kind.

    Args:
        kind: ``encoder``, ``decoder``, ``structure``, ``posterior``, ``prior``, ``images``, ``likelihood`` or
            ``objective``.
        part: The part as a configuration names it: ``"package.module:Class"``, or a mapping with its name and options.
        specs: Blocks to build models over; numbers, a count, a category and a condition by default, a small image, a
            category and a condition for ``images``. A likelihood is checked on the first of them that is modelled.

    Raises:
        ConfigError: There is no such kind or part.
        AssertionError: The part does not keep its contract.

    Example:
        >>> check("objective", "vaekit.objectives.mmd:MMD")
    """
    if kind not in CHECKS:
        raise ConfigError(f"unknown kind of part {kind!r}; known: {', '.join(CHECKS)}")
    CHECKS[kind](part, tuple(specs or SPECS[kind if kind == "images" else "rows"]))


def check_prior(part: Part, specs: Sequence[BlockSpec]) -> None:
    """It integrates to one, its draws follow it, its KL agrees with Monte Carlo, and a model with it works."""
    posterior = make("posterior", "diagonal", POSTERIORS, _WIDTH, _SIZE).double()
    torch.manual_seed(0)
    prior = (
        make("prior", part, PRIORS, _SIZE, Around(_WIDTH, _WIDTH, lambda h: torch.tanh(h)), posterior).double().eval()
    )
    condition = torch.linspace(-1.0, 1.0, _WIDTH, dtype=torch.float64)[None]
    axis = (torch.arange(_POINTS, dtype=torch.float64) + 0.5) / _POINTS * 2 * _REACH - _REACH
    grid, cell = torch.cartesian_prod(axis, axis)[:, None], (2 * _REACH / _POINTS) ** 2
    noise = {name: torch.from_numpy(v).double() for name, v in draw(prior.noise, 0, 20_000, 1).items()}
    with torch.no_grad():
        log_p = prior.log_prob(grid, condition)
        assert log_p.shape == (len(grid), 1), f"log_prob gives (K, B) for z (K, B, L); got {tuple(log_p.shape)}"
        total = float(log_p.exp().sum() * cell)
        assert abs(total - 1.0) < 0.01, f"the density integrates to {total:.4f} over a wide plane, not to 1"
        z = prior.sample(noise, condition)
        assert z.shape == (20_000, 1, _SIZE), f"sample gives (K, B, L); got {tuple(z.shape)}"
        near = torch.exp(-0.5 * (grid - 0.5).square().sum(-1))
        wanted, found = (near * log_p.exp()).sum() * cell, torch.exp(-0.5 * (z - 0.5).square().sum(-1))
        _close("E[exp(-|z - 1/2|²/2)] over draws", found, float(wanted), "its integral under the density")
        q = posterior(torch.randn(1, _WIDTH, dtype=torch.float64))
        kl = prior.kl(q, condition)
        if kl is not None:
            drawn, log_q = q.rsample(torch.randn(50_000, 1, _SIZE, dtype=torch.float64))
            _close("E[log q - log p]", log_q - prior.log_prob(drawn, condition), float(kl.sum()), "the closed form")
    whole_model(specs, ModelConfig(width=_WIDTH, depth=1, latent=_SIZE, prior=part))


def check_posterior(part: Part, specs: Sequence[BlockSpec]) -> None:
    """The log-density of a draw follows from how the draw depends on its noise, and a model with it works."""
    torch.manual_seed(0)
    posterior = make("posterior", part, POSTERIORS, _WIDTH, _SIZE).double().eval()
    h = torch.randn(1, _WIDTH, dtype=torch.float64)
    q = posterior(h)
    shape = posterior.noise.shape
    assert shape == (_SIZE,) and posterior.noise.kind == "normal", (  # noqa: PT018 - one thing is said of both
        f"a posterior of width {_SIZE} declares normal noise of shape {(_SIZE,)}; got {posterior.noise}"
    )
    noise = torch.randn(1, 1, _SIZE, dtype=torch.float64)
    z, log_q = q.rsample(noise)
    assert z.shape == noise.shape and log_q.shape == (1, 1), (  # noqa: PT018
        f"rsample gives z (K, B, L) and its log-density (K, B); got {tuple(z.shape)} and {tuple(log_q.shape)}"
    )
    jacobian = torch.autograd.functional.jacobian(lambda e: q.rsample(e)[0], noise).reshape(_SIZE, _SIZE)
    base = (-0.5 * noise.square() - 0.5 * math.log(2 * math.pi)).sum()
    expected = float(base - torch.linalg.slogdet(jacobian)[1])
    gap = abs(float(log_q.detach()) - expected)
    assert gap < 1e-6, f"log q of a draw is {float(log_q):.6f}, and its noise and Jacobian make it {expected:.6f}"
    try:
        again = q.log_prob(z)
    except ConfigError:
        again = log_q  # it knows its own draws only, and says so
    _same("log_prob of its own draw", again, log_q)
    kl = q.kl_to()
    if kl is not None:
        drawn, log_q = q.rsample(torch.randn(50_000, 1, _SIZE, dtype=torch.float64))
        log_p = (-0.5 * drawn.square() - 0.5 * math.log(2 * math.pi)).sum(-1)
        _close("E[log q - log p] for p = N(0, I)", (log_q - log_p).detach(), float(kl.detach().sum()), "kl_to()")
    whole_model(specs, ModelConfig(width=_WIDTH, depth=1, latent=_SIZE, posterior=part))


def check_structure(part: Part, specs: Sequence[BlockSpec]) -> None:
    """Draws weighed by p(z) / q(z | x) are draws from the prior, closed KLs agree, and a model with it works."""
    config = ModelConfig(width=_WIDTH, depth=1, latent=4, structure=part)
    vae = build(specs, config, seed=1).double().eval()
    rows = rows_of(specs, _ROWS)
    with torch.no_grad():
        for parameter in vae.latent.parameters():
            parameter.mul_(0.3)  # posterior and prior near each other, so that few draws tell
        groups = vae.encode(rows, _noise(vae.latent.noise, 40_000))
        prior = vae.prior(_noise(vae.latent.prior_noise, 40_000, seed=1), rows)
        assert [group.name for group in groups] == list(vae.latent.groups), (
            f"forward gives the groups that `groups` declares; got {[group.name for group in groups]}"
        )
        weight = torch.exp(torch.stack([group.log_p - group.log_q for group in groups]).sum(0))
        for name, value in (("1", torch.ones_like), ("exp(-|z|²)", _near)):
            weighed = weight * _product(value, [group.z for group in groups])
            plain = _product(value, [prior[group.name] for group in groups])
            error = 5 * torch.sqrt((weighed.var(0) + plain.var(0)) / len(plain)) + 1e-4
            gap = (weighed.mean(0) - plain.mean(0)).abs()
            assert bool((gap <= error).all()), (
                f"E_q[f(z) p(z) / q(z | x)] is not E_p[f(z)] for f(z) = {name}: {weighed.mean(0)} and {plain.mean(0)}"
            )
        for group in groups:
            if group.kl is not None:
                each = group.log_q - group.log_p
                for row in range(_ROWS):
                    told = f"the closed KL of row {row}"
                    _close(f"E[log q - log p] of group {group.name!r}", each[:, row], float(group.kl[row].sum()), told)
    whole_model(specs, config)


def check_likelihood(part: Part, specs: Sequence[BlockSpec]) -> None:
    """Its parameters are those of the family, it adds up to one, hidden cells are finite, and a model with it works."""
    spec = next(spec for spec in specs if spec.role == "model")
    torch.manual_seed(0)
    likelihood: Likelihood = make("likelihood", part, {}, spec, _WIDTH).double().eval()
    h = torch.randn(1, 1, _WIDTH, dtype=torch.float64)
    params = likelihood(h)
    assert tuple(params) == likelihood.family.params, (
        f"forward gives the parameters of its family, {likelihood.family.params}; got {tuple(params)}"
    )
    nothing = likelihood.log_prob(params, torch.zeros(1, *spec.shape, dtype=torch.float64))
    assert bool(torch.isfinite(nothing).all()), "log_prob has to be finite at 0, which hidden cells hold"
    for name, support, cell in _supports(spec):
        values = support.reshape(-1, *[1] * len(spec.shape)).expand(-1, *spec.shape)
        log_p = likelihood.log_prob(params, values, torch.zeros_like(values) if spec.kind == "number" else None)[0]
        constant = torch.from_numpy(likelihood.family.constant(values.numpy()))
        total = (torch.exp(log_p + constant).sum(0) * cell).detach()
        assert bool((total - 1.0).abs().max() < 0.01), f"the {name} adds up to {total.flatten().tolist()}, not to 1"
    whole_model(specs, ModelConfig(width=_WIDTH, depth=1, latent=_SIZE, likelihoods={spec.name: part}))


def check_objective(part: Part, specs: Sequence[BlockSpec]) -> None:
    """Its terms are finite, one value per row, they move the model, and it adds up with a bound."""
    vae = build(specs, ModelConfig(width=_WIDTH, depth=1, latent=_SIZE), seed=1).train()
    objective: Objective = make("objective", part, {})
    rows = rows_of(specs, _ROWS, torch.float32)
    noise = _noise(vae.latent.noise, objective.samples, torch.float32)
    prior = _noise(vae.latent.prior_noise, 1, torch.float32) if objective.prior_draws else None
    passed = vae(rows, noise, prior, objective.prior_rows)
    objective.prepare(vae, passed, 100, 0)
    for made in (objective, objective + ELBO()) if objective.addable else (objective,):
        terms = made(passed)
        for name, term in terms.items():
            assert term.shape == (_ROWS,), f"term {name!r} has one value per row, (B,); got {tuple(term.shape)}"
            assert bool(torch.isfinite(term).all()), f"term {name!r} is not finite"
    torch.stack(list(objective(passed).values())).sum(0).mean().backward()
    moved = [p for p in vae.parameters() if p.grad is not None and bool(p.grad.abs().sum() > 0)]
    assert moved, "no parameter of the model has a gradient from this objective"
    for name in objective.weights:
        before = objective.weight(name)
        objective.set_weight(name, before + 1.0)
        assert objective.weight(name) == before + 1.0, f"weight {name!r} cannot be driven by a schedule"


def _network(kind: str) -> Callable[[Part, Sequence[BlockSpec]], None]:
    def checked(part: Part, specs: Sequence[BlockSpec]) -> None:
        """A model with it has the right shapes, learns, gives the same answer twice, and exports."""
        changes: dict[str, Any] = {kind: part}
        whole_model(specs, ModelConfig(width=_WIDTH, depth=1, latent=_SIZE, **changes), moved=kind)

    return checked


CHECKS: dict[str, Callable[[Part, Sequence[BlockSpec]], None]] = {
    "encoder": _network("encoder"),
    "decoder": _network("decoder"),
    "structure": check_structure,
    "posterior": check_posterior,
    "prior": check_prior,
    "images": _network("images"),
    "likelihood": check_likelihood,
    "objective": check_objective,
}


def _supports(spec: BlockSpec) -> list[tuple[str, Tensor, float]]:
    """Points whose masses, or densities, add up to one: name, points, and width of a cell."""
    if spec.kind == "number":
        line = torch.linspace(-60.0, 60.0, 120_001, dtype=torch.float64)
        return [("density", line, 120.0 / 120_000)]
    if spec.kind == "count":
        return [("mass", torch.arange(5_000, dtype=torch.float64), 1.0)]
    if spec.likelihood == "bernoulli":
        return [("mass", torch.arange(2), 1.0)]
    if spec.kind == "category" and len(set(spec.levels)) == 1:
        return [("mass", torch.arange(spec.levels[0]), 1.0)]
    return []  # of pixels and levels that differ in number, the whole model is checked alone


def _noise(
    spec: Mapping[str, Any], samples: int, dtype: torch.dtype = torch.float64, seed: int = 0
) -> dict[str, Tensor]:
    return {name: torch.from_numpy(v).to(dtype) for name, v in draw(spec, seed, samples, _ROWS).items()}


def _near(z: Tensor) -> Tensor:
    return torch.exp(-z.square().clamp(max=50.0))


def _product(value: Callable[[Tensor], Tensor], groups: Sequence[Tensor]) -> Tensor:
    return torch.stack([value(z).prod(-1) for z in groups]).prod(0)


def _close(what: str, draws: Tensor, wanted: float, told: str) -> None:
    """The mean of draws is what is wanted, within five standard errors."""
    draws = draws.flatten()
    error = 5.0 * float(draws.std()) / math.sqrt(len(draws)) + 1e-4
    found = float(draws.mean())
    assert abs(found - wanted) <= error, f"{what} is {found:.4f} ± {error:.4f}, and {told} says {wanted:.4f}"


def _same(what: str, found: Tensor, wanted: Tensor) -> None:
    gap = float((found - wanted).abs().max().detach())
    assert gap < 1e-6, f"{what} differs by {gap:.2g}"
