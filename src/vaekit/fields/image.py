"""`image`: grey or colour pictures of one size with 8 bits per channel, as tensors, PNG or JPEG bytes, or paths."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vaekit.arrays import Array
from vaekit.errors import ConfigError, ContractError
from vaekit.fields import pixels
from vaekit.fields.arrow_types import parse_type
from vaekit.fields.base import Codec, Column, Field, Option, Role, wrong_type
from vaekit.fields.image_codec import ImageCodec, named
from vaekit.fields.pixels import WHITE

__all__ = ["Image", "Pictures"]

_LOOKED = 64  # encoded images of a batch whose pixels are looked at when the field is fitted
_LARGEST = 64  # pixels of the longer side, unless the user says a size


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
        self.check_encoded(kind)
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
                    raise named(error, self.name) from error
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
        return pixels.tensor_array(stack, kind, np.array([value is None for value in values], np.bool_))

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
            return pixels.tensor_array(merged, column.type, ~there)
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

    def check_encoded(self, kind: pa.DataType) -> None:
        """Refuse a column that holds neither files nor paths of files."""
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


def _bounded(height: int, width: int) -> tuple[int, int]:
    """A size of the same form whose longer side has at most 64 pixels.

    Example:
        >>> _bounded(28, 28), _bounded(480, 640)
        ((28, 28), (48, 64))
    """
    share = min(1.0, _LARGEST / max(height, width))
    return max(1, round(height * share)), max(1, round(width * share))
