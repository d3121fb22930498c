"""Convolutional residual networks: from pixels down to a small map and a vector, and up again."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaekit.arrays import Block, BlockSpec
from vaekit.errors import ConfigError
from vaekit.nn.images.base import ImageNet, image_of

__all__ = ["ConvHead", "ConvStem", "Convolutional", "Residual", "Up", "pyramid", "widths"]


class Convolutional(ImageNet):
    """Residual blocks at each size of a pyramid that halves height and width down to a few pixels.

    There are no normalisation layers: a row is seen alone, and the last map of each block starts small.

    Args:
        channels: Channels at the full size; they double with each halving, up to four times as many.
        blocks: Residual blocks at each size.
        smallest: Places of the longer side at which halving ends.
        patch: Side of the squares of pixels that are one place of the full size, their pixels being its channels; 2
            makes networks about twice as fast with twice the channels.

    Raises:
        ConfigError: An option is below 1.

    References:
        He et al., Identity mappings in deep residual networks, 2016 (activation first). Child, Very deep VAEs, 2021,
        section 3 (residual blocks without normalisation, scaled at the start). Shi et al., Real-time single image
        super-resolution with an efficient sub-pixel CNN, 2016, section 3 (pixels as channels).
    """

    def __init__(self, *, channels: int = 32, blocks: int = 1, smallest: int = 7, patch: int = 1) -> None:
        if min(channels, blocks, smallest, patch) < 1:
            raise ConfigError(
                f"images 'conv' needs channels, blocks, smallest and patch of at least 1; got {channels}, {blocks}, "
                f"{smallest}, {patch}"
            )
        self.channels, self.blocks, self.smallest, self.patch = channels, blocks, smallest, patch

    def stem(self, spec: BlockSpec, width: int) -> nn.Module:
        """The way down."""
        return ConvStem(spec, width, self)

    def head(self, spec: BlockSpec, width: int, outputs: int) -> nn.Module:
        """The way up."""
        return ConvHead(spec, width, outputs, self)

    def sizes(self, spec: BlockSpec) -> list[tuple[int, int]]:
        """Heights and widths of the pyramid, the full size first."""
        return pyramid(-(-spec.event[0] // self.patch), -(-spec.event[1] // self.patch), self.smallest)


def pyramid(height: int, width: int, smallest: int) -> list[tuple[int, int]]:
    """Sizes that halve until the longer side has at most so many places.

    Example:
        >>> pyramid(28, 28, 7), pyramid(5, 9, 4)
        ([(28, 28), (14, 14), (7, 7)], [(5, 9), (3, 5), (2, 3)])
    """
    found = [(height, width)]
    while max(found[-1]) > smallest:
        found.append(((found[-1][0] + 1) // 2, (found[-1][1] + 1) // 2))
    return found


def widths(channels: int, levels: int) -> list[int]:
    """Channels at each size of a pyramid.

    Example:
        >>> widths(32, 4)
        [32, 64, 128, 128]
    """
    return [channels * min(4, 2**level) for level in range(levels)]


class Residual(nn.Module):
    """``x + conv(act(conv(act(x))))``, the last convolution starting small.

    Args:
        channels: Channels in and out.
        depth: Blocks of the whole network, by whose root the start is scaled down.
    """

    def __init__(self, channels: int, depth: int = 4) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        with torch.no_grad():
            self.second.weight.mul_(depth**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        return x + self.second(F.silu(self.first(F.silu(x))))


class Up(nn.Module):
    """Twice the size: a convolution whose channels become pixels, cut to a size.

    Args:
        channels: Channels in.
        out: Channels out.
        size: Height and width out.

    References:
        Shi et al., Real-time single image super-resolution with an efficient sub-pixel CNN, 2016, section 3.
    """

    def __init__(self, channels: int, out: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size
        self.conv = nn.Conv2d(channels, 4 * out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, out, *size)."""
        return F.pixel_shuffle(self.conv(x), 2)[:, :, : self.size[0], : self.size[1]]


