"""Cells in JSON: what a value of a field looks like there, and columns of such values as Arrow arrays and back.

An image is the text of a PNG or JPEG file in base64, whatever its column holds where the model was fitted.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from datetime import time
from itertools import chain
from types import GenericAlias
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from vaekit.errors import ContractError
from vaekit.fields import numeric
from vaekit.fields.arrow_types import is_list, is_number, is_text, parse_type, value_type
from vaekit.fields.numeric import Numeric
from vaekit.fields.pixels import MOST_PIXELS, WHITE, is_bytes, is_tensor, png, size_of, tensor_shape, tensors
from vaekit.fields.temporal import is_datetime
from vaekit.serving.wire.facts import ColumnFacts

if TYPE_CHECKING:
    from vaekit.fields import AnyField

__all__ = ["Cells", "column_facts", "plain_values", "shortest"]

_TYPES: dict[str, Any] = {"number": float, "integer": int, "boolean": bool, "string": str}
_ISO = "%Y-%m-%dT%H:%M:%S"


def column_facts(name: str, kind: pa.DataType) -> ColumnFacts:
    """What there is to know of a column of some Arrow type.

    Example:
        >>> column_facts("v", pa.list_(pa.float32(), 3)).width
        3
    """
    item, width = value_type(kind), 0
    if is_list(kind):
        item, width = kind.value_type, kind.list_size if pa.types.is_fixed_size_list(kind) else -1
    return ColumnFacts(name=name, type=str(kind), item=str(item), json=_json(item), width=width)


def _json(kind: pa.DataType) -> str:
    if pa.types.is_boolean(kind):
        return "boolean"
    if pa.types.is_integer(kind):
        return "integer"
    return "string" if is_text(kind) or _is_iso(kind) or is_bytes(kind) or is_tensor(kind) else "number"


def _is_iso(kind: pa.DataType) -> bool:
    """Whether values of a type are written as ISO 8601 text: points in time, and times of day."""
    return is_datetime(kind) or bool(pa.types.is_time(kind))


class Cells:
    """How one field is written in JSON: numbers as numbers, dates and times as ISO 8601 text, vectors as lists.

    Args:
        field: The field.
        pixels: Most pixels of an image.
    """

    def __init__(self, field: AnyField, pixels: int = MOST_PIXELS) -> None:
        self.field, self.name = field, field.name
        self.image, self.pixels, self.white = field.kind == "image", pixels, int(getattr(field, "white", WHITE))
        self.type = pa.binary() if self.image else parse_type(field.type)
        self.list = is_list(self.type)
        self.item = self.type.value_type if self.list else value_type(self.type)
        self.json = _json(self.item)
        self.length = int(getattr(field, "length", 0)) if self.list else 0
        self._doubles = struct.Struct(f"{self.length}d")
        self._text_number = isinstance(field, Numeric) and field.text is not None

    @property
    def python(self) -> Any:
        """The type of a value, as msgspec decodes it."""
        if self._text_number:
            return str | float | None
        item: Any = (int | float if self.json == "number" else _TYPES[self.json]) | None
        return GenericAlias(list, (item,)) | None if self.list else item

    def checked(self, value: Any) -> Any:
        """A value of any JSON type in the form that `array` takes.

        Raises:
            ContractError: The value has the wrong type.
        """
        if value is None:
            return None
        if self.list:
            if not isinstance(value, list):
                raise self._wrong(value, f"a list of {self.length} {self.json}s")
            return [None if one is None else self._scalar(one) for one in value]
        return self._scalar(value)

    def _scalar(self, value: Any) -> Any:
        kind = type(value)
        if self.json == "number" and kind in (int, float):
            return value
        if self.json == "integer" and kind is float and value.is_integer():
            return int(value)
        if (self._text_number and kind in (int, float)) or kind is _TYPES[self.json]:
            return value
        if self.list and self.json == "integer" and kind is bool:
            return int(value)
        if self.list and self.json == "boolean" and value in (0, 1):
            return bool(value)
        raise self._wrong(value, f"a {self.json}" if self.json != "integer" else "a whole number")

    def _wrong(self, value: Any, expected: str) -> ContractError:
        return ContractError("value has the wrong type", field=self.name, expected=expected, got=f"{value!r:.80}")

    def array(self, values: Sequence[Any]) -> pa.Array:
        """Values, as `python` or `checked` give them, as a column of the field's type.

        Raises:
            ContractError: A value is out of the range of the type, or a list has the wrong length.
        """
        if self.image:
            return pa.array(
                [None if one is None else self._picture(one, row) for row, one in enumerate(values)], self.type
            )
        try:
            return self._lists(values) if self.list else self._plain(values)
        except (pa.ArrowException, OverflowError, ValueError, TypeError):
            raise self._first_bad(values) from None

    def _picture(self, text: str, row: int) -> bytes:
        """The bytes of an image, bounded before anything is unpacked."""
        try:
            content = base64.b64decode(text.partition(",")[2] if text.startswith("data:") else text, validate=True)
        except ValueError:
            expected, got = "a PNG or JPEG file in base64", f"{text!r:.80}"
            raise ContractError("value cannot be read", field=self.name, row=row, expected=expected, got=got) from None
        self.bounded(content, row)
        return content

    def bounded(self, content: bytes, row: int) -> None:
        """Refuse an encoded image of more pixels than are read, by its head.

        Raises:
            ContractError: It has more, or is no image.
        """
        try:
            height, width, _ = size_of(content, row)
        except ContractError as error:
            raise ContractError(
                error.message, field=self.name, row=row, expected=error.expected, got=error.got
            ) from error
        if height * width > self.pixels:
            expected, got = f"at most {self.pixels} pixels", f"{width} x {height}"
            raise ContractError("image is too large", field=self.name, row=row, expected=expected, got=got)

    def _first_bad(self, values: Sequence[Any]) -> ContractError:
        """The error for the first value that cannot be held alone."""
        for row, value in enumerate(values):
            try:
                self._lists([value]) if self.list else self._plain([value])
            except (pa.ArrowException, OverflowError, ValueError, TypeError):
                expected = "ISO 8601" if _is_iso(self.item) else self.field.type
                return ContractError(
                    "value cannot be read", field=self.name, row=row, expected=expected, got=f"{value!r:.80}"
                )
        return ContractError("values cannot be read", field=self.name, expected=self.field.type)

    def _plain(self, values: Sequence[Any]) -> pa.Array:
        if self._text_number:
            return pa.array([self._written(one) if type(one) in (int, float) else one for one in values], self.type)
        found = self._items(values)
        return found.dictionary_encode().cast(self.type) if pa.types.is_dictionary(self.type) else found

    def _written(self, number: float) -> str:
        """A number as the text that the column holds."""
        return str(self.field.write(np.array([float(number)]))[0].as_py())  # type: ignore[union-attr]

    def _items(self, values: Sequence[Any]) -> pa.Array:
        if is_datetime(self.item):
            return pa.array(values, pa.string()).cast(self.item)
        if pa.types.is_time(self.item):  # Arrow does not cast text to times of day
            return pa.array([None if one is None else time.fromisoformat(one) for one in values], self.item)
        if self.json == "number" and not is_number(self.item):
            return numeric.write(np.array(values, np.float64), self.item)
        return pa.array(values, self.item)

    def _lists(self, values: Sequence[Any]) -> pa.Array:
        there = [one for one in values if one is not None]
        for row, one in enumerate(values):
            if one is not None and len(one) != self.length:
                expected, got = f"{self.length} elements", f"{len(one)}"
                raise ContractError("list has the wrong length", field=self.name, row=row, expected=expected, got=got)
        flat = self._elements(there)
        gone = np.array([one is None for one in values], bool)
        mask = pa.array(gone) if gone.any() else None
        if pa.types.is_fixed_size_list(self.type):
            if mask is not None:  # a list that is missing has elements all the same
                places = np.cumsum(np.repeat(~gone, self.length)) - 1
                flat = flat.take(pa.array(places, mask=np.repeat(gone, self.length)))
            return pa.FixedSizeListArray.from_arrays(flat, type=self.type, mask=mask)
        offsets = np.concatenate([[0], np.cumsum(self.length * ~gone)])
        large = pa.types.is_large_list(self.type)
        family, size = (pa.LargeListArray, pa.int64()) if large else (pa.ListArray, pa.int32())
        return family.from_arrays(pa.array(offsets, size), flat, type=self.type, mask=mask)

    def _elements(self, rows: Sequence[Sequence[Any]]) -> pa.Array:
        """All elements one after the other."""
        if self.json != "number":
            return pa.array(list(chain.from_iterable(rows)), self.item)
        try:
            packed = b"".join([self._doubles.pack(*row) for row in rows])
        except struct.error:  # an element is null
            packed = np.array(rows, np.float64).tobytes()
            flat = pa.Array.from_buffers(pa.float64(), len(packed) // 8, [None, pa.py_buffer(packed)])
            return pc.if_else(pc.is_nan(flat), None, flat).cast(self.item, safe=False)
        flat = pa.Array.from_buffers(pa.float64(), len(packed) // 8, [None, pa.py_buffer(packed)])
        return flat if self.item == pa.float64() else flat.cast(self.item, safe=False)


def shortest(array: pa.Array) -> pa.Array:
    """Numbers of single precision as those of double precision that take the fewest digits to write and read back.

    Example:
        >>> shortest(pa.array([0.1], pa.float32())).to_pylist(), pa.array([0.1], pa.float32()).to_pylist()
        ([0.1], [0.10000000149011612])
    """
    return array.cast(pa.string()).cast(pa.float64())


def plain_values(column: pa.ChunkedArray | pa.Array, white: int = WHITE) -> list[Any]:
    """A column as plain values that JSON can hold: numbers, text, lists; null for what is missing.

    Args:
        column: The column.
        white: Level of white, where it holds pictures as numbers.

    Example:
        >>> plain_values(pa.array([1.5, None])), plain_values(pa.array([0], pa.timestamp("s")))
        ([1.5, nan], ['1970-01-01T00:00:00'])
        >>> plain_values(pa.array([18000], pa.time32("s"))), plain_values(pa.array([0.1], pa.float32()))
        (['05:00:00'], [0.1])
    """
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    kind = array.type
    if pa.types.is_dictionary(kind):
        return plain_values(array.dictionary_decode())
    if is_tensor(kind):
        return _pictures(array, 1 if pa.types.is_boolean(kind.value_type) else white)
    if is_bytes(kind):
        return [None if one is None else base64.b64encode(one).decode() for one in array.to_pylist()]
    if is_list(kind):
        return _plain_lists(array)
    if kind == pa.float32():
        array = shortest(array)
    if pa.types.is_floating(kind) or (pa.types.is_integer(kind) and not array.null_count):
        plain: list[Any] = array.to_numpy(zero_copy_only=False).tolist()  # NaN is null in JSON
        return plain
    if pa.types.is_timestamp(kind):
        return list(pc.strftime(array, format=_ISO if kind.tz is None else f"{_ISO}%Ez").to_pylist())
    if pa.types.is_decimal(kind):
        array = array.cast(pa.float64())
    elif pa.types.is_duration(kind):
        ticks = array.cast(pa.int64()).cast(pa.float64())
        array = pc.divide(ticks, float({"s": 1, "ms": 1e3, "us": 1e6, "ns": 1e9}[kind.unit]))
    elif is_datetime(kind):
        array = array.cast(pa.date32()).cast(pa.string())
    elif pa.types.is_time(kind):
        array = array.cast(pa.string())
    return list(array.to_pylist())


def _pictures(array: pa.Array, white: int) -> list[Any]:
    """Tensors as PNG files in base64."""
    levels, seen = tensors(pa.chunked_array([array]))
    levels = levels.reshape(len(levels), *tensor_shape(array.type)).astype(np.uint8) * np.uint8(WHITE // white)
    return [
        base64.b64encode(png(one)).decode() if there else None for one, there in zip(levels, seen.tolist(), strict=True)
    ]


def _plain_lists(array: pa.Array) -> list[Any]:
    """Lists of plain values."""
    values = plain_values(array.flatten())
    ends = np.cumsum(pc.list_value_length(array).fill_null(0).to_numpy()).tolist()
    found = [values[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    if not array.null_count:
        return found
    return [one if there else None for one, there in zip(found, array.is_valid().to_pylist(), strict=True)]
