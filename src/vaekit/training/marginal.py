"""The marginal likelihood by annealing, and what the gap between it and the ELBO is made of."""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor

from vaekit.arrays import Blocks
from vaekit.errors import ConfigError
from vaekit.nn.latents.experts import Experts
from vaekit.nn.latents.flat import Flat
from vaekit.nn.posteriors import DiagonalNormal
from vaekit.nn.priors import Prior
from vaekit.nn.vae import VAE

__all__ = ["annealed_log_p", "gap_parts"]

_LEAPS, _TARGET, _FASTER, _SLOWER = 5, 0.65, 1.02, 0.98


def annealed_log_p(vae: VAE, blocks: Blocks, seed: int, *, steps: int = 200, chains: int = 8) -> Tensor:
    """Estimate log p(x) of each row by annealed importance sampling from q(z | x) to p(x, z), in nats.

    The path is ``q^(1-t) p(x, z)^t``; moves between are Hamiltonian. Step sizes are found in a first run and kept in a
    second, whose estimate of p(x) is therefore unbiased: its logarithm is a bound from below, on average.

    Args:
        vae: The model, in evaluation mode.
        blocks: Rows, B of them.
        seed: Seed of all draws.
        steps: Temperatures on the way.
        chains: Chains per row, averaged.

    Returns:
        Shape (B,).

    Raises:
        ConfigError: If z is no single continuous group whose posterior knows the density of any z.

    References:
        Neal, Annealed importance sampling, 2001. Wu et al., On the quantitative analysis of decoder-based generative
        models, 2017, section 3 (Hamiltonian moves, step sizes by acceptance).
    """
    with torch.no_grad():
        h, condition = vae.encoder(blocks), vae.conditioning(blocks)
    if not isinstance(vae.latent, Flat | Experts):
        raise ConfigError(
            f"annealing moves one continuous group of z; structure {type(vae.latent).__name__} has another kind of code"
        )
    rng = torch.Generator(device=h.device).manual_seed(seed)
    shape = (chains, len(h), next(iter(vae.latent.groups.values())))

    def normal(*size: int) -> Tensor:
        return torch.randn(size, generator=rng, dtype=h.dtype, device=h.device)

    def ends(z: Tensor) -> tuple[Tensor, Tensor]:
        """Both ends of the path, log q(z | x) and log p(x, z), (K, B)."""
        joint = _log_joint(vae, blocks, condition, z)
        return vae.latent.log_q(h, condition, {"z": z}), joint

    def slope(z: Tensor, t: float) -> tuple[Tensor, Tensor]:
        """Log-density on the path and its gradient."""
        z = z.detach().requires_grad_()
        first, last = ends(z)
        value = (1.0 - t) * first + t * last
        return value.detach(), torch.autograd.grad(value.sum(), z)[0]

    def walk(sizes: list[Tensor] | None) -> tuple[Tensor, list[Tensor]]:
        with torch.no_grad():
            start = vae.latent(h, condition, _noise(vae, rng, chains, len(h), h))[0].z
        z, weight = start, torch.zeros(shape[:2], dtype=h.dtype, device=h.device)
        size = torch.full(shape[:2], 0.1, dtype=h.dtype, device=h.device)
        used: list[Tensor] = []
        places = torch.sigmoid(torch.linspace(-4.0, 4.0, steps + 1))
        at: list[float] = ((places - places[0]) / (places[-1] - places[0])).tolist()
        for index in range(1, steps + 1):
            with torch.no_grad():
                first, last = ends(z)
            weight = weight + (at[index] - at[index - 1]) * (last - first)
            step = size if sizes is None else sizes[index - 1]
            used.append(step)
            z, taken = _leap(z, normal(*shape), step, lambda z, t=at[index]: slope(z, t), rng)
            size = size * torch.where(taken.mean(0, keepdim=True) > _TARGET, _FASTER, _SLOWER)
        return weight, used

    _, sizes = walk(None)
    weight, _ = walk(sizes)
    return torch.logsumexp(weight, 0) - math.log(chains)


