"""Images as flat vectors: one linear map on either side, so that the trunks are all there is."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vaekit.arrays import Block, BlockSpec
from vaekit.nn.images.base import ImageNet, image_of

__all__ = ["Dense"]


class Dense(ImageNet):
    """Linear maps from all pixels to the hidden vector, and back."""

    def stem(self, spec: BlockSpec, width: int) -> nn.Module:
        """A linear map of ``[pixels, observed]``."""
        return DenseStem(spec, width)

    def head(self, spec: BlockSpec, width: int, outputs: int) -> nn.Module:
        """A linear map."""
        return nn.Linear(width, outputs)


class DenseStem(nn.Module):
    """Linear map of all pixels and whether there is an image.

    Args:
        spec: The block.
        width: Output width H.
    """

    def __init__(self, spec: BlockSpec, width: int) -> None:
        super().__init__()
        self.spec = spec
        self.linear = nn.Linear(spec.width + 1, width)

    def forward(self, block: Block) -> Tensor:
        """Map a block to (B, H)."""
        values, seen = image_of(block, self.spec, self.linear.weight.dtype)
        return self.linear(torch.cat([values.flatten(1), seen], dim=-1))
