"""Encoder and decoder of models whose latent groups are maps over an image, from coarse to fine."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vaekit.arrays import Blocks, BlockSpec
from vaekit.errors import ConfigError
from vaekit.nn.images.conv import Convolutional, ConvStem, Residual, Rise, Up, widths
from vaekit.nn.stems import Stems
from vaekit.nn.trunks import MLP

if TYPE_CHECKING:
    from vaekit.nn.build import ModelConfig

__all__ = ["MapDecoder", "MapEncoder", "Merge", "map_shapes", "project"]

Shape = tuple[int, int, int]


def map_shapes(specs: Sequence[BlockSpec], net: Any, layers: int) -> list[Shape]:
    """Channels, height and width of the maps that latent groups lie on, the coarsest first; no latents for each pixel.

    Args:
        specs: The blocks; one of those modelled is an image.
        net: Networks for images.
        layers: Latent groups; the first is a vector, the others are maps.

    Raises:
        ConfigError: There is not one image to model, its networks are not convolutional, or it is too small.
    """
    images = [spec for spec in specs if spec.role == "model" and spec.kind == "image"]
    if len(images) != 1 or not isinstance(net, Convolutional):
        raise ConfigError(
            f"structure 'spatial' lays latent maps over one image, read by images 'conv'; the contract models "
            f"{len(images)} images, and its networks are {type(net).__name__}"
        )
    sizes = net.sizes(images[0])
    shapes = [(c, *size) for c, size in zip(widths(net.channels, len(sizes)), sizes, strict=True)]
    shapes = shapes[::-1] if net.patch > 1 else shapes[:0:-1]
    if not 2 <= layers <= len(shapes) + 1:
        raise ConfigError(
            f"structure 'spatial' has room for 2 to {len(shapes) + 1} layers over an image whose maps are "
            f"{sizes[0][0]} x {sizes[0][1]} at most, with smallest={net.smallest}; got {layers}"
        )
    return shapes[: layers - 1]


class MapEncoder(nn.Module):
    """Blocks to (B, H + maps): the vector of all fields, and the maps of the image laid out behind it.

    Args:
        specs: The blocks.
        config: The architecture.
        net: Networks for images.
        layers: Latent groups.
    """

    experts = 0
    trunk_of_rows: Callable[[Tensor], Tensor] | None = None

    def __init__(self, specs: Sequence[BlockSpec], config: ModelConfig, net: Convolutional, layers: int) -> None:
        super().__init__()
        self.maps = map_shapes(specs, net, layers)
        self.image = next(spec.name for spec in specs if spec.role == "model" and spec.kind == "image")
        others = [spec for spec in specs if spec.name != self.image]
        self.stem = ConvStem(next(spec for spec in specs if spec.name == self.image), config.width, net)
        self.others = Stems(others, config.width, config.images) if others else None
        self.trunk = MLP(config.width, config.depth, config.dropout)

    def forward(self, blocks: Blocks) -> Tensor:
        """Map blocks to (B, H + maps)."""
        h, found = self.stem.maps(blocks[self.image])
        if self.others is not None:
            h = h + self.others(blocks)
        coarse = found[::-1][: len(self.maps)]
        return torch.cat([self.trunk(h), *(one.flatten(1) for one in coarse)], dim=-1)


class Merge(nn.Module):
    """One step down from maps above to the next: a residual block, after a step up where the size changes.

    Args:
        above: Shape of the map above.
        here: Shape of this map.
    """

    def __init__(self, above: Shape, here: Shape) -> None:
        super().__init__()
        self.up = Up(above[0], here[0], here[1:]) if above != here else nn.Identity()
        self.block = Residual(here[0])

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) above to the map here."""
        return self.block(self.up(x))


class MapDecoder(nn.Module):
    """Latent groups to (K, B, H + map): a vector for other fields, and the finest map for the image.

    Args:
        groups: Widths of the groups; the first is a vector, the others are maps, as many at each shape.
        shapes: Shapes of the maps of the others, coarsest first.
        config: The architecture.
    """

    def __init__(self, groups: Mapping[str, int], shapes: Sequence[Shape], config: ModelConfig) -> None:
        super().__init__()
        top, *lower = groups
        shapes = [shape for shape in shapes for _ in range(len(lower) // len(shapes))]
        self.top, self.lower, self.shapes = top, lower, shapes
        self.linear = nn.Linear(groups[top], config.width)
        self.trunk = MLP(config.width, config.depth, config.dropout)
        first = shapes[0]
        self.start = nn.Linear(config.width, first[0] * first[1] * first[2])
        above = [first, *shapes[:-1]]
        self.merges = nn.ModuleList([Merge(one, here) for one, here in zip(above, shapes, strict=True)])
        self.enter = nn.ModuleList(
            [
                nn.Conv2d(groups[name] // (shape[1] * shape[2]), shape[0], 1)
                for name, shape in zip(lower, shapes, strict=True)
            ]
        )

    def forward(self, z: Mapping[str, Tensor], condition: Tensor | None) -> Tensor:
        """Map z (K, B, L) and the condition (B, H) to (K, B, H + map)."""
        h = self.linear(z[self.top])
        h = self.trunk(h if condition is None else h + condition)
        x = self.start(h).flatten(0, 1).unflatten(-1, self.shapes[0])
        for merge, enter, name, shape in zip(self.merges, self.enter, self.lower, self.shapes, strict=True):
            x = merge(x) + enter(z[name].flatten(0, 1).unflatten(-1, (-1, *shape[1:])))
        return torch.cat([h, x.flatten(1).unflatten(0, h.shape[:2])], dim=-1)


class _VectorPart(nn.Linear):
    """A linear map of the first H entries, which belong to all fields."""

    def forward(self, input: Tensor) -> Tensor:
        """Map (K, B, H + map) to (K, B, outputs)."""
        return F.linear(input[..., : self.in_features], self.weight, self.bias)


class _MapPart(nn.Module):
    """From the map behind the first H entries up to the pixels."""

    def __init__(self, width: int, shape: Shape, rise: nn.Module) -> None:
        super().__init__()
        self.width, self.shape, self.rise = width, shape, rise

    def forward(self, h: Tensor) -> Tensor:
        """Map (K, B, H + map) to (K, B, outputs)."""
        x = h[..., self.width :].flatten(0, 1).unflatten(-1, self.shape)
        return cast(Tensor, self.rise(x)).unflatten(0, h.shape[:2])


def project(spec: BlockSpec, net: Convolutional, shapes: Sequence[Shape]) -> Callable[[int, int], nn.Module]:
    """What a likelihood projects the decoder's output with: the image its map, other fields the vector."""
    if spec.kind != "image":
        return _VectorPart
    levels = net.sizes(spec).index(shapes[-1][1:]) + 1

    def made(width: int, outputs: int) -> nn.Module:
        return _MapPart(width, shapes[-1], Rise(spec, net, outputs, levels))

    return made
