"""Tensors of the Open Inference Protocol: columns of rows from them, and tensors from columns of an answer.

One tensor is one column: of shape [n], [n, 1], or [n, width] where the field is a list. NaN and empty text count as
missing (unless empty text is a category), and what is missing in an answer is NaN or empty. What a tensor cannot hold
as it is, such as a point in time, is text in `BYTES`.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from vaekit.errors import ContractError
from vaekit.fields.arrow_types import is_list, is_number, value_type
from vaekit.fields.pixels import WHITE
from vaekit.serving.wire.inference import DENSE, datatype, is_dense
from vaekit.serving.worker.cells import Cells, column_facts, plain_values, shortest
from vaekit.serving.worker.refusals import Refusal
from vaekit.serving.worker.rows import TableRows

if TYPE_CHECKING:
    from vaekit.serving.worker.hosted import Hosted

__all__ = ["DTYPES", "Tensor", "bytes_of", "numbers", "outputs_of", "rows_of", "tensor", "tensor_of", "texts_of"]

DTYPES = {"BOOL": np.dtype("?"), "FP16": np.dtype("<f2"), "FP32": np.dtype("<f4"), "FP64": np.dtype("<f8")}
DTYPES |= {f"INT{8 * size}": np.dtype(f"<i{size}") for size in (1, 2, 4, 8)}
DTYPES |= {f"UINT{8 * size}": np.dtype(f"<u{size}") for size in (1, 2, 4, 8)}
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True)
class Tensor:
    """One tensor.

    Args:
        name: Its name.
        datatype: Its data type, as the protocol names it.
        shape: Its shape.
        values: Its elements in row-major order: an array, or of `BYTES` a list of text.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: np.ndarray[Any, Any] | list[str | None]

    @property
    def listed(self) -> list[Any]:
        """The elements as plain values; missing ones are None."""
        if isinstance(self.values, list):
            return self.values
        plain: list[Any] = self.values.tolist()
        if self.values.dtype.kind == "f" and not np.isfinite(self.values).all():
            return [None if value != value else value for value in plain]
        return plain

    @property
    def written(self) -> list[Any]:
        """The same, as JSON holds it: with no more digits than the data type has."""
        if isinstance(self.values, np.ndarray) and self.values.dtype == np.float32:
            return replace(self, values=shortest(pa.array(self.values)).to_numpy()).listed
        return self.listed


def tensor(name: str, kind: str, shape: Sequence[int], values: Any) -> Tensor:
    """A tensor whose number of elements is that of its shape.

    Args:
        name: Its name.
        kind: Its data type.
        shape: Its shape.
        values: Its elements, as `Tensor` holds them.

    Raises:
        Refusal: If the shape is not that of one or several values per row, or there are more or fewer elements.
    """
    if not shape or min(shape) < 0 or math.prod(shape) != len(values):
        raise Refusal(400, "bad_tensor", f"input {name!r} has shape {list(shape)}, and {len(values)} elements")
    return Tensor(name, kind, tuple(shape), values)


def numbers(name: str, kind: str, content: Any) -> np.ndarray[Any, Any]:
    """Elements of a numeric tensor from bytes in little-endian order.

    Raises:
        Refusal: If the data type is unknown, or bytes are left over.
    """
    if kind not in DTYPES:
        raise Refusal(400, "bad_tensor", f"input {name!r} has datatype {kind!r}; known are: {', '.join(DTYPES)}, BYTES")
    if len(content) % DTYPES[kind].itemsize:
        raise Refusal(400, "bad_tensor", f"input {name!r}: {len(content)} bytes are no whole number of {kind}")
    found: np.ndarray[Any, Any] = np.frombuffer(content, DTYPES[kind])
    return found


