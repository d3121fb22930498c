"""What a column looks like: the kind, likelihood and transform that suit the values of a table."""

from __future__ import annotations

import msgspec
import numpy as np
import pyarrow as pa

from vaekit.fields.arrow_types import is_list, is_number, is_text, value_type
from vaekit.fields.base import Column, Field
from vaekit.fields.category import Category, levels_of, natural_likelihood, plain
from vaekit.fields.count import Count, looks_like_count
from vaekit.fields.datetime import Datetime
from vaekit.fields.number import Number
from vaekit.fields.other import Other, why_not
from vaekit.fields.profile import HUGE, Profile
from vaekit.fields.temporal import find_format, is_datetime
from vaekit.fields.vector import Vector, constant_length, element_matrix

__all__ = ["CHECK", "MAX_LEVELS", "infer_field"]

MAX_LEVELS = 256
CHECK = "check: "  # how notes begin that a user should look at
_EXACT = 2.0**53
_ALMOST_ALL = 0.9
_FEW_ROWS = 20


def infer_field(name: str, column: Column) -> Field:
    """The field that a column looks like, fitted to it.

    Args:
        name: Name of the column.
        column: Its values.

    Returns:
        A field of the kind that suits; of kind ``other`` with role ``ignore`` if nothing can be modelled.

    Example:
        >>> infer_field("sold", pa.chunked_array([[True, False, None]])).kind
        'category'
    """
    kind, rows = column.type, len(column)
    if column.null_count == rows:
        return _left_out(name, kind, "holds no values")
    if is_number(kind):
        return _number(name, column)
    if is_datetime(value_type(kind)) or (is_text(value_type(kind)) and find_format(plain(column))[0]):
        return _datetime(name, column)
    if Category.accepts(kind):
        return _category(name, column)
    if is_list(kind) and Vector.accepts(kind):
        return _vector(name, column)
    return _left_out(name, kind, why_not(value_type(kind)))


def _left_out(name: str, kind: pa.DataType, note: str) -> Other:
    return Other(name=name, type=str(kind), role="ignore", note=note)


def _constant(name: str, kind: pa.DataType, value: object) -> Other:
    return _left_out(name, kind, f"constant: every value is {value!r}")


def _datetime(name: str, column: Column) -> Field:
    """A point in time; one alone is a constant."""
    values = plain(column) if pa.types.is_dictionary(column.type) else column
    if len(values.drop_null().unique()) < 2:
        return _constant(name, column.type, values.drop_null()[0].as_py())
    return Datetime.infer(name, column)


def _number(name: str, column: Column) -> Field:
    """A number, a count, or a category if there are two whole values."""
    kind = column.type
    profile = Number.blank(name, kind, "model").tally(column, strict=False)
    values = profile.values
    if len(values) == 0:
        return _left_out(name, kind, "holds no finite values")
    whole = bool(np.all(values == np.floor(values)))
    if pa.types.is_integer(kind) and max(abs(values[0]), abs(values[-1])) > _EXACT:
        return _left_out(name, kind, "integers beyond 2**53: an identifier or a timestamp?")
    if len(values) == 1:
        return _constant(name, kind, int(values[0]) if whole and abs(values[0]) < _EXACT else float(values[0]))
    if len(values) == 2 and whole and not profile.infinite and abs(values).max() < _EXACT:
        levels = tuple(int(value) for value in values)
        missing = profile.missing / profile.rows
        return Category(name=name, type=str(kind), role="model", likelihood="bernoulli", levels=levels, missing=missing)
    field: Field = Count.infer(name, kind, profile) if looks_like_count(profile) else Number.infer(name, kind, profile)
    return _with_note(field, _number_note(profile, whole=whole))


def _number_note(profile: Profile, *, whole: bool) -> str:
    if profile.infinite:
        return _infinite(profile.infinite)
    values, rows = profile.values, profile.rows
    if whole and rows > 50 and len(values) == rows and values[-1] - values[0] == rows - 1:
        return f"{CHECK}looks like a row number; role='ignore' leaves it out"
    return ""


def _category(name: str, column: Column) -> Field:
    """A category; one with too many levels, or nearly as many as rows, is ignored until the user says otherwise."""
    kind = column.type
    ordered = bool(pa.types.is_dictionary(kind) and kind.ordered)
    levels = levels_of(column)
    used = len(levels_of(plain(column))) if ordered else len(levels)
    if used == 0:
        return _left_out(name, kind, "holds no values")
    if used == 1:
        return _constant(name, kind, column.drop_null()[0].as_py())
    rows = len(column) - column.null_count
    distinct = is_text(value_type(kind)) and rows >= _FEW_ROWS and used >= _ALMOST_ALL * rows
    if distinct or len(levels) > MAX_LEVELS:
        note = f"{used} distinct values in {rows} rows: looks like an identifier or text; role='model' forces it"
        return Category(name=name, type=str(kind), role="ignore", likelihood="categorical", note=note)
    family = natural_likelihood(len(levels), ordered=ordered)
    field = Category(name=name, type=str(kind), role="model", likelihood=family, levels=tuple(levels))
    return field.fit(column, strict=False)


def _vector(name: str, column: Column) -> Field:
    """A vector; zeros and ones alone make it a vector of bits."""
    kind = column.type
    length = constant_length(column)
    if not length:
        return _left_out(name, kind, "lists of different lengths (or empty) are not modelled yet")
    field = Vector.blank(name, kind, "model")
    values = element_matrix(field, column, length)
    usable = np.abs(values) < HUGE
    if not usable.any():
        return _left_out(name, kind, "holds no finite values")
    seen = values[usable]
    if np.all(seen == seen[0]):
        return _constant(name, kind, float(seen[0]))
    bits = bool(np.all((seen == 0) | (seen == 1)))
    fitted = Vector(name=name, type=str(kind), role="model", likelihood="bernoulli" if bits else "gaussian").fit(
        column, strict=False
    )
    infinite = int((np.abs(values) >= HUGE).sum())
    return _with_note(fitted, _infinite(infinite) if infinite else "")


def _infinite(count: int) -> str:
    return f"{CHECK}infinite (or beyond 1e100) in {count} places, left out of the fit; encode refuses them, use null"


def _with_note(field: Field, note: str) -> Field:
    return msgspec.structs.replace(field, note=note)
