"""Pruning: whole hidden units go, so that files and matrices get smaller, and what is left is trained on shortly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
import torch
from torch import Tensor

from vaekit.arrays import Block, BlockSpec
from vaekit.errors import ConfigError
from vaekit.nn.build import ModelConfig, build
from vaekit.nn.parts import named
from vaekit.nn.vae import VAE
from vaekit.objectives import ELBO
from vaekit.training.batches import Resident
from vaekit.training.config import TrainConfig
from vaekit.training.loop import Loop
from vaekit.training.stages import Stage

__all__ = ["prune", "retrain"]

_STEPS = 2_000  # of training after pruning, at most
_RATE = 1e-3
_ENCODER = ("encoder.", "latent.")  # what lies on the hidden vector of the encoder; all else lies on the decoder's

Encoded = Mapping[str, Block]


def prune(
    vae: VAE, specs: Sequence[BlockSpec], config: ModelConfig, share: float, rows: Encoded | None
) -> tuple[VAE, ModelConfig]:
    """A smaller model of the hidden units that matter most, as they were.

    A unit of the hidden vector of the encoder, or of the decoder, goes with all its weights. It matters by the norm of
    its weights, times its standard deviation over rows where there are some: one that never changes can be spared.

    Args:
        vae: The model.
        specs: Its blocks.
        config: Its architecture.
        share: Share of the hidden units that go, in (0, 1).
        rows: Encoded rows, if there are some.

    Returns:
        The smaller model, and its architecture: the same with a smaller width.

    Raises:
        ConfigError: If its parts have hidden vectors of other kinds than those of the plain VAE.

    References:
        Li et al., Pruning Filters for Efficient ConvNets, 2017, section 3.
    """
    parts = {"structure": "flat", "posterior": "diagonal", "prior": "standard"}
    if others := [f"{kind} {named(getattr(config, kind))!r}" for kind in parts if getattr(config, kind) != parts[kind]]:
        raise ConfigError(f"pruning knows the hidden units of the plain VAE; this model has {', '.join(others)}")
    width = max(1, round(config.width * (1.0 - share)))
    smaller = msgspec.structs.replace(config, width=width)
    small = build(specs, smaller)
    state, target = vae.state_dict(), small.state_dict()
    kept = {}
    for side, spread in zip((True, False), _spreads(vae, rows), strict=True):
        importance = _weight(state, target, side, config.width) * spread
        kept[side] = importance.topk(width).indices.sort().values
    small.load_state_dict({name: _cut(v, target[name], kept[name.startswith(_ENCODER)]) for name, v in state.items()})
    return small.eval(), smaller


def retrain(vae: VAE, train: Encoded, valid: Encoded, config: TrainConfig, seed: int) -> None:
    """Train a pruned model on, at a low rate and for a few thousand steps at most, and keep its best weights.

    Args:
        vae: The model; it is changed.
        train: Encoded rows to train on.
        valid: Encoded rows for early stopping.
        config: How the model was trained before.
        seed: Seed of data order, noise and hidden cells.
    """
    device = next(vae.parameters()).device
    seen = Resident(train, device)
    sized = config.sized(len(seen))
    steps = -(-len(seen) // (sized.batch_size or 1))
    epochs = max(1, min(sized.epochs or 1, _STEPS // steps))
    settings = msgspec.structs.replace(sized, epochs=epochs, learning_rate=_RATE, max_seconds=None, compile=False)
    objective = ELBO(beta=settings.beta, free_bits=settings.free_bits, samples=settings.samples)
    Loop(vae, seen, Resident(valid, device), settings, seed).run([Stage("pruned", objective, epochs)])


def _spreads(vae: VAE, rows: Encoded | None) -> tuple[Tensor | float, Tensor | float]:
    """Standard deviation over rows of each hidden unit of encoder and decoder; 1 without rows."""
    if rows is None:
        return 1.0, 1.0
    found: list[Tensor] = []
    hooks = [
        part.register_forward_hook(lambda _module, _inputs, out: found.append(out.flatten(0, -2).std(0)))
        for part in (vae.encoder, vae.decoder)
    ]
    count = len(next(iter(rows.values())))
    blocks = Resident(rows, next(vae.parameters()).device).take(torch.arange(count))
    noise = {name: torch.zeros(1, count, *one.shape) for name, one in vae.latent.noise.items()}
    with torch.no_grad():
        vae.eval()(blocks, noise)
    for hook in hooks:
        hook.remove()
    return found[0], found[1]


def _weight(state: Mapping[str, Tensor], target: Mapping[str, Tensor], side: bool, width: int) -> Tensor:
    """Norm of all weights of each hidden unit of one side, shape (H,)."""
    squares = torch.zeros(width)
    for name, value in state.items():
        if name.startswith(_ENCODER) == side and value.dim() == 2:
            for axis in _axes(value, target[name]):
                squares += value.float().square().sum(1 - axis)
    return squares.sqrt()


def _axes(value: Tensor, small: Tensor) -> list[int]:
    """Axes that count hidden units: those that are shorter in the smaller model."""
    return [axis for axis in range(value.dim()) if value.shape[axis] != small.shape[axis]]


def _cut(value: Tensor, small: Tensor, kept: Tensor) -> Tensor:
    for axis in _axes(value, small):
        value = value.index_select(axis, kept)
    return value