def texts_of(name: str, content: Any) -> list[str | None]:
    """Elements of a `BYTES` tensor: each is its length in four bytes, and then UTF-8.

    Raises:
        Refusal: If a length leads beyond the end, or an element is no UTF-8.

    Example:
        >>> texts_of("carrier", bytes_of(["UA", "é"]))
        ['UA', 'é']
    """
    found: list[str | None] = []
    at, view = 0, memoryview(content)
    while at < len(view):
        end = at + _LENGTH.size
        end += _LENGTH.unpack_from(view, at)[0] if end <= len(view) else len(view)
        if end > len(view):
            raise Refusal(400, "bad_tensor", f"input {name!r}: element {len(found)} goes beyond the end of its bytes")
        try:
            found.append(str(view[at + _LENGTH.size : end], "utf-8"))
        except UnicodeDecodeError as error:
            raise Refusal(400, "bad_tensor", f"input {name!r}: element {len(found)} is not UTF-8") from error
        at = end
    return found


def bytes_of(texts: Sequence[str | None]) -> bytes:
    """The elements of a `BYTES` tensor as bytes; missing ones are empty."""
    encoded = [(text or "").encode() for text in texts]
    return b"".join(part for text in encoded for part in (_LENGTH.pack(len(text)), text))


# ----------------------------------------------------------------------------------------------------------------- rows


def rows_of(tensors: Sequence[Tensor], hosted: Hosted) -> TableRows:
    """The rows that tensors hold, in the types of the model's fields.

    Args:
        tensors: One tensor per field; or one that holds all of them, if they all are single numbers.
        hosted: The model.

    Raises:
        Refusal: If a tensor is of no field, is there twice, or has another number of rows than the first.
        ContractError: If a value cannot be held in the type of its field.
    """
    cells = hosted.cells
    if len(tensors) == 1 and tensors[0].name == DENSE and DENSE not in cells and is_dense(hosted.facts):
        tensors = _columns(tensors[0], list(cells))
    columns: dict[str, pa.Array] = {}
    for one in tensors:
        if one.name not in cells:
            raise Refusal(400, "bad_tensor", f"there is no input {one.name!r}; inputs are: {', '.join(cells)}")
        if one.name in columns:
            raise Refusal(400, "bad_tensor", f"input {one.name!r} is there twice")
        if one.shape[0] != tensors[0].shape[0]:
            raise Refusal(
                400,
                "bad_tensor",
                f"input {one.name!r} has {one.shape[0]} rows, {tensors[0].name!r} has {tensors[0].shape[0]}",
            )
        columns[one.name] = _column(one, cells[one.name])
    ordered = [name for name in cells if name in columns]
    return TableRows(pa.table({name: columns[name] for name in ordered}))


def _columns(dense: Tensor, names: Sequence[str]) -> list[Tensor]:
    """One tensor per column of a matrix."""
    if dense.datatype not in ("FP32", "FP64") or dense.shape[1:] != (len(names),):
        raise Refusal(
            400,
            "bad_tensor",
            f"input {DENSE!r} is FP32 or FP64 of shape [rows, {len(names)}], with the fields {', '.join(names)} in "
            f"this order; got {dense.datatype} of shape {list(dense.shape)}",
        )
    matrix = np.ascontiguousarray(np.asarray(dense.values).reshape(dense.shape).T)
    return [Tensor(name, dense.datatype, dense.shape[:1], matrix[at]) for at, name in enumerate(names)]


def _column(one: Tensor, cells: Cells) -> pa.Array:
    """A tensor as a column of the type of its field; levels of an image as one of tensors."""
    if cells.image and isinstance(one.values, np.ndarray):
        return _levels(one)
    width = math.prod(one.shape[1:])
    if width != (cells.length or 1):
        raise Refusal(
            400, "bad_tensor", f"input {one.name!r} has shape [rows, {cells.length or 1}]; got {list(one.shape)}"
        )
    values = one.values
    if isinstance(values, np.ndarray) and values.dtype.kind == "f" and pa.types.is_floating(cells.item):
        if not cells.list:
            return _floats(values, cells.item)
        if pa.types.is_fixed_size_list(cells.type):
            return pa.FixedSizeListArray.from_arrays(_floats(values, cells.item), type=cells.type)
    plain = one.listed
    if cells.json == "boolean":
        plain = [bool(value) if value in (0, 1) else value for value in plain]  # numbers, where some are missing
    elif cells.json == "string" and "" not in getattr(cells.field, "levels", ()):
        plain = [value or None for value in plain]
    if cells.list:
        plain = [plain[at : at + width] for at in range(0, len(plain), width)] if width else [[]] * one.shape[0]
    return cells.array([_checked(value, row, cells) for row, value in enumerate(plain)])


