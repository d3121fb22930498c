"""The marginal likelihood by annealing or enumeration, and what the gap between it and the ELBO is made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from vaekit.arrays import Blocks, Noise
from vaekit.nn.special import HALF_LOG_2PI
from vaekit.nn.vae import VAE
from vaekit.training.batches import draw_noise

__all__ = ["annealed_log_p", "exact_log_p", "gap_parts"]

_LEAPS, _TARGET, _FASTER, _SLOWER = 5, 0.65, 1.04, 0.96
_STEP = 0.3  # five of them are a quarter of the period of a standard normal: each move forgets where it began
_FLIPS = 4  # discrete choices that are tried anew at each temperature
_CODES, _CELLS = 4096, 2**20  # codes that are enumerated at most; pairs of code and row at a time
_RATE = 0.1  # of fitting a posterior to each row, in its own standard deviations

State = dict[str, Tensor]


def annealed_log_p(vae: VAE, blocks: Blocks, seed: int, *, steps: int = 200, chains: int = 8) -> Tensor:
    """Estimate log p(x) of each row by annealed importance sampling from q(z | x) to p(x, z), in nats.

    What moves is the noise e from which the walk of inference makes z: the path ``N(e) (p(x, z(e)) / q(z(e) | x))^t``
    is ``q^(1-t) p(x, z)^t``, told in coordinates in which q is standard, whatever the structure of z is and though q
    may know the density of its own draws only. Normal noise takes Hamiltonian moves; noise that decides between codes
    or spikes is drawn anew, place by place, and kept by Metropolis' rule. Step sizes are found in a first run and kept
    in a second, whose estimate of p(x) is therefore unbiased: its logarithm is a bound from below, on average.

    Args:
        vae: The model, in evaluation mode.
        blocks: Rows, B of them.
        seed: Seed of all draws.
        steps: Temperatures on the way.
        chains: Chains per row, averaged.

    Returns:
        Shape (B,).

    References:
        Neal, Annealed importance sampling, 2001. Wu et al., On the quantitative analysis of decoder-based generative
        models, 2017, section 3 (Hamiltonian moves, step sizes by acceptance).
    """
    weigh, like = _weigher(vae, blocks)
    spec, rng = vae.latent.noise, torch.Generator(device=like.device).manual_seed(seed)
    moving = [name for name, noise in spec.items() if noise.kind == "normal"]
    flipping = [name for name, noise in spec.items() if noise.kind != "normal"]
    places = torch.sigmoid(torch.linspace(-4.0, 4.0, steps + 1))
    at: list[float] = ((places - places[0]) / (places[-1] - places[0])).tolist()

    def walk(sizes: list[Tensor] | None) -> tuple[Tensor, list[Tensor]]:
        state = _noise(vae, rng, chains, len(like), like)
        weight = torch.zeros((chains, len(like)), dtype=like.dtype, device=like.device)
        size, used = torch.full_like(weight, _STEP), list[Tensor]()
        for index in range(1, steps + 1):
            with torch.no_grad():
                weight = weight + (at[index] - at[index - 1]) * weigh(state)
            if moving:
                step = size if sizes is None else sizes[index - 1]
                used.append(step)
                state, taken = _leap(weigh, state, moving, step, at[index], rng)
                size = size * torch.where(taken.mean(0, keepdim=True) > _TARGET, _FASTER, _SLOWER)
                size = size.clamp(max=_STEP)
            if flipping:
                with torch.no_grad():
                    state = _flip(weigh, state, {name: spec[name] for name in flipping}, at[index], rng)
        return weight, used

    sizes = walk(None)[1] if moving else None
    return torch.logsumexp(walk(sizes)[0], 0) - math.log(chains)


@torch.no_grad()
def exact_log_p(vae: VAE, blocks: Blocks) -> Tensor | None:
    """Log p(x) of each row as the sum over all codes that z can be, ``log Σ_z p(x | z) p(z)``, in nats.

    Args:
        vae: The model, in evaluation mode.
        blocks: Rows, B of them.

    Returns:
        Shape (B,); None where z is no code, or there are more than 4096.
    """
    condition, rows = vae.conditioning(blocks), len(next(iter(blocks.values())))
    codes = vae.latent.codes_of(condition, rows, _CODES)
    if codes is None:
        return None
    z, log_p = codes
    step, parts = max(1, _CELLS // rows), []
    for start in range(0, len(log_p), step):
        some = slice(start, start + step)
        density = vae.log_density(vae.decode({name: value[some] for name, value in z.items()}, blocks), blocks)
        parts.append(torch.stack([value.sum(-1) for value in density.values()]).sum(0) + log_p[some])
    return torch.logsumexp(torch.cat(parts), 0)


def _weigher(vae: VAE, blocks: Blocks) -> tuple[Callable[[Mapping[str, Tensor]], Tensor], Tensor]:
    """What makes log p(x, z) - log q(z | x), (K, B), of the noise of z; and the rows' hidden vectors."""
    with torch.no_grad():
        h, condition = vae.encoder(blocks), vae.conditioning(blocks)

    def weigh(noise: Mapping[str, Tensor]) -> Tensor:
        groups = vae.latent(h, condition, noise)
        density = vae.log_density(vae.decode({group.name: group.z for group in groups}, blocks), blocks)
        found: Tensor = torch.stack([value.sum(-1) for value in density.values()]).sum(0)
        return found + torch.stack([group.log_p - group.log_q for group in groups]).sum(0)

    return weigh, h


