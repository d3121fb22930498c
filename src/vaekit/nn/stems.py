"""Stems: encoded blocks into one hidden vector per row, missing cells included.

A stem sees values with missing cells set to zero and the mask beside them, so that "zero" and "missing" differ. The
contributions of all blocks add up, which equals one linear layer over their concatenation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from vaekit.arrays import Block, BlockSpec
from vaekit.errors import ConfigError
from vaekit.fields.datetime import CHANNELS
from vaekit.nn.images import IMAGES
from vaekit.nn.parts import Part, make

__all__ = ["STEMS", "CategoryStem", "CountStem", "DatetimeStem", "NumberStem", "Stems", "VectorStem"]

_REACH = 10.0  # encoded numbers beyond this many units look alike to the encoder
_ONE_HOT = 512  # up to so many categories, a product with one-hot codes is several times faster than looking rows up


def bend(values: Tensor) -> Tensor:
    """Encoded numbers with far outliers pulled in, so that they cannot saturate the network."""
    return _REACH * torch.tanh(values / _REACH)


def masked(block: Block, values: Tensor) -> Tensor:
    """Values (B, F, ...) of a block with zero in the place of missing cells."""
    if block.whole:
        return values
    return torch.where(
        block.observed.reshape(*block.observed.shape, *[1] * (values.dim() - block.observed.dim())), values, 0.0
    )


class NumberStem(nn.Module):
    """Linear map of ``[values, observed]``, with far outliers bent smoothly so that they cannot saturate the network.

    Args:
        spec: The block.
        width: Output width H.
    """

    def __init__(self, spec: BlockSpec, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * len(spec.fields), width)

    def bend(self, values: Tensor) -> Tensor:
        """The value scale that the linear map sees."""
        return bend(values)

    def forward(self, block: Block) -> Tensor:
        """Map a block to (B, H)."""
        observed = block.observed.to(self.linear.weight.dtype)
        return self.linear(torch.cat([masked(block, self.bend(block.values)), observed], dim=-1))


class CountStem(NumberStem):
    """As `NumberStem`, on ``log(1 + count)``."""

    def bend(self, values: Tensor) -> Tensor:
        """Counts on a log scale."""
        return torch.log1p(values)


class CategoryStem(nn.Module):
    """Sum of one embedding per field: a linear layer over the one-hot codes, which are only built if there are few.

    Args:
        spec: The block; its levels give the size of each field's table.
        width: Output width H.
    """

    offsets: Tensor

    def __init__(self, spec: BlockSpec, width: int) -> None:
        super().__init__()
        sizes = torch.tensor(spec.levels)
        self.table = nn.Embedding(int(sizes.sum()), width)
        nn.init.normal_(self.table.weight, std=1.0 / max(1, len(spec.fields)) ** 0.5)
        self.register_buffer("offsets", torch.cumsum(sizes, 0) - sizes, persistent=False)

    def forward(self, block: Block) -> Tensor:
        """Map a block to (B, H)."""
        codes = block.values + self.offsets
        weight = self.table.weight
        if len(weight) <= _ONE_HOT:
            blank = torch.zeros(codes.shape[0], len(weight), dtype=weight.dtype, device=weight.device)
            return blank.scatter(1, codes, block.observed.to(weight.dtype)) @ weight
        rows = self.table(codes)  # shape: (B, F, H)
        return masked(block, rows).sum(-2)


class VectorStem(nn.Module):
    """Linear map of one vector field; elementwise masks enter only where training data had missing elements.

    Args:
        spec: The block.
        width: Output width H.
    """

    def __init__(self, spec: BlockSpec, width: int) -> None:
        super().__init__()
        self.partial = spec.partial
        size = spec.width
        self.linear = nn.Linear(2 * size if self.partial else size, width)
        self.seen = None if self.partial else nn.Linear(1, width, bias=False)  # apart: rows of the weight stay aligned

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        """Weights from before the mask had its own are cut: it was their last column."""
        weight = state_dict.get(f"{prefix}linear.weight")
        if self.seen is not None and weight is not None and weight.shape[1] == self.linear.in_features + 1:
            state_dict[f"{prefix}linear.weight"] = weight[:, :-1]
            state_dict[f"{prefix}seen.weight"] = weight[:, -1:]
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def forward(self, block: Block) -> Tensor:
        """Map a block to (B, H)."""
        values = masked(block, block.values).flatten(1)
        if self.seen is not None and block.whole:
            return self.linear(values) + self.seen.weight[:, 0]
        mask = block.observed.expand_as(block.values).flatten(1).to(values.dtype)
        if self.seen is None:
            return self.linear(torch.cat([values, mask], dim=-1))
        return self.linear(values) + self.seen(mask.mean(-1, keepdim=True))


class DatetimeStem(nn.Module):
    """Linear map of where on the time line a point is, of the waves of clock, week and year, and of the mask.

    Args:
        spec: The block.
        width: Output width H.
    """

    def __init__(self, spec: BlockSpec, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear((2 + CHANNELS) * len(spec.fields), width)

    def forward(self, block: Block) -> Tensor:
        """Map a block to (B, H)."""
        line, seen = (
            array.flatten(2)[..., :1] if array.dim() > 2 else array[..., None]
            for array in (block.values, block.observed)
        )
        line, waves = bend(line), block.calendar
        if not block.whole:
            line, waves = torch.where(seen, line, 0.0), torch.where(seen, waves, 0.0)
        return self.linear(torch.cat([line, waves, seen.to(line.dtype)], dim=-1).flatten(1))


STEMS: dict[str, Callable[[BlockSpec, int], nn.Module]] = {
    "number": NumberStem,
    "count": CountStem,
    "category": CategoryStem,
    "vector": VectorStem,
    "datetime": DatetimeStem,
}


class Stems(nn.Module):
    """The sum of the stems of several blocks.

    Args:
        specs: The blocks.
        width: Output width H.
        images: Networks for images: a name, or a mapping with its name and options.

    Raises:
        ConfigError: If a block's kind has no stem.
    """

    def __init__(self, specs: Sequence[BlockSpec], width: int, images: Part = "conv") -> None:
        super().__init__()
        net = make("images", images, IMAGES)
        makers = {**STEMS, "image": net.stem}
        for spec in specs:
            if spec.kind not in makers:
                raise ConfigError(f"no stem is registered for kind {spec.kind!r}; known: {', '.join(sorted(makers))}")
        self.names = tuple(spec.name for spec in specs)  # module names cannot hold dots, block names do
        self.parts = nn.ModuleList([makers[spec.kind](spec, width) for spec in specs])

    def forward(self, blocks: Mapping[str, Block]) -> Tensor:
        """Map blocks to (B, H)."""
        parts = [stem(blocks[name]) for name, stem in zip(self.names, self.parts, strict=True)]
        return torch.stack(parts).sum(0) if len(parts) > 1 else parts[0]