def _levels(one: Tensor) -> pa.Array:
    """A tensor of levels, (rows, height, width) or with channels last, as a column of images."""
    if one.datatype not in ("UINT8", "BOOL") or len(one.shape) not in (3, 4):
        raise Refusal(
            400,
            "bad_tensor",
            f"input {one.name!r} is an image: BYTES with PNG or JPEG files in base64, or UINT8 of shape [rows, height, "
            f"width] or [rows, height, width, 1 or 3]; got {one.datatype} of shape {list(one.shape)}",
        )
    kind = pa.fixed_shape_tensor(pa.from_numpy_dtype(DTYPES[one.datatype]), one.shape[1:])
    storage = pa.FixedSizeListArray.from_arrays(pa.array(np.asarray(one.values)), type=kind.storage_type)
    return pa.ExtensionArray.from_storage(kind, storage)


def _checked(value: Any, row: int, cells: Cells) -> Any:
    try:
        return cells.checked(value)
    except ContractError as error:
        raise ContractError(error.message, field=cells.name, row=row, expected=error.expected, got=error.got) from error


def _floats(values: np.ndarray[Any, Any], kind: pa.DataType) -> pa.Array:
    """Floating-point numbers of which NaN is missing; those that a narrower type cannot hold become infinite."""
    with np.errstate(over="ignore"):
        values = values.astype(kind.to_pandas_dtype(), copy=False)
    missing = np.isnan(values)
    return pa.array(values, kind, mask=missing if missing.any() else None)


# -------------------------------------------------------------------------------------------------------------- answers


def tensor_of(name: str, column: pa.ChunkedArray, white: int = WHITE) -> Tensor:
    """A column of an answer as a tensor.

    Args:
        name: Its name.
        column: The column.
        white: Level of white, where it holds pictures as numbers.
    """
    array = column.combine_chunks()
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    facts = column_facts(name, array.type)
    kind = datatype(facts)
    shape: tuple[int, ...] = (len(array),)
    if is_list(array.type):
        width = facts.width if facts.width > 0 else next((len(one) for one in array if one.is_valid), 0)
        shape = (len(array), width)
        array = pa.concat_arrays([array.slice(0, 0).flatten(), *_lists(array, width)])
    item = value_type(array.type)
    if pa.types.is_boolean(item) or is_number(item):
        values = array.to_numpy(zero_copy_only=False)
        if array.null_count:  # there is no missing element but NaN
            kind = kind if kind.startswith("FP") else "FP64"
            values = array.cast(pa.float64()).to_numpy(zero_copy_only=False)
        return Tensor(name, kind, shape, np.ascontiguousarray(values, DTYPES[kind]))
    plain = plain_values(array, white)
    if kind == "BYTES":
        return Tensor(name, kind, shape, plain)
    return Tensor(name, kind, shape, np.array(plain, DTYPES[kind]))


def outputs_of(
    table: pa.Table, names: Iterable[str] | None, whites: Mapping[str, int] = MappingProxyType({})
) -> Iterator[Tensor]:
    """The columns of an answer that were asked for, as tensors.

    Args:
        table: The answer.
        names: Names of columns; None: all.
        whites: Level of white in columns of pictures, by name.

    Raises:
        Refusal: If there is no such column.
    """
    for name in table.column_names if names is None else names:
        if name not in table.column_names:
            raise Refusal(400, "bad_tensor", f"there is no output {name!r}; there are: {', '.join(table.column_names)}")
        yield tensor_of(name, table.column(name), whites.get(name, WHITE))


def _lists(array: pa.Array, width: int) -> list[pa.Array]:
    """The elements of lists; those of a missing list are missing."""
    if not array.null_count:
        return [array.flatten()]
    nothing = pa.nulls(width, array.type.value_type)
    return [nothing if not one.is_valid else one.values for one in array]
