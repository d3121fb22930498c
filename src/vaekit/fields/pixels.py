"""Pixels of a column: from tensors, PNG and JPEG bytes, or paths of such files, and back to tensors or PNG."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vaekit.arrays import Array
from vaekit.errors import ContractError
from vaekit.fields.arrow_types import is_text
from vaekit.fields.base import Column

__all__ = [
    "MOST_PIXELS", "SUFFIXES", "WHITE", "Levels", "holds_images", "is_bytes", "is_path", "is_tensor", "looks_encoded",
    "open_image", "opened", "plain", "png", "resized", "size_of", "stored", "tensor_array", "tensor_shape", "tensors",
    "upright",
]  # fmt: skip

Levels = NDArray[np.uint8]

WHITE = 255
"""Level of white, of 8 bits per channel."""
MOST_PIXELS = 2**26
"""Pixels of an encoded image beyond which it is not unpacked."""
SUFFIXES = (".png", ".jpg", ".jpeg")
_MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
_FORMATS = ("PNG", "JPEG")
_ORIENTATION, _LYING = 0x0112, 5  # the EXIF tag, and the first value that exchanges height and width
_TURNS = (0, 3, 1, 5, 4, 6, 2)  # undo orientations 2 to 8, as numbers of Pillow's `Transpose`


def is_tensor(kind: pa.DataType) -> bool:
    """Whether a column holds images as tensors: grey levels or bits of shape (height, width) or with channels last.

    Example:
        >>> is_tensor(pa.fixed_shape_tensor(pa.uint8(), (28, 28))), is_tensor(pa.fixed_shape_tensor(pa.uint8(), (9,)))
        (True, False)
    """
    if not isinstance(kind, pa.FixedShapeTensorType) or kind.value_type not in (pa.uint8(), pa.bool_()):
        return False
    shape = tuple(kind.shape)
    return (len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3))) and min(shape) > 0 and plain(kind)


def plain(kind: pa.DataType) -> bool:
    """Whether the axes of a tensor lie in memory in their order."""
    return list(kind.permutation or ()) in ([], list(range(len(kind.shape))))


def holds_images(kind: pa.DataType) -> bool:
    """Whether a column holds images as tensors or bytes, which text files cannot."""
    return is_tensor(kind) or is_bytes(kind)


def tensor_shape(kind: pa.DataType) -> tuple[int, int, int]:
    """Height, width and channels of images that are held as tensors."""
    shape = tuple(kind.shape)
    return (shape[0], shape[1], shape[2] if len(shape) == 3 else 1)


def is_bytes(kind: pa.DataType) -> bool:
    """Whether a column holds bytes, in any of Arrow's layouts."""
    views = pa.types.is_binary_view(kind) or pa.types.is_fixed_size_binary(kind)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or views)


def looks_encoded(content: bytes) -> bool:
    """Whether bytes begin as a PNG or JPEG file does.

    Example:
        >>> looks_encoded(png(np.zeros((2, 2, 1), np.uint8))), looks_encoded(b"text")
        (True, False)
    """
    return content.startswith(_MAGIC)


def stored(column: Column) -> Iterator[bytes | None]:
    """The encoded images of a column of bytes or of paths, one by one; None where missing.

    Raises:
        ContractError: A file cannot be read; its row is named.
    """
    row = 0
    for chunk in column.chunks:
        for cell in chunk:
            value = cell.as_py()
            if isinstance(value, str):
                try:
                    value = Path(value).read_bytes()
                except (OSError, ValueError) as error:
                    raise ContractError(
                        f"image cannot be read ({getattr(error, 'strerror', None) or error})",
                        row=row,
                        expected="the path of a PNG or JPEG file",
                        got=repr(value)[:80],
                    ) from error
            yield value
            row += 1


