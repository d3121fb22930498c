"""How images are encoded and decoded: levels in the size of their field, from and to any column that holds pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vaekit.arrays import Block
from vaekit.errors import ContractError
from vaekit.fields import pixels
from vaekit.fields.base import Codec, Column, Float
from vaekit.fields.pixels import WHITE, Levels

if TYPE_CHECKING:
    from vaekit.fields.image import Image

__all__ = ["ImageCodec", "named"]


class ImageCodec(Codec):
    """Encodes and decodes one `Image` field: values are levels (B, 1, H, W, C) in uint8; bits where it is bernoulli."""

    def __init__(self, field: Image) -> None:
        if not field.size or not field.channels:
            raise ContractError("field is not fitted; call Contract.fit with the training rows", field=field.name)
        self._field = field
        self.event = (field.size[0], field.size[1], field.channels)
        self._bits = field.likelihood == "bernoulli" and field.role == "model"
        self._binarise = str(field.options.get("binarise", ""))

    def read(self, column: Column | None, rows: int = 0) -> tuple[Levels, NDArray[np.bool_]]:
        """The images of a column, each in the size of the field (B, H, W, C), and where there are some (B,).

        Whatever white is in the column, it is 255 here.

        Raises:
            ContractError: The column holds no images, one is damaged, or of another size or other levels than the
                field.
        """
        if column is None or pa.types.is_null(column.type):
            rows = rows if column is None else len(column)
            return np.zeros((rows, *self.event), np.uint8), np.zeros(rows, np.bool_)
        try:
            return self._tensors(column) if pixels.is_tensor(column.type) else self._encoded(column)
        except ContractError as error:
            raise named(error, self._field.name) from error

    def check(self, columns: Sequence[Column | None], rows: int) -> tuple[Levels, NDArray[np.bool_]]:
        """Levels as the model sees them before bits are drawn, and where there are images."""
        levels, seen = self.read(columns[0], rows)
        if self._bits and not self._binarise:
            told = (
                "pixels that are black or white: a bernoulli knows two values and has no probability for grey ones; "
                "options={'binarise': 'stochastic'} or 'threshold' makes bits of them, "
                "likelihood='logistic_mixture' models all levels"
            )
            self._refuse((levels != 0) & (levels != WHITE), told, levels)
        return levels, seen

    def encode(self, columns: Sequence[Column | None], rows: int) -> Block:
        """Encode the column into one block of B rows; bits are drawn once, each row's from its own levels."""
        block = self.encode_training(columns, rows)
        if self._bits and self._binarise == "stochastic":
            return Block(_drawn(block.values), block.observed)
        return block

    def encode_training(self, columns: Sequence[Column | None], rows: int) -> Block:
        """The levels themselves, for training to draw bits from where they are stochastic."""
        levels, seen = self.check(columns, rows)
        if self._bits and self._binarise != "stochastic":
            levels = (levels > WHITE // 2).astype(np.uint8)
        return Block(levels[:, None], seen.reshape(-1, 1, 1, 1, 1))

    def decode(self, values: NDArray[Any]) -> list[pa.Array]:
        """Images in the column's own type, as PNG where it holds encoded ones; of bits also their probabilities."""
        return [self._written(np.asarray(values, np.float64)[:, 0])]

    def summarise(self, draws: NDArray[Any], wanted: Sequence[int], interval: float) -> list[dict[str, pa.Array]]:
        """The mean of each level, or its more frequent bit."""
        mean = np.zeros(draws.shape[1:], np.float64)
        for one in draws:  # one draw after the other: all at once would take eight times the memory
            mean += one
        mean /= len(draws)
        return [{"": self._written((mean >= 0.5).astype(np.float64)[:, 0] if self._bits else mean[:, 0])}]

    def _written(self, values: Float) -> pa.Array:
        """Levels, or bits, (B, H, W, C) as a column."""
        scale = WHITE if self._bits else 1
        lost = np.asarray(np.isnan(values).reshape(len(values), int(np.prod(self.event))).any(axis=1))
        levels = np.rint(np.clip(np.nan_to_num(values) * scale, 0, WHITE)).astype(np.uint8)
        kind = self._field.encoded
        if pixels.is_tensor(kind):
            return pixels.tensor_array(self.shaped(levels, kind), kind, lost)
        return pa.array([None if gone else pixels.png(one) for one, gone in zip(levels, lost, strict=True)], kind)

    def shaped(self, levels: Levels, kind: pa.DataType) -> Levels:
        """Levels (B, H, W, C) in the size, the channels and the white that a column of tensors has."""
        height, width, channels = pixels.tensor_shape(kind)
        if self._one_is_white(kind):
            levels = (levels > WHITE // 2).astype(np.uint8)
        if levels.shape[1:3] != (height, width):
            made = [pixels.resized(one, (height, width)) for one in levels]
            levels = np.stack(made) if made else np.empty((0, height, width, levels.shape[3]), np.uint8)
        return _coloured(levels, channels).reshape(len(levels), *kind.shape)

    def _one_is_white(self, kind: pa.DataType) -> bool:
        """Whether white is 1 in a column of tensors."""
        return self._field.white == 1 or bool(pa.types.is_boolean(kind.value_type))

    def _tensors(self, column: Column) -> tuple[Levels, NDArray[np.bool_]]:
        height, width, channels = pixels.tensor_shape(column.type)
        levels, seen = pixels.tensors(column)
        levels = levels.reshape(-1, height, width, channels)
        size = (self.event[0], self.event[1])
        if (height, width) != size:
            self._require_resize((height, width), 0)
            levels = np.stack([pixels.resized(one, size) for one in levels]) if len(levels) else levels[:0]
            levels = levels.reshape(-1, *size, channels)
        if self._one_is_white(column.type):
            self._refuse(levels > 1, "pixels that are 0 or 1", levels)
            levels = levels * np.uint8(WHITE)
        return _coloured(levels, self.event[2]), seen

    def _encoded(self, column: Column) -> tuple[Levels, NDArray[np.bool_]]:
        self._field.check_encoded(column.type)
        levels = np.zeros((len(column), *self.event), np.uint8)
        seen = np.zeros(len(column), np.bool_)
        for row, content in enumerate(pixels.stored(column)):
            if content is None:
                continue
            one = pixels.open_image(content, self.event[2], row)
            if one.shape[:2] != self.event[:2]:
                self._require_resize(one.shape[:2], row)
                one = pixels.resized(one, (self.event[0], self.event[1]))
            levels[row], seen[row] = one, True
        return levels, seen

    def _require_resize(self, size: tuple[int, ...], row: int) -> None:
        if not self._field.resize:
            raise ContractError(
                "image has the wrong size",
                row=row,
                expected=f"{self.event[0]} x {self.event[1]}; resize=True resizes others",
                got=f"{size[0]} x {size[1]}",
            )

    def _refuse(self, bad: NDArray[np.bool_], expected: str, levels: Levels) -> None:
        if bad.any():
            row, *place = (int(index) for index in np.unravel_index(int(np.argmax(bad)), bad.shape))
            got = f"{int(levels[(row, *place)])} at {tuple(place[:2])}"
            name = self._field.name
            raise ContractError("value does not fit the image", field=name, row=row, expected=expected, got=got)


def _coloured(levels: Levels, channels: int) -> Levels:
    """Levels (B, H, W, C) with so many channels."""
    if levels.shape[3] == channels:
        return levels
    if levels.shape[3] == 1:
        return np.repeat(levels, channels, axis=3)
    weights = np.array([0.299, 0.587, 0.114])  # of ITU-R BT.601, as Pillow has them
    grey: Levels = np.rint(levels @ weights).astype(np.uint8)[..., None]
    return grey


def _drawn(values: Levels) -> Levels:
    """Bits with P(1) = level / 255, each row's drawn from a stream that its own levels seed."""
    bits = np.empty_like(values)
    for row, levels in enumerate(values):
        key = hashlib.blake2b(np.ascontiguousarray(levels).tobytes(), digest_size=16).digest()
        rng = np.random.Generator(np.random.Philox(key=np.frombuffer(key, np.uint64)))
        bits[row] = rng.integers(0, WHITE, levels.shape, dtype=np.uint8) < levels
    return bits


def named(error: ContractError, field: str) -> ContractError:
    """An error of a picture with the name of its field."""
    return ContractError(error.message, field=field, row=error.row, expected=error.expected, got=error.got)