class ConvStem(nn.Module):
    """From pixels down to the smallest map, and from there a linear map; `maps` gives the maps on the way, too.

    Args:
        spec: The block.
        width: Output width H.
        net: Sizes and channels.
    """

    def __init__(self, spec: BlockSpec, width: int, net: Convolutional) -> None:
        super().__init__()
        self.spec = spec
        sizes = net.sizes(spec)
        channels = widths(net.channels, len(sizes))
        depth = net.blocks * len(sizes)
        self.shapes = [(c, *size) for c, size in zip(channels, sizes, strict=True)]
        self.patch = net.patch
        self.enter = nn.Conv2d(spec.event[2] * net.patch**2, channels[0], 3, padding=1)
        self.levels = nn.ModuleList([nn.Sequential(*(Residual(c, depth) for _ in range(net.blocks))) for c in channels])
        down = itertools.pairwise(channels)
        self.down = nn.ModuleList([nn.Conv2d(here, there, 3, stride=2, padding=1) for here, there in down])
        self.linear = nn.Linear(channels[-1] * sizes[-1][0] * sizes[-1][1] + 1, width)

    def maps(self, block: Block) -> tuple[Tensor, list[Tensor]]:
        """The vector (B, H), and the map at each size, the full size first."""
        values, seen = image_of(block, self.spec, self.linear.weight.dtype)
        x = self.enter(self._patched(values.permute(0, 3, 1, 2)))  # channels last in memory
        found = []
        for index, level in enumerate(self.levels):
            x = level(self.down[index - 1](x) if index else x)
            found.append(x)
        return self.linear(torch.cat([F.silu(x).flatten(1), seen], dim=-1)), found

    def forward(self, block: Block) -> Tensor:
        """Map a block to (B, H)."""
        return self.maps(block)[0]

    def _patched(self, x: Tensor) -> Tensor:
        if self.patch == 1:
            return x
        height, width = self.spec.event[0], self.spec.event[1]
        return F.pixel_unshuffle(F.pad(x, (0, -width % self.patch, 0, -height % self.patch)), self.patch)


class Rise(nn.Module):
    """From a map at one size of a pyramid up to the full size, and to so many values per pixel.

    Args:
        spec: The block.
        net: Sizes and channels.
        outputs: Outputs for the whole image.
        levels: Sizes that the map that comes in goes through: it has the last of them; None for all.
    """

    def __init__(self, spec: BlockSpec, net: Convolutional, outputs: int, levels: int | None = None) -> None:
        super().__init__()
        sizes = net.sizes(spec)[:levels]
        channels = widths(net.channels, len(net.sizes(spec)))
        depth = net.blocks * len(sizes)
        steps: list[nn.Module] = []
        for index in range(len(sizes) - 1, -1, -1):
            steps += [Residual(channels[index], depth) for _ in range(net.blocks)]
            if index:
                steps.append(Up(channels[index], channels[index - 1], sizes[index - 1]))
        self.steps = nn.Sequential(*steps, nn.SiLU())
        self.height, self.width, self.patch = spec.event[0], spec.event[1], net.patch
        self.leave = nn.Conv2d(channels[0], outputs // (self.height * self.width) * net.patch**2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, h, w) to (N, H · W · values), pixel after pixel."""
        x = self.leave(self.steps(x))
        if self.patch > 1:
            x = F.pixel_shuffle(x, self.patch)[:, :, : self.height, : self.width]
        return x.permute(0, 2, 3, 1).flatten(1)


class ConvHead(nn.Module):
    """From a vector to the smallest map by a linear map, and up from there.

    Args:
        spec: The block.
        width: Input width H.
        outputs: Outputs for the whole image.
        net: Sizes and channels.
    """

    def __init__(self, spec: BlockSpec, width: int, outputs: int, net: Convolutional) -> None:
        super().__init__()
        sizes = net.sizes(spec)
        channels = widths(net.channels, len(sizes))
        self.shape = (channels[-1], *sizes[-1])
        self.linear = nn.Linear(width, channels[-1] * sizes[-1][0] * sizes[-1][1])
        self.rise = Rise(spec, net, outputs)

    def forward(self, h: Tensor) -> Tensor:
        """Map (K, B, H) to (K, B, outputs)."""
        x = self.linear(h).flatten(0, 1).unflatten(-1, self.shape)
        return self.rise(x).unflatten(0, (h.shape[0], h.shape[1]))