def _leap(
    weigh: Callable[[Mapping[str, Tensor]], Tensor],
    state: State,
    moving: list[str],
    size: Tensor,
    t: float,
    rng: torch.Generator,
) -> tuple[State, Tensor]:
    """One Hamiltonian move of the normal noise at a temperature: the new state, and whether it was taken (K, B)."""
    widths = [state[name][0, 0].numel() for name in moving]

    def slope(e: Tensor) -> tuple[Tensor, Tensor]:
        e = e.detach().requires_grad_()
        value = t * weigh(state | _apart(e)) - 0.5 * e.square().sum(-1)
        return value.detach(), torch.autograd.grad(value.sum(), e)[0]

    def _apart(e: Tensor) -> State:
        parts = e.split(widths, -1)
        return {name: part.reshape(state[name].shape) for name, part in zip(moving, parts, strict=True)}

    start = torch.cat([state[name].flatten(2) for name in moving], -1)
    momentum = torch.randn(start.shape, generator=rng, dtype=start.dtype, device=start.device)
    before, gradient = slope(start)
    eps, moved, speed, after = size[..., None], start, momentum, before
    for _ in range(_LEAPS):
        speed = speed + 0.5 * eps * gradient
        moved = moved + eps * speed
        after, gradient = slope(moved)
        speed = speed + 0.5 * eps * gradient
    change = after - before + 0.5 * (momentum.square() - speed.square()).sum(-1)
    taken = _taken(change, rng)
    return state | _apart(torch.where(taken[..., None], moved, start)), taken.to(start.dtype)


def _flip(
    weigh: Callable[[Mapping[str, Tensor]], Tensor],
    state: State,
    spec: Mapping[str, Noise],
    t: float,
    rng: torch.Generator,
) -> State:
    """Some places of noise that decides between codes or spikes drawn anew, and kept by Metropolis' rule."""
    weight = weigh(state)
    for name, noise in spec.items():
        alone = (
            noise.kind == "uniform"
        )  # each number decides for itself; of Gumbel noise the last axis decides together
        places = math.prod(noise.shape if alone else noise.shape[:-1])
        for _ in range(min(_FLIPS, places)):
            old, lead = state[name], weight.shape
            fresh = draw_noise({name: noise}, rng, *lead)[name].to(old.dtype)
            chosen = torch.randint(places, lead, generator=rng, device=old.device)
            mask = torch.nn.functional.one_hot(chosen, places).to(torch.bool)
            mask = mask.reshape(*lead, *(noise.shape if alone else (*noise.shape[:-1], 1)))
            tried = torch.where(mask, fresh, old)
            found = weigh(state | {name: tried})
            taken = _taken(t * (found - weight), rng)
            weight = torch.where(taken, found, weight)
            state = state | {name: torch.where(taken.reshape(*lead, *[1] * (old.dim() - 2)), tried, old)}
    return state


def _taken(change: Tensor, rng: torch.Generator) -> Tensor:
    """Whether moves are taken that change the log-density by so much, (K, B)."""
    uniform = torch.rand(change.shape, generator=rng, dtype=change.dtype, device=change.device)
    return torch.isfinite(change) & (uniform.log() < change)


