"""A look at the codes of some rows, which leaves no trace in the model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from vaekit.arrays import Array, Blocks, draw, middle
from vaekit.nn.vae import VAE

__all__ = ["posteriors", "untouched"]

_DRAWS = 64


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode, and every part of it back into its own mode afterwards."""
    modes = {part: part.training for part in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for part, training in modes.items():
            part.training = training


@torch.inference_mode()
def posteriors(vae: VAE, blocks: Blocks, seed: int) -> tuple[dict[str, Array], dict[str, Array]]:
    """Centres and standard deviations of the posteriors of B rows.

    Args:
        vae: The model.
        blocks: The rows, as tensors.
        seed: Seed of the draws from which the deviation is taken where the posterior has no formula for it.

    Returns:
        Group to centres, and group to deviations, each of shape (B, L).
    """
    with untouched(vae):
        h, condition = vae.encoder(blocks), vae.conditioning(blocks)

        def walk(noise: dict[str, Any]) -> list[Any]:
            return vae.latent(h, condition, {name: torch.from_numpy(value).to(h) for name, value in noise.items()})

        centres = walk(middle(vae.latent.noise, 1, len(h)))
        known = {group.name: getattr(group.q, "log_std", None) for group in centres}
        drawn = {}
        if not all(isinstance(value, Tensor) for value in known.values()):
            drawn = {one.name: one.z.std(0) for one in walk(draw(vae.latent.noise, seed, _DRAWS, len(h)))}
    scales = {
        name: torch.exp(value).expand_as(group.z[0]) if isinstance(value, Tensor) else drawn[name]
        for group in centres
        for name, value in ((group.name, known[group.name]),)
    }
    return {one.name: one.z[0].cpu().numpy() for one in centres}, {n: v.cpu().numpy() for n, v in scales.items()}
