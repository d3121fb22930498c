"""What a network for images is, and how a block becomes a tensor that networks like."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vaekit.arrays import Block, BlockSpec
from vaekit.fields.families.levels import SCALE

__all__ = ["ImageNet", "image_of"]


class ImageNet:
    """A family of networks for the images of a model: it makes a stem, and a head."""

    def stem(self, spec: BlockSpec, width: int) -> nn.Module:
        """What maps a block of images to (B, H)."""
        raise NotImplementedError

    def head(self, spec: BlockSpec, width: int, outputs: int) -> nn.Module:
        """What maps (K, B, H) to (K, B, outputs); outputs lie pixel after pixel, row after row."""
        raise NotImplementedError


def image_of(block: Block, spec: BlockSpec, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Images from -1 to 1 (B, H, W, C), 0 where missing, and whether each was observed (B, 1).

    Args:
        block: The block: levels, or bits where its likelihood is bernoulli.
        spec: Its description.
        dtype: What the network computes in.
    """
    scale = 0.5 if spec.likelihood == "bernoulli" else SCALE
    seen = block.observed.reshape(-1, 1, 1, 1)
    values = block.values[:, 0].to(dtype) / scale - 1.0
    return values if block.whole else torch.where(seen, values, 0.0), seen.reshape(-1, 1).to(dtype)