def _noise(vae: VAE, rng: torch.Generator, samples: int, rows: int, like: Tensor) -> State:
    drawn = draw_noise(vae.latent.noise, rng, samples, rows)
    return {name: value.to(like.dtype) for name, value in drawn.items()}


def gap_parts(
    vae: VAE, blocks: Blocks, seed: int, *, steps: int = 200, samples: int = 64, temperatures: int = 200
) -> dict[str, Any]:
    """The gap between log p(x) and the ELBO, and what it is made of, in nats per row.

    - ``amortisation_gap``: what a posterior that is fitted to each row alone gains over the encoder's. It is a diagonal
      normal in the coordinates in which the encoder's is standard: of a diagonal posterior every other one, of others
      those that lie around it;
    - ``approximation_gap``: what is left to log p(x): the true posterior is none of these.

    Args:
        vae: The model, in evaluation mode.
        blocks: Rows.
        seed: Seed of all draws.
        steps: Steps by which the posterior of each row is fitted.
        samples: Draws of the bounds.
        temperatures: Temperatures of the annealing.

    Returns:
        ``log_p`` and ``log_p_by``: ``annealing``, or ``enumeration`` where z is one of few codes; ``elbo``, ``gap``;
        ``elbo_per_row`` (of the fitted posteriors) and the two gaps, None where inference chooses between codes,
        spikes or experts and no normal distribution can be moved.

    References:
        Cremer, Li & Duvenaud, Inference suboptimality in variational autoencoders, 2018, section 3.
    """
    exact = exact_log_p(vae, blocks)
    log_p = annealed_log_p(vae, blocks, seed, steps=temperatures) if exact is None else exact
    weigh, like = _weigher(vae, blocks)
    rng = torch.Generator(device=like.device).manual_seed(seed + 1)
    with torch.no_grad():
        elbo = weigh(_noise(vae, rng, samples, len(like), like)).mean(0)
    fitted = _fitted(vae, weigh, like, rng, steps, samples)
    means = {"log_p": log_p, "elbo": elbo} | ({} if fitted is None else {"elbo_per_row": fitted})
    told: dict[str, Any] = {name: float(value.double().mean()) for name, value in means.items()}
    told |= {"log_p_by": "annealing" if exact is None else "enumeration", "gap": told["log_p"] - told["elbo"]}
    if fitted is None:
        return told | dict.fromkeys(("elbo_per_row", "amortisation_gap", "approximation_gap"))
    return told | {
        "amortisation_gap": told["elbo_per_row"] - told["elbo"],
        "approximation_gap": told["log_p"] - told["elbo_per_row"],
    }


def _fitted(
    vae: VAE,
    weigh: Callable[[Mapping[str, Tensor]], Tensor],
    like: Tensor,
    rng: torch.Generator,
    steps: int,
    samples: int,
) -> Tensor | None:
    """The ELBO of a normal distribution of the noise that is fitted to each row, (B,); None if not all is normal."""
    if any(noise.kind != "normal" for noise in vae.latent.noise.values()):
        return None
    shapes = {name: (len(like), *noise.shape) for name, noise in vae.latent.noise.items()}
    mean = {n: torch.zeros(s, dtype=like.dtype, device=like.device, requires_grad=True) for n, s in shapes.items()}
    scale = {n: torch.zeros(s, dtype=like.dtype, device=like.device, requires_grad=True) for n, s in shapes.items()}
    optimizer = torch.optim.Adam([*mean.values(), *scale.values()], lr=_RATE)

    def bound(count: int) -> Tensor:
        noise, rest = {}, torch.zeros((), dtype=like.dtype, device=like.device)
        for name, shape in shapes.items():
            raw = torch.randn((count, *shape), generator=rng, dtype=like.dtype, device=like.device)
            noise[name] = mean[name] + torch.exp(scale[name]) * raw
            base = -0.5 * noise[name].square() - HALF_LOG_2PI
            own = -0.5 * raw.square() - HALF_LOG_2PI - scale[name]
            rest = rest + (base - own).flatten(2).sum(-1)
        return (weigh(noise) + rest).mean(0)

    for index in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = _RATE * 0.5 * (1.0 + math.cos(math.pi * index / steps))
        optimizer.zero_grad()
        (-bound(8).sum()).backward()
        optimizer.step()
    with torch.no_grad():
        return bound(samples)