def opened(content: bytes, row: int) -> Any:
    """A PNG or JPEG image, its head read and its pixels not yet.

    Raises:
        ContractError: It is no such image, has too many pixels, or more than 8 bits per channel.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():  # of Pillow's own limit, which is another, and of notes that are broken
            warnings.simplefilter("ignore")
            image = Image.open(io.BytesIO(content), formats=_FORMATS)
    except (Image.DecompressionBombError, UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        begins = f"bytes that begin with {content[:8]!r}"
        raise ContractError("value is not an image", row=row, expected="a PNG or JPEG file", got=begins) from error
    if image.width * image.height > MOST_PIXELS:
        got = f"{image.width} x {image.height} pixels"
        raise ContractError("image is too large", row=row, expected=f"at most {MOST_PIXELS:,} pixels", got=got)
    if image.mode.startswith(("I", "F")):
        raise ContractError("image has the wrong depth", row=row, expected="8 bits per channel", got=image.mode)
    return image


def size_of(content: bytes, row: int) -> tuple[int, int, int]:
    """Height, width and channels of an encoded image as it is to be looked at, from its head."""
    image = opened(content, row)
    grey = image.mode in ("1", "L", "LA")
    height, width = (image.width, image.height) if _turned(image) >= _LYING else (image.height, image.width)
    return height, width, 1 if grey else 3


def upright(image: Any) -> Any:
    """An image of Pillow as it is to be looked at: turned as its EXIF orientation says."""
    turn = _turned(image)
    return image.transpose(_TURNS[turn - 2]) if turn > 1 else image


def _turned(image: Any) -> int:
    """The EXIF orientation of an image: 1 as it lies, 2 to 8 mirrored or turned, from 5 on with its sides exchanged."""
    if image.format == "PNG" and "exif" not in image.info:  # to look behind the pixels would unpack them
        return 1
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            turn = int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # Pillow raises whatever a broken note makes it meet; the image is whole
        return 1
    return turn if 1 <= turn <= len(_TURNS) + 1 else 1


def open_image(content: bytes, channels: int, row: int) -> Levels:
    """The levels of an encoded image, shape (height, width, channels), turned as its EXIF orientation says.

    Raises:
        ContractError: It cannot be unpacked.
    """
    image = opened(content, row)
    try:
        levels = np.asarray(upright(image).convert("L" if channels == 1 else "RGB"), np.uint8)
    except (OSError, ValueError, SyntaxError) as error:
        raise ContractError(
            "image cannot be unpacked", row=row, expected="a whole PNG or JPEG", got=str(error)
        ) from error
    return levels[:, :, None] if channels == 1 else levels


def resized(levels: Levels, size: tuple[int, int]) -> Levels:
    """An image (height, width, channels) in another size, by the mean over the area that each new pixel covers.

    Example:
        >>> resized(np.array([[0, 100], [100, 200]], np.uint8)[:, :, None], (1, 1)).ravel().tolist()
        [100]
    """
    from PIL import Image

    if levels.shape[:2] == size:
        return levels
    grey = levels.shape[2] == 1
    image = Image.fromarray(levels[:, :, 0] if grey else levels)
    smaller = size[0] <= levels.shape[0] and size[1] <= levels.shape[1]
    made = np.asarray(image.resize((size[1], size[0]), Image.Resampling.BOX if smaller else Image.Resampling.BICUBIC))
    return made[:, :, None] if grey else made


def png(levels: Levels) -> bytes:
    """An image (height, width, channels) as a PNG file."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(levels[:, :, 0] if levels.shape[2] == 1 else levels).save(file, "PNG")
    return file.getvalue()


def tensors(column: Column) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Tensors of a column as they lie in memory, (B, ...), and where there are some, (B,)."""
    kind, parts, seen = column.type, [np.empty((0, *column.type.shape), np.uint8)], [np.empty(0, np.bool_)]
    for chunk in column.chunks:
        there = chunk.is_valid().to_numpy(zero_copy_only=False)
        flat = chunk.storage.flatten()  # without the elements of missing rows
        if pa.types.is_boolean(flat.type):
            flat = flat.cast(pa.uint8())
        if flat.null_count:
            bad = int(np.flatnonzero(there)[np.flatnonzero(flat.is_null())[0] // int(np.prod(kind.shape))])
            raise ContractError("image has missing pixels", row=bad, expected="whole images, or null", got="null")
        values = flat.to_numpy(zero_copy_only=False).reshape(-1, *kind.shape)
        if not there.all():
            whole = np.zeros((len(chunk), *kind.shape), np.uint8)
            whole[there] = values
            values = whole
        parts.append(values)
        seen.append(there)
    return np.concatenate(parts) if len(parts) != 2 else parts[1], np.concatenate(seen)


def tensor_array(levels: Array, kind: pa.DataType, missing: NDArray[np.bool_]) -> pa.Array:
    """Levels (B, ...) as a column of tensors."""
    flat = pa.array(np.ascontiguousarray(levels).reshape(-1))
    if pa.types.is_boolean(kind.value_type):
        flat = flat.cast(pa.bool_())
    mask = pa.array(missing) if missing.any() else None
    storage = pa.FixedSizeListArray.from_arrays(flat, type=kind.storage_type, mask=mask)
    return pa.ExtensionArray.from_storage(kind, storage)


def is_path(kind: pa.DataType) -> bool:
    """Whether a column holds text, which for an image is the path of a file."""
    return is_text(kind)
