"""What a column looks like: the kind, likelihood and transform that suit the values of a table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pyarrow as pa

from vaekit.fields.arrow_types import is_list, is_number, is_text, value_type
from vaekit.fields.base import Column, Field
from vaekit.fields.category import Category, natural_likelihood
from vaekit.fields.count import Count, looks_like_count
from vaekit.fields.number import Number
from vaekit.fields.other import Other, why_not
from vaekit.fields.profile import Profile
from vaekit.fields.survey import ElementSurvey, LevelSurvey
from vaekit.fields.vector import Vector

__all__ = ["CHECK", "MAX_LEVELS", "infer_field", "survey_of"]

Survey = Callable[[Column], Any]
Decision = Callable[[str, pa.DataType, Any], Field]

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
    kind = column.type
    if column.null_count == len(column):
        return _left_out(name, kind, "holds no values")
    if (known := survey_of(kind)) is not None:
        survey, decide = known
        return decide(name, kind, survey(column))
    return _left_out(name, kind, why_not(value_type(kind)))


def _left_out(name: str, kind: pa.DataType, note: str) -> Other:
    return Other(name=name, type=str(kind), role="ignore", note=note)


def _constant(name: str, kind: pa.DataType, value: object) -> Other:
    return _left_out(name, kind, f"constant: every value is {value!r}")


def survey_of(kind: pa.DataType) -> tuple[Survey, Decision] | None:
    """What to find out of columns of a type, part by part, and how to decide on it; None if there is nothing to."""
    if is_number(kind):
        return lambda column: Number.blank("", kind, "model").tally(column, strict=False), _number
    if Category.accepts(kind):
        return LevelSurvey.of, _category
    if is_list(kind) and Vector.accepts(kind):
        return ElementSurvey.of, _vector
    return None


def _number(name: str, kind: pa.DataType, profile: Profile) -> Field:
    """A number, a count, or a category if there are two whole values."""
    values = profile.values
    if len(values) == 0:
        return _left_out(name, kind, "holds no finite values")
    whole = profile.whole
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
    if whole and profile.rows > 50 and profile.consecutive:
        return f"{CHECK}looks like a row number; role='ignore' leaves it out"
    return ""


def _category(name: str, kind: pa.DataType, found: LevelSurvey) -> Field:
    """A category; one with too many levels, or nearly as many as rows, is ignored until the user says otherwise."""
    used, rows = len(found.used), found.rows - found.nulls
    if used == 0:
        return _left_out(name, kind, "holds no values")
    if used == 1:
        return _constant(name, kind, found.used[0])
    distinct = is_text(value_type(kind)) and rows >= _FEW_ROWS and used >= _ALMOST_ALL * rows
    if distinct or len(found.levels) > MAX_LEVELS:
        many = f"{'more than ' if found.more else ''}{used} distinct values in {rows} rows"
        note = f"{many}: looks like an identifier or text; role='model' forces it"
        return Category(name=name, type=str(kind), role="ignore", likelihood="categorical", note=note)
    family = natural_likelihood(len(found.levels), ordered=found.ordered)
    field = Category(name=name, type=str(kind), role="model", likelihood=family, levels=found.levels)
    return field.fitted(found.tally)


def _vector(name: str, kind: pa.DataType, found: ElementSurvey) -> Field:
    """A vector; zeros and ones alone make it a vector of bits."""
    if not found.lists:
        return _left_out(name, kind, "holds no values")
    if found.moments is None:
        return _left_out(name, kind, "lists of different lengths (or empty) are not modelled yet")
    if found.low > found.high:
        return _left_out(name, kind, "holds no finite values")
    if found.low == found.high:
        return _constant(name, kind, found.low)
    family = "bernoulli" if found.bits else "gaussian"
    field = Vector(name=name, type=str(kind), role="model", likelihood=family).fitted(found.moments)
    return _with_note(field, _infinite(found.infinite) if found.infinite else "")


def _infinite(count: int) -> str:
    return f"{CHECK}infinite (or beyond 1e100) in {count} places, left out of the fit; encode refuses them, use null"


def _with_note(field: Field, note: str) -> Field:
    return msgspec.structs.replace(field, note=note)
