"""Fields that are numbers: columns as one float64 matrix, and back."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vaekit.errors import ContractError
from vaekit.fields.arrow_types import decimals_of, is_number, is_numeric, is_text, parse_type, value_type
from vaekit.fields.base import Codec, Column, Field, Float, Option, wrong_type
from vaekit.fields.number_text import NumberText
from vaekit.fields.profile import HUGE, Profile

__all__ = ["Numeric", "NumericCodec", "is_span", "read", "refuse_first", "write"]

_EXACT = 2.0**53


class Numeric(Field, frozen=True, kw_only=True):
    """What `number`, `count` and their like share: their values are float64, NaN where missing.

    Args:
        likelihood: Name of the likelihood.
        options: Options of the likelihood.
        bounds: Smallest and largest value in the training rows.
        clip: Keep decoded values within `bounds`.
        text: How the numbers are written, in a column of text.
    """

    likelihood: str
    options: dict[str, Option] = msgspec.field(default_factory=dict)
    bounds: tuple[float, float] | None = None
    clip: bool = True
    text: NumberText | None = None

    editable: ClassVar[frozenset[str]] = Field.editable | {"likelihood", "options", "clip", "text"}

    def __post_init__(self) -> None:
        self._check_likelihood(self.likelihood, self.options)

    @property
    def asides(self) -> dict[str, pa.DataType]:
        """The ends of an interval."""
        return {"low": pa.float64(), "high": pa.float64()}

    @classmethod
    def accepts(cls, kind: pa.DataType) -> bool:
        """Whether a column of this Arrow type can hold numbers, be it text with the format of `text`."""
        return is_numeric(value_type(kind))

    def read(self, column: Column) -> Float:
        """One column as float64 with NaN for what is missing, shape (B,).

        Raises:
            ContractError: The column does not hold numbers.
        """
        if pa.types.is_null(column.type):
            return np.full(len(column), np.nan)
        if pa.types.is_dictionary(column.type):
            column = column.cast(value_type(column.type))
        kind = column.type
        if self.text is not None and is_text(kind):
            return self._read_text(column, self.text)
        spans = pa.types.is_duration(kind) or pa.types.is_time(kind)
        if not is_numeric(kind) or (spans and not is_span(self.type)):
            raise wrong_type(self, f"numbers ({self.type})", kind)
        if spans:
            whole = column.cast(pa.int32() if pa.types.is_time32(kind) else pa.int64()).cast(pa.int64())
            seconds: Float = np.asarray(whole.to_numpy(), np.float64) / 10.0 ** (decimals_of(kind) or 0)
            return seconds
        column = column.cast(pa.float64()) if pa.types.is_decimal(kind) else column
        one_piece = column.chunk(0).to_numpy(zero_copy_only=False) if column.num_chunks == 1 else column.to_numpy()
        values: Float = np.asarray(one_piece, dtype=np.float64)
        return values

    def _read_text(self, column: Column, text: NumberText) -> Float:
        values, bad = text.read(column)
        if bad.any():
            row = int(np.argmax(bad))
            expected = f"a number, written like {text.write(np.array([1234.5]))[0].as_py()!r}"
            got = repr(column[row].as_py())
            raise ContractError("value is not a number", field=self.name, row=row, expected=expected, got=got)
        return values

    def cells(self, values: Sequence[Any]) -> pa.Array:
        """As in `Field`; plain numbers take the form of the column, be it text, decimals or durations."""
        if not is_number(parse_type(self.type)) and all(type(value) in (int, float) for value in values):
            return self.write(np.array(values, dtype=np.float64))
        return super().cells(values)

    def aside(self, values: Float) -> pa.Array:
        """Ends of intervals (B,) as a column."""
        return pa.array(values)

    def write(self, values: Float) -> pa.Array:
        """Values in the units of the column (B,) as an array of the column's type; NaN becomes null."""
        kind = parse_type(self.type)
        return write(values, kind) if self.text is None else self.text.write(values).cast(kind)

    def point(self, draws: Float) -> Float:
        """Point estimate of draws (S, B) in the units of the column: their mean."""
        mean: Float = draws.mean(0)
        return mean

    def tally(self, column: Column, *, strict: bool = True) -> Profile:
        """The distinct values of a column with their counts."""
        return Profile.of_values(read([self], [column], len(column))[0] if strict else self.read(column))

    def error(self, real: Column, seen: Column) -> dict[str, float]:
        """Root mean squared error, in the units of the column."""
        gap = np.square(self.read(seen) - self.read(real))
        return {"rmse": float(np.sqrt(np.nanmean(gap)))} if np.isfinite(gap).any() else {}

    def merge(self, column: Column, filled: pa.Array, missing: NDArray[np.bool_]) -> pa.Array | Column:
        """As in `Field`; what is filled in takes the form of the column, and integers are widened to hold it."""
        kind = value_type(column.type)
        if kind != column.type:
            column = column.cast(kind)
        if is_number(kind) and not is_number(filled.type):
            filled = pa.array(self.read(pa.chunked_array([filled])))
        elif is_numeric(kind) and not is_number(kind) and filled.type != kind:
            filled = write(self.read(pa.chunked_array([filled])), kind)
        if pa.types.is_integer(kind) and not kind.equals(filled.type):
            wide = np.promote_types(kind.to_pandas_dtype(), filled.type.to_pandas_dtype())
            column = column.cast(pa.from_numpy_dtype(wide))
        return super().merge(column, filled, missing)


