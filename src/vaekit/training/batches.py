"""Rows as resident tensors, taken by index, with random parts hidden; all a function of (seed, step)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from vaekit.arrays import Array, Block, Blocks, BlockSpec, NoiseSpec, generator

__all__ = ["Resident", "binarised", "draw_noise", "hide", "seeded", "step_generator"]


class Resident:
    """Encoded rows held as tensors on one device.

    Args:
        blocks: Encoded rows.
        device: The device.
    """

    def __init__(self, blocks: Blocks, device: torch.device) -> None:
        self.blocks = {name: _tensors(block, device) for name, block in blocks.items()}
        self.device = device

    def __len__(self) -> int:
        return len(next(iter(self.blocks.values())))

    def take(self, indices: Tensor | slice) -> dict[str, Block]:
        """Rows by index."""
        return {name: _select(block, indices) for name, block in self.blocks.items()}

    def epoch(self, seed: int, epoch: int, batch: int, first: int = 0) -> Iterator[Tensor]:
        """The batches of an epoch from one on, as index tensors: a permutation that depends on seed and epoch alone."""
        order = torch.from_numpy(generator(seed, "order", epoch).permutation(len(self))).to(self.device)
        yield from order.split(batch)[first:]

    def draw(self, count: int, rng: torch.Generator) -> Tensor:
        """Indices of so many rows, drawn with replacement."""
        return torch.randint(len(self), (count,), generator=rng, device=rng.device)

    def batches(self, batch: int) -> Iterator[slice]:
        """All rows in order, in slices."""
        for start in range(0, len(self), batch):
            yield slice(start, start + batch)


def step_generator(seed: int, step: int, device: torch.device) -> torch.Generator:
    """The random stream of one optimiser step; a resumed run needs only the step's number to go on."""
    digest = hashlib.sha256(repr((int(seed), "step", step)).encode()).digest()
    return torch.Generator(device=device).manual_seed(int.from_bytes(digest[:8], "little") >> 2)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Tie what draws from torch's global streams (dropout) to a seed, and leave those streams as they were."""
    streams = [torch.default_generator]
    if device.type == "cuda":
        streams.append(torch.cuda.default_generators[device.index or 0])
    states = [stream.get_state() for stream in streams]
    try:
        for stream in streams:
            stream.manual_seed(seed)
        yield
    finally:
        for stream, state in zip(streams, states, strict=True):
            stream.set_state(state)


def draw_noise(spec: NoiseSpec, rng: torch.Generator, samples: int, rows: int) -> dict[str, Tensor]:
    """Fresh noise (K, B, *shape) for a training step."""
    drawn = {}
    for name, noise in spec.items():
        size = (samples, rows, *noise.shape)
        if noise.kind == "normal":
            drawn[name] = torch.randn(size, generator=rng, device=rng.device)
        else:
            uniform = torch.rand(size, generator=rng, device=rng.device).clamp(1e-7, 1 - 1e-7)
            drawn[name] = uniform if noise.kind == "uniform" else -torch.log(-torch.log(uniform))
    return drawn


def binarised(blocks: Blocks, specs: Mapping[str, BlockSpec], rng: torch.Generator) -> dict[str, Block]:
    """Images whose bits are stochastic with new bits, ``P(1) = level / 255``; other blocks as they are.

    Args:
        blocks: A batch of training rows, encoded for training.
        specs: The blocks' descriptions.
        rng: The step's random stream.

    References:
        Salakhutdinov & Murray, On the quantitative analysis of deep belief networks, 2008, section 6. Burda et al.,
        Importance weighted autoencoders, 2016, section 5 (new bits in every epoch).
    """
    found = dict(blocks)
    for name, block in blocks.items():
        if specs[name].options.get("binarise") == "stochastic":
            level = torch.rand(block.values.shape, generator=rng, device=rng.device) * 255.0
            found[name] = replace(block, values=(level < block.values).to(block.values.dtype))
    return found


def hide(blocks: Blocks, specs: Mapping[str, BlockSpec], share: float, rng: torch.Generator) -> dict[str, Block]:
    """Hide a random part of some rows, so that the model meets every pattern of missing cells.

    A row is touched with probability `share`; of a touched row each cell is hidden with a probability drawn
    uniformly for that row. Hidden cells are missing for encoder and likelihood alike, so the objective stays the
    ELBO of what was shown.

    Args:
        blocks: A batch.
        specs: The blocks' descriptions.
        share: Probability that a row is touched.
        rng: The step's random stream.

    Returns:
        The batch with smaller masks.
    """
    cells = sum(specs[name].width if specs[name].partial else len(specs[name].fields) for name in blocks)
    if share <= 0.0 or cells < 2:
        return dict(blocks)
    rows = len(next(iter(blocks.values())))
    device = rng.device
    touched = torch.rand(rows, generator=rng, device=device) < share
    rate = torch.where(touched, torch.rand(rows, generator=rng, device=device), 0.0)
    found = dict(blocks)
    for name, block in blocks.items():
        shape = block.observed.shape if specs[name].partial else (rows, len(specs[name].fields))
        keep = torch.rand(shape, generator=rng, device=device) >= rate.reshape(rows, *[1] * (len(shape) - 1))
        keep = keep.reshape(*keep.shape, *[1] * (block.observed.dim() - keep.dim()))
        found[name] = block.seen(block.observed & keep)
    return found


def _tensors(block: Block, device: torch.device) -> Block:
    seen = replace(block, unknown=None).arrays()  # the networks do not look at it
    found = {name: _short(_tensor(value).to(device)) for name, value in seen.items()}
    if "constant" in found and not found["constant"].any():
        del found["constant"]  # such as that of bits
    return Block(**found, whole=bool(found["observed"].all()))


def _short(value: Tensor) -> Tensor:
    """An array whose rows are all the same, such as the mask of a column without missing cells, as that one row."""
    return value[:1].expand(value.shape) if len(value) and bool((value == value[:1]).all()) else value


def _tensor(value: Array) -> Tensor:
    return torch.from_numpy(np.require(value, requirements=("C", "W")))  # torch has no arrays that cannot be written


def _select(block: Block, indices: Tensor | slice) -> Block:
    if isinstance(indices, slice):
        return block.take(indices)
    return block.filled({name: _rows(value, indices) for name, value in block.arrays().items()})


def _rows(value: Tensor, indices: Tensor) -> Tensor:
    if value.stride(0) == 0 and len(indices) <= len(value):  # one row, see `_short`
        return value[: len(indices)]
    return value.index_select(0, indices)
