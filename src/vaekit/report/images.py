"""Pictures of fields that are images: reconstructed, drawn, on the way between two, and along dimensions."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vaekit.arrays import Array, Blocks, generator, take
from vaekit.fields import pixels
from vaekit.fields.families import FAMILIES
from vaekit.queries.base import count, model_specs
from vaekit.queries.decoding import decode
from vaekit.queries.paths import centres

if TYPE_CHECKING:
    import pyarrow as pa

    from vaekit.runtime.engine import Engine

__all__ = ["Gallery", "Strip", "galleries", "grid"]

_PAIRS, _DRAWN, _ROUTES, _STEPS, _REACH = 8, 32, 4, 9, 2.0
_GAP, _PAPER = 2, 236
_LEAST = 40  # pixels of the page for the shorter side of an image

Levels = NDArray[np.uint8]


@dataclass(frozen=True)
class Strip:
    """One picture: the address of its data, its size on the page, and what it shows."""

    address: str
    width: int
    height: int
    label: str


@dataclass(frozen=True)
class Gallery:
    """The pictures of one field.

    Args:
        field: Name of the field.
        pairs: Real images, the reconstruction below each.
        drawn: Images drawn from the model.
        routes: Ways from one real image to another.
        walks: Number of a dimension, and the image while it moves from -2 to 2, in the order that was asked for.
    """

    field: str
    pairs: Strip
    drawn: Strip
    routes: Strip
    walks: tuple[tuple[int, Strip], ...]


def galleries(engine: Engine, table: pa.Table, dims: Sequence[int], seed: int = 0) -> list[Gallery]:
    """The pictures of every field that is an image, at the means of its pixels.

    Args:
        engine: The model.
        table: Real rows, of which a few are chosen at random.
        dims: Latent dimensions to walk along.
        seed: Seed of all choices.
    """
    specs = [spec for spec in model_specs(engine) if spec.kind == "image"]
    if not specs:
        return []
    chosen = np.sort(generator(seed, "gallery").permutation(table.num_rows)[: max(_PAIRS, 2 * _ROUTES)])
    some = table.take(chosen)
    blocks = engine.encode(some)
    z = centres(engine, blocks)
    noise = engine.noise(seed, 1, _DRAWN, prior=True)
    repeated = take(blocks, np.arange(_DRAWN) % count(blocks))
    drawn = engine.backend.run("prior", engine.inputs(repeated) | noise)
    found = []
    for spec in specs:
        name = spec.fields[0]

        def shown(codes: dict[str, Array], rows: Blocks, spec: Any = spec, name: str = name) -> Levels:
            params = decode(engine, codes, rows)[spec.name]
            mean = np.asarray(FAMILIES[spec.likelihood].mean(params, spec))
            flat = mean.reshape(-1, *mean.shape[2:])
            return _images(engine.contract.decode({spec.name: flat}, [name])[name])

        real = _images(engine.contract.decode({spec.name: blocks[spec.name].values}, [name])[name])[:_PAIRS]
        seen = shown({group: value[None] for group, value in z.items()}, blocks)[:_PAIRS]
        fresh = shown({key.removeprefix("z."): value for key, value in drawn.items()}, repeated)
        found.append(
            Gallery(
                name,
                _strip(np.concatenate([real, seen]), len(real), f"real and reconstructed {name}"),
                _strip(fresh, 8, f"{name} drawn from the model"),
                _routes(z, blocks, shown, name),
                tuple((dim, _walk(z, blocks, shown, dim, name)) for dim in dims),
            )
        )
    return found


def grid(images: Levels, columns: int) -> Levels:
    """Images (N, H, W, C) beside and below each other, with paper between them.

    Example:
        >>> grid(np.zeros((3, 4, 5, 1), np.uint8), 2).shape
        (10, 12, 1)
    """
    number, height, width, channels = images.shape
    lines = -(-number // columns)
    sheet = np.full((lines * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP, channels), _PAPER, np.uint8)
    for index, image in enumerate(images):
        line, column = divmod(index, columns)
        y, x = line * (height + _GAP), column * (width + _GAP)
        sheet[y : y + height, x : x + width] = image
    return sheet


def _strip(images: Levels, columns: int, label: str) -> Strip:
    sheet = grid(images, columns)
    scale = max(1, -(-_LEAST // min(images.shape[1:3])))
    address = f"data:image/png;base64,{base64.b64encode(pixels.png(sheet)).decode()}"
    return Strip(address, sheet.shape[1] * scale, sheet.shape[0] * scale, label)


def _images(column: pa.ChunkedArray) -> Levels:
    """A column of images as levels (N, H, W, C) on a scale to 255."""
    if not pixels.is_tensor(column.type):
        return np.stack([pixels.open_image(one, pixels.size_of(one, 0)[2], 0) for one in column.to_pylist()])
    levels, _ = pixels.tensors(column)
    levels = levels.reshape(len(levels), *pixels.tensor_shape(column.type)).astype(np.uint8)
    return levels * np.uint8(255) if levels.size and levels.max() <= 1 else levels


def _routes(z: dict[str, Array], blocks: Blocks, shown: Any, name: str) -> Strip:
    """Straight ways between pairs of rows, one to a line."""
    pairs = min(_ROUTES, count(blocks) // 2)
    share = np.linspace(0.0, 1.0, _STEPS, dtype=np.float32)[:, None, None]
    walk = {group: v[None, :pairs] + share * (v[None, pairs : 2 * pairs] - v[None, :pairs]) for group, v in z.items()}
    images = shown(walk, take(blocks, np.arange(pairs)))
    lines = images.reshape(_STEPS, pairs, *images.shape[1:]).swapaxes(0, 1).reshape(images.shape)
    return _strip(lines, _STEPS, f"ways between pairs of {name}")


def _walk(z: dict[str, Array], blocks: Blocks, shown: Any, dim: int, name: str) -> Strip:
    """One dimension from -2 to 2, from the row nearest to the middle."""
    joined = np.concatenate(list(z.values()), -1)
    at = int(np.square(joined - np.median(joined, axis=0)).sum(1).argmin())
    walk, offset = {}, 0
    for group, value in z.items():
        path = np.repeat(value[None, at : at + 1], _STEPS, axis=0)
        if offset <= dim < offset + value.shape[-1]:
            path[:, 0, dim - offset] = np.linspace(-_REACH, _REACH, _STEPS)
        walk[group], offset = path, offset + value.shape[-1]
    return _strip(shown(walk, take(blocks, np.array([at]))), _STEPS, f"{name} while z{dim} moves")