class NumericCodec(Codec):
    """What codecs of numeric fields share."""

    def __init__(self, fields: Sequence[Any]) -> None:
        self.fields = tuple(fields)
        for field in fields:
            parse_type(field.type)  # refuses types that nothing can be decoded to

    @abstractmethod
    def units(self, values: NDArray[Any]) -> Float:
        """Encoded values (B, F, *event) in the units of the columns, one row per field: (F, B); NaN where missing."""

    def decode(self, values: NDArray[Any]) -> list[pa.Array]:
        """Columns of the fields' own types; NaN becomes null."""
        return [field.write(row) for field, row in zip(self.fields, self.units(values), strict=True)]

    def summarise(self, draws: NDArray[Any], wanted: Sequence[int], interval: float) -> list[dict[str, pa.Array]]:
        """The point estimate of each field, and the ends of its interval."""
        samples, tail = len(draws), 0.5 * (1.0 - interval)
        rows = self.units(draws.reshape(-1, *draws.shape[2:])).reshape(len(self.fields), samples, -1)
        found = []
        for index in wanted:
            field, drawn = self.fields[index], rows[index]
            low, high = np.quantile(drawn, [tail, 1.0 - tail], axis=0)
            ends = {name: field.aside(end) for name, end in zip(field.asides, (low, high), strict=True)}
            found.append({"": field.write(field.point(drawn))} | ends)
        return found


def read(fields: Sequence[Numeric], columns: Sequence[Column | None], rows: int) -> Float:
    """Columns as one matrix with NaN for what is missing, one row per field: shape (F, B).

    Raises:
        ContractError: A column does not hold numbers, or holds an infinite value.
    """
    matrix, largest = np.empty((len(fields), rows)), 0.0
    for row, field, column in zip(matrix, fields, columns, strict=True):
        row[:] = np.nan if column is None else field.read(column)
        largest = max(largest, np.fmax.reduce(row, initial=0.0), -np.fmin.reduce(row, initial=0.0))
    if largest >= HUGE:
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


def is_span(kind: str) -> bool:
    """Whether the text of an Arrow type names durations or times of day."""
    return kind.startswith(("duration", "time32", "time64"))


def write(values: NDArray[np.float64], kind: pa.DataType) -> pa.Array:
    """Numbers as an Arrow array of a given type, rounded to its grid and clipped to its range; NaN becomes null.

    Args:
        values: Values in the units of the column, shape (B,); seconds for durations and times of day.
        kind: A type of numbers, or a dictionary of them.

    Example:
        >>> write(np.array([1.6, np.nan, 300.0]), pa.uint8()).to_pylist()
        [2, None, 255]
        >>> write(np.array([1.25]), pa.decimal128(9, 2)).to_pylist()
        [Decimal('1.25')]
    """
    if pa.types.is_dictionary(kind):
        return write(values, kind.value_type).dictionary_encode().cast(kind)
    missing = np.isnan(values)
    mask = missing if missing.any() else None
    values = np.where(missing, 0.0, values)
    if pa.types.is_decimal(kind):
        top = 10.0 ** (kind.precision - kind.scale)
        limit = float(np.nextafter(top, 0.0)) - 10.0**-kind.scale
        return pa.array(np.clip(values, -limit, limit), mask=mask).cast(kind)
    if pa.types.is_duration(kind) or pa.types.is_time(kind):
        units = np.rint(values * 10.0 ** (decimals_of(kind) or 0))
        last = 86_400 * 10.0 ** (decimals_of(kind) or 0) - 1
        units = np.clip(units, 0.0, last) if pa.types.is_time(kind) else np.clip(units, -(2.0**62), 2.0**62)
        return pa.array(units.astype(np.int32 if pa.types.is_time32(kind) else np.int64), type=kind, mask=mask)
    target = np.dtype(kind.to_pandas_dtype())
    if pa.types.is_integer(kind):
        limits = np.iinfo(target)
        top = float(limits.max)
        top = top if top <= _EXACT else float(np.nextafter(top, 0.0))
        values = np.clip(np.rint(values), float(limits.min), top)
    else:
        limit = float(np.finfo(target).max)
        values = np.clip(values, -limit, limit)
    return pa.array(values.astype(target), type=kind, mask=mask)
