"""Columns of numbers as one float64 matrix, and back: what `number` and `count` share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vaekit.errors import ContractError
from vaekit.fields.arrow_types import is_number, value_type
from vaekit.fields.base import Column, Field, Float, wrong_type
from vaekit.fields.profile import HUGE

__all__ = ["column_values", "read", "refuse_first", "write"]

_EXACT = 2.0**53


def column_values(field: Field, column: Column) -> Float:
    """One column as float64 with NaN for what is missing, shape (B,).

    Raises:
        ContractError: The column does not hold numbers.

    Example:
        >>> from vaekit.fields.number import Number
        >>> field = Number.blank("a", pa.int64(), "model")
        >>> column_values(field, pa.chunked_array([[1, None]]))
        array([ 1., nan])
    """
    if pa.types.is_null(column.type):
        return np.full(len(column), np.nan)
    if pa.types.is_dictionary(column.type) and is_number(value_type(column.type)):
        column = column.cast(value_type(column.type))
    if not is_number(column.type):
        raise wrong_type(field, f"numbers ({field.type})", column.type)
    values: Float = np.asarray(column.to_numpy(), dtype=np.float64)
    return values


def read(fields: Sequence[Field], columns: Sequence[Column | None], rows: int) -> Float:
    """Columns as one matrix with NaN for what is missing, one row per field: shape (F, B).

    Raises:
        ContractError: A column does not hold numbers, or holds an infinite value.
    """
    matrix = np.full((len(fields), rows), np.nan)
    for row, field, column in zip(matrix, fields, columns, strict=True):
        if column is not None:
            row[:] = column_values(field, column)
    finite = "a finite number (below 1e100), or null if it is not known"
    refuse_first(np.abs(matrix) >= HUGE, fields, matrix, "value is infinite", finite)
    return matrix


def refuse_first(bad: NDArray[np.bool_], fields: Sequence[Field], matrix: Float, message: str, expected: str) -> None:
    """Raise for the first row that has a bad cell, if there is one; `bad` and `matrix` have shape (F, B).

    Raises:
        ContractError: Some cell is bad.
    """
    if bad.any():
        row = int(np.argmax(bad.any(axis=0)))
        which = int(np.argmax(bad[:, row]))
        got = repr(float(matrix[which, row]))
        raise ContractError(message, field=fields[which].name, row=row, expected=expected, got=got)


def write(values: NDArray[np.float64], kind: pa.DataType) -> pa.Array:
    """Numbers as an Arrow array of a given type, rounded to integers and clipped to its range; NaN becomes null.

    Args:
        values: Values in the units of the column, shape (B,).
        kind: An integer or floating-point type.

    Example:
        >>> write(np.array([1.6, np.nan, 300.0]), pa.uint8()).to_pylist()
        [2, None, 255]
    """
    missing = np.isnan(values)
    target = np.dtype(kind.to_pandas_dtype())
    if pa.types.is_integer(kind):
        limits = np.iinfo(target)
        top = float(limits.max)
        top = top if top <= _EXACT else float(np.nextafter(top, 0.0))
        values = np.clip(np.rint(np.where(missing, 0.0, values)), float(limits.min), top)
    else:
        limit = float(np.finfo(target).max)
        values = np.clip(values, -limit, limit)
    return pa.array(values.astype(target), type=kind, mask=missing if missing.any() else None)