def _leap(z: Tensor, momentum: Tensor, size: Tensor, slope: Any, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """One Hamiltonian move: the new z, and whether it was taken (K, B)."""
    before, gradient = slope(z)
    eps, moved, speed = size[..., None], z, momentum
    for index in range(_LEAPS):
        speed = speed + 0.5 * eps * gradient
        moved = moved + eps * speed
        after, gradient = slope(moved)
        speed = speed + 0.5 * eps * gradient
        if index == _LEAPS - 1:
            change = after - before + 0.5 * (momentum.square() - speed.square()).sum(-1)
    uniform = torch.rand(change.shape, generator=rng, dtype=change.dtype, device=change.device)
    taken = torch.isfinite(change) & (uniform.log() < change)
    return torch.where(taken[..., None], moved, z), taken.to(z.dtype)


def _log_joint(vae: VAE, blocks: Blocks, condition: Tensor | None, z: Tensor) -> Tensor:
    """The log-density of x and z together, shape (K, B)."""
    density = vae.log_density(vae.decode({"z": z}, blocks), blocks)
    seen: Tensor = torch.stack([value.sum(-1) for value in density.values()]).sum(0)
    return seen + cast(Prior, vae.latent.prior).log_prob(z, condition)


def _noise(vae: VAE, rng: torch.Generator, samples: int, rows: int, like: Tensor) -> dict[str, Tensor]:
    from vaekit.training.batches import draw_noise

    return {name: value.to(like.dtype) for name, value in draw_noise(vae.latent.noise, rng, samples, rows).items()}


def gap_parts(
    vae: VAE, blocks: Blocks, seed: int, *, steps: int = 200, samples: int = 64, temperatures: int = 200
) -> dict[str, float]:
    """The gap between log p(x) and the ELBO, and what it is made of, in nats per row.

    - ``amortisation_gap``: what a diagonal normal that is fitted to each row alone gains over the encoder's posterior;
    - ``approximation_gap``: what is left to log p(x): the true posterior is no diagonal normal.

    Args:
        vae: The model, in evaluation mode.
        blocks: Rows.
        seed: Seed of all draws.
        steps: Steps by which the posterior of each row is fitted.
        samples: Draws of the bounds.
        temperatures: Temperatures of the annealing.

    Returns:
        ``log_p`` (annealed), ``elbo``, ``elbo_per_row`` (of the fitted posteriors) and the two gaps.
        A posterior that is no diagonal normal can be
        better than the fitted one; its amortisation gap is then below zero.

    Raises:
        ConfigError: If z is no single continuous group whose posterior knows the density of any z.

    References:
        Cremer, Li & Duvenaud, Inference suboptimality in variational autoencoders, 2018, section 3.
    """
    log_p = annealed_log_p(vae, blocks, seed, steps=temperatures)
    rng = torch.Generator(device=log_p.device).manual_seed(seed + 1)
    with torch.no_grad():
        condition = vae.conditioning(blocks)
        like = vae.encoder(blocks)
        passed = vae(blocks, _noise(vae, rng, samples, len(log_p), like))
        weight = passed.terms.log_weight()
        drawn = next(iter(passed.groups.values())).z
        mean, spread = drawn.mean(0), drawn.std(0)
    mean, log_std = mean.clone().requires_grad_(), torch.log(spread.clamp(min=1e-3)).requires_grad_()
    optimizer = torch.optim.Adam([mean, log_std], lr=0.02)

    def bound(count: int) -> Tensor:
        noise = torch.randn((count, *mean.shape), generator=rng, dtype=mean.dtype, device=mean.device)
        z, log_q = DiagonalNormal(mean, log_std).rsample(noise)
        return (_log_joint(vae, blocks, condition, z) - log_q).mean(0)

    for index in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 0.02 * 0.5 * (1.0 + math.cos(math.pi * index / steps))
        optimizer.zero_grad()
        (-bound(8).sum()).backward()
        optimizer.step()
    with torch.no_grad():
        fitted = bound(samples)
    figures = {"log_p": log_p, "elbo": weight.mean(0), "elbo_per_row": fitted}
    told = {name: float(value.double().mean()) for name, value in figures.items()}
    return told | {
        "amortisation_gap": told["elbo_per_row"] - told["elbo"],
        "approximation_gap": told["log_p"] - told["elbo_per_row"],
    }
