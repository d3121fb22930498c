"""`image`: grey or colour pictures of one size with 8 bits per channel, as tensors, PNG or JPEG bytes, or paths."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vaekit.arrays import Array, Block
from vaekit.errors import ConfigError, ContractError
from vaekit.fields import pixels
from vaekit.fields.arrow_types import parse_type
from vaekit.fields.base import Codec, Column, Field, Float, Option, Role, wrong_type

__all__ = ["WHITE", "Image", "ImageCodec", "Pictures"]

WHITE = 255
_LOOKED = 64  # encoded images of a batch whose pixels are looked at when the field is fitted
_LARGEST = 64  # pixels of the longer side, unless the user says a size

Levels = NDArray[np.uint8]


class Image(Field, frozen=True, kw_only=True, tag="image"):
    """A picture of height H, width W and C channels (1 or 3), with levels from 0 to 255.

    Args:
        likelihood: ``logistic_mixture`` or ``discretised_gaussian`` over the 256 levels, or ``bernoulli`` over bits.
        size: Height and width that the model sees.
        channels: 1 for grey, 3 for colours.
        options: Options of the likelihood. ``{"binarise": "stochastic"}`` lets a bernoulli see grey levels as the
            probabilities of bits, which are drawn anew in each step of training, and once for a question: from the
            picture itself, so that its score is a function of the picture. ``"threshold"`` cuts at one half.
        resize: Pictures of another size are resized; otherwise they are refused.
        white: Level of white in the column: 255, or 1 for pictures of zeros and ones.

    Example:
        >>> tensor = pa.FixedShapeTensorArray.from_numpy_ndarray(np.zeros((3, 4, 4), np.uint8))
        >>> Image.blank("x", tensor.type, "model").fit(pa.chunked_array([tensor])).detail
        '4 x 4, grey'
    """

    likelihood: str
    size: tuple[int, ...] = ()
    channels: int = 0
    options: dict[str, Option] = msgspec.field(default_factory=dict)
    resize: bool = False
    white: int = WHITE

    editable: ClassVar[frozenset[str]] = Field.editable | {"likelihood", "options", "size", "channels", "resize"}

    def __post_init__(self) -> None:
        self._check_likelihood(self.likelihood, self.options)
        if (
            self.channels not in (0, 1, 3)
            or self.white not in (1, WHITE)
            or len(self.size) not in (0, 2)
            or min(self.size, default=1) < 1
        ):
            raise ConfigError(
                f"field {self.name!r}: an image has a size of at least (1, 1), 1 or 3 channels, and white at 1 or 255; "
                f"got {self.size}, {self.channels} and {self.white}"
            )

    @property
    def block(self) -> str:
        """Each image is a block of its own."""
        return f"condition.image.{self.name}" if self.role == "condition" else f"image.{self.name}"

    @property
    def detail(self) -> str:
        """Size and colours."""
        if not self.size:
            return ""
        more = ", resized" if self.resize else ""
        return f"{self.size[0]} x {self.size[1]}, {'grey' if self.channels == 1 else 'colours'}{more}"

    @property
    def encoded(self) -> pa.DataType:
        """The type of columns that the model gives: the field's own, and bytes of PNG files where it holds paths."""
        kind = parse_type(self.type)
        return pa.binary() if pixels.is_path(kind) else kind

    @classmethod
    def accepts(cls, kind: pa.DataType) -> bool:
        """Whether a column of this Arrow type can hold images."""
        return pixels.is_tensor(kind) or pixels.is_bytes(kind) or pixels.is_path(kind)

    @classmethod
    def blank(cls, name: str, kind: pa.DataType, role: Role) -> Self:
        """An image that is not fitted yet."""
        if pixels.is_tensor(kind):
            kind = pa.fixed_shape_tensor(kind.value_type, kind.shape)  # without names, and axes in their order
        return cls(name=name, type=str(kind), role=role, likelihood="logistic_mixture")

    def changes(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Another likelihood has other options, and a size that is asked for is one to resize to."""
        found: dict[str, Any] = {}
        if "size" in asked and "resize" not in asked:
            found["resize"] = True
        if asked.get("likelihood", self.likelihood) != self.likelihood and "options" not in asked:
            found["options"] = {}
        return found

    def tally(self, column: Column, *, strict: bool = True) -> Pictures:
        """Sizes, colours and levels of the images of a column."""
        kind = column.type
        if pa.types.is_null(kind):
            return Pictures(len(column), 0, Counter(), set())
        if pixels.is_tensor(kind):
            levels, seen = pixels.tensors(column)
            some = levels[seen]
            values = set(np.flatnonzero(np.bincount(some.ravel(), minlength=256)).tolist()) if some.size else set()
            found = Counter({pixels.tensor_shape(kind): int(seen.sum())}) if seen.any() else Counter()
            return Pictures(len(column), int(seen.sum()), found, values)
        self._check_encoded(kind)
        shapes: Counter[tuple[int, int, int]] = Counter()
        values = set()
        for row, content in enumerate(pixels.stored(column)):
            if content is None:
                continue
            try:
                shape = pixels.size_of(content, row)
                if shapes.total() < _LOOKED:
                    values |= set(np.unique(pixels.open_image(content, shape[2], row)).tolist())
            except ContractError as error:
                if strict:
                    raise _named(error, self.name) from error
                continue
            shapes[shape] += 1
        return Pictures(len(column), shapes.total(), shapes, values)

    def fitted(self, tally: Pictures) -> Self:
        """The field with the size and the colours of most images, the longer side at most 64 pixels."""
        if not tally.seen:
            raise ContractError("the training rows hold no image; set its role to 'ignore'", field=self.name)
        (height, width, _), _ = tally.shapes.most_common(1)[0]
        size = self.size or _bounded(height, width)
        resize = self.resize or (not self.size and (size != (height, width) or len(tally.sizes) > 1))
        channels = self.channels or max(shape[2] for shape in tally.shapes)
        white = 1 if tally.values <= {0, 1} and tally.values and pixels.is_tensor(parse_type(self.type)) else WHITE
        missing = 1.0 - tally.seen / max(tally.rows, 1)
        return msgspec.structs.replace(self, size=size, channels=channels, resize=resize, white=white, missing=missing)

    def cells(self, values: Sequence[Any]) -> pa.Array:
        """Arrays (height, width[, channels]), encoded bytes, or, for a field of paths, paths as a column."""
        kind = parse_type(self.type)
        if pixels.is_path(kind):
            bytes_ = any(isinstance(value, bytes) for value in values)
            return pa.array(values, pa.binary() if bytes_ else kind)
        if not pixels.is_tensor(kind):
            return pa.array(values, kind)
        shape = tuple(kind.shape)
        blank = np.zeros(shape, np.uint8)
        arrays = [blank if value is None else np.asarray(value) for value in values]
        for array in arrays:
            if array.shape != shape or array.dtype.kind not in "biu" or (array.size and array.max() > WHITE):
                raise ValueError(f"expected levels of shape {shape}, got {array.dtype} of shape {array.shape}")
        stack = np.stack(arrays).astype(np.uint8) if arrays else np.empty((0, *shape), np.uint8)
        return _tensor_array(stack, kind, np.array([value is None for value in values], np.bool_))

    def error(self, real: Column, seen: Column) -> dict[str, float]:
        """Root mean squared difference of levels, over observed images."""
        codec = ImageCodec(self)
        (first, there), (second, also) = (codec.read(column) for column in (real, seen))
        both = there & also
        if not both.any():
            return {}
        gap = first[both].astype(np.float64) - second[both]
        return {"rmse": float(np.sqrt(np.mean(np.square(gap))))}

    def merge(self, column: Column, filled: pa.Array, missing: NDArray[np.bool_]) -> pa.Array | Column:
        """A column with its missing images filled; a column of paths becomes one of the bytes of the files."""
        if pa.types.is_null(column.type):
            return filled
        if pixels.is_tensor(column.type):
            values, _ = pixels.tensors(column)
            fresh, seen = self._like(pa.chunked_array([filled]), column.type)
            there = column.is_valid().to_numpy() | (missing & seen)
            merged = np.where(missing.reshape(-1, *[1] * (values.ndim - 1)), fresh, values)
            return _tensor_array(merged, column.type, ~there)
        new = self._encoded(filled) if pixels.is_tensor(filled.type) else filled.to_pylist()
        old = pixels.stored(column)
        cells = [new[row] if missing[row] else content for row, content in enumerate(old)]
        return pa.array(cells, pa.binary() if pixels.is_path(column.type) else column.type)

    def codec(self, fields: Sequence[Any]) -> Codec:
        """What encodes and decodes the block of one image."""
        return ImageCodec(fields[0])

    def _like(self, filled: Column, kind: pa.DataType) -> tuple[Array, NDArray[np.bool_]]:
        """Images that the model gave, as elements of tensors of a type, and where there are some."""
        if filled.type == kind:
            return pixels.tensors(filled)
        codec = ImageCodec(self)
        levels, seen = codec.read(filled)
        return codec.shaped(levels, kind), seen

    def _encoded(self, filled: pa.Array) -> list[bytes | None]:
        """Tensors as PNG files, for columns that hold files where the field holds tensors."""
        levels, seen = pixels.tensors(pa.chunked_array([filled]))
        levels = levels.reshape(len(levels), *pixels.tensor_shape(filled.type)) * np.uint8(WHITE // self.white)
        return [pixels.png(one) if there else None for one, there in zip(levels, seen.tolist(), strict=True)]

    def _check_encoded(self, kind: pa.DataType) -> None:
        if not pixels.is_bytes(kind) and not pixels.is_path(kind):
            raise wrong_type(self, "images: uint8 tensors (height, width[, channels]), PNG or JPEG bytes, paths", kind)


@dataclass(frozen=True)
class Pictures:
    """What fitting an image needs to know of some rows.

    Args:
        rows: Number of rows.
        seen: Of which so many hold an image.
        shapes: Height, width and channels, with the number of images that have them.
        values: Levels that occur.
    """

    rows: int
    seen: int
    shapes: Counter[tuple[int, int, int]]
    values: set[int]

    @property
    def sizes(self) -> set[tuple[int, int]]:
        """Heights and widths."""
        return {shape[:2] for shape in self.shapes}

    @property
    def bits(self) -> bool:
        """Whether there are two levels only: black and white."""
        return self.values <= {0, 1} or self.values <= {0, WHITE}

    def merged(self, other: Pictures) -> Pictures:
        """The tally of the rows of both."""
        return Pictures(
            self.rows + other.rows, self.seen + other.seen, self.shapes + other.shapes, self.values | other.values
        )


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
            raise _named(error, self._field.name) from error

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
            return _tensor_array(self.shaped(levels, kind), kind, lost)
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
        self._field._check_encoded(column.type)
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


def _bounded(height: int, width: int) -> tuple[int, int]:
    """A size of the same form whose longer side has at most 64 pixels.

    Example:
        >>> _bounded(28, 28), _bounded(480, 640)
        ((28, 28), (48, 64))
    """
    share = min(1.0, _LARGEST / max(height, width))
    return max(1, round(height * share)), max(1, round(width * share))


def _tensor_array(levels: Array, kind: pa.DataType, missing: NDArray[np.bool_]) -> pa.Array:
    """Levels (B, ...) as a column of tensors."""
    flat = pa.array(np.ascontiguousarray(levels).reshape(-1))
    if pa.types.is_boolean(kind.value_type):
        flat = flat.cast(pa.bool_())
    mask = pa.array(missing) if missing.any() else None
    storage = pa.FixedSizeListArray.from_arrays(flat, type=kind.storage_type, mask=mask)
    return pa.ExtensionArray.from_storage(kind, storage)


def _named(error: ContractError, field: str) -> ContractError:
    return ContractError(error.message, field=field, row=error.row, expected=error.expected, got=error.got)
