"""What a column looks like: the kind, likelihood and transform that suit the values of a table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa

from vaekit.fields.arrow_types import decimals_of, is_list, is_numeric, is_text, value_type
from vaekit.fields.base import Column, Field
from vaekit.fields.category import MAX_LEVELS, Category, common_levels, levels_of, missing_count, natural_likelihood
from vaekit.fields.count import Count
from vaekit.fields.datetime import Datetime
from vaekit.fields.image import Image
from vaekit.fields.markers import says_missing, sentinels, surely_missing, without
from vaekit.fields.names import says_identifier, says_year
from vaekit.fields.number import WHOLE_ROWS, Number
from vaekit.fields.number_text import NumberText, find_number_text, no_numbers
from vaekit.fields.other import Other, why_not
from vaekit.fields.pixels import SUFFIXES, is_bytes, is_tensor, looks_encoded
from vaekit.fields.profile import HUGE, Profile
from vaekit.fields.tables import RENAMED
from vaekit.fields.temporal import find_format, is_datetime
from vaekit.fields.vector import Vector, constant_length, element_matrix
from vaekit.fields.whole import CHECK, MANY, Reading, even_steps, read_whole, recurs

__all__ = ["CHECK", "infer_field", "of_profile", "renamed"]

_EXACT = 2.0**53
_ALMOST_ALL = 0.9
_FEW_ROWS = 20
_HANDFUL = 5
_FILES = 20  # paths of images that are looked up
_GLANCE = 1000  # distinct texts that show whether a column holds numbers
_SLIPS = 0.05  # share of texts that are no numbers, in a column that was meant to hold numbers


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
    if is_tensor(kind) and column.null_count < rows:
        return _image(name, column)
    if isinstance(kind, pa.BaseExtensionType):
        return _left_out(name, kind, why_not(kind))
    if pa.types.is_null(kind) or column.null_count == rows:
        return _left_out(name, kind, "holds no values")
    if is_bytes(kind) and looks_encoded(column.drop_null()[0].as_py()):
        return _image(name, column)
    plain = value_type(kind)
    if is_numeric(plain) or is_text(plain) or pa.types.is_boolean(plain):
        observed = rows - missing_count(column)
        if 0 < observed < _HANDFUL and rows >= _FEW_ROWS:
            return _left_out(name, kind, f"holds {observed} values in {rows} rows, too few to learn from")
    if is_numeric(kind):
        dated = pa.types.is_integer(kind) and _compact_date(name, column)
        return dated or _number(name, column)
    if is_datetime(plain):
        return _datetime(name, column)
    if is_text(plain):
        for reading in TEXT_READINGS:
            if (field := reading(name, column)) is not None:
                return field
    if Category.accepts(kind):
        return _category(name, column)
    if is_list(kind) and Vector.accepts(kind):
        return _vector(name, column)
    return _left_out(name, kind, why_not(plain))


def renamed(field: Field, schema: pa.Schema) -> Field:
    """The field with a note if its column shared its name with another and got a new one."""
    old = (schema.field(field.name).metadata or {}).get(RENAMED)
    if old is None:
        return field
    return _with_note(field, field.note, f"{CHECK}a second column called {old.decode()!r}, renamed; rename it yourself")


def _left_out(name: str, kind: pa.DataType, note: str) -> Other:
    return Other(name=name, type=str(kind), role="ignore", note=note)


def _constant(name: str, kind: pa.DataType, value: object) -> Other:
    return _left_out(name, kind, f"constant: every value is {value!r}")


# ------------------------------------------------------------------------------------------------------ points in time


def _datetime(name: str, column: Column, written: tuple[str, str] = ("", ""), markers: tuple[str, ...] = ()) -> Field:
    """A point in time; one alone is a constant."""
    blank = Datetime.written_as(name, column.type, *written)
    present = without(column, markers)
    profile = blank.tally(present, strict=False)
    if len(profile.values) < 2:
        return _constant(name, column.type, present.drop_null()[0].as_py())
    field = blank.inferred(profile)
    told = f"{', '.join(map(repr, markers))} read as missing" if markers else ""
    return _with_note(field, field.note, told, markers=markers)


def _compact_date(name: str, column: Column) -> Field | None:
    """Whole numbers such as 20130105, all of them dates."""
    written = find_format(column)
    return _datetime(name, column, written) if written[0] else None


def _date_in_text(name: str, column: Column) -> Field | None:
    """A column of text that is all points in time, but for what stands for "missing"."""
    markers = _missing_texts(column, says_missing)
    written = find_format(without(column, markers))
    return _datetime(name, column, written, markers) if written[0] else None


def _missing_texts(column: Column, missing: Callable[[str], bool]) -> tuple[str, ...]:
    """The texts of a column that stand for "missing"."""
    there = levels_of(column, spelled=True)
    return tuple(sorted({level.strip() for level in there if isinstance(level, str) and missing(level)}))


# ------------------------------------------------------------------------------------------------------------- numbers


def _number(name: str, column: Column, text: NumberText | None = None, markers: tuple[str, ...] = ()) -> Field:
    """A number, a count or a category; an identifier is ignored until the user says otherwise."""
    read = msgspec.structs.replace(Number.blank(name, column.type, "model"), text=text).read(column)
    return of_profile(name, column.type, Profile.of_values(read), even=even_steps(read), text=text, markers=markers)


def of_profile(
    name: str,
    kind: pa.DataType,
    profile: Profile,
    *,
    even: bool = False,
    text: NumberText | None = None,
    markers: tuple[str, ...] = (),
) -> Field:
    """The field that the distinct values of a numeric column suggest.

    Args:
        name: Name of the column.
        kind: Its type.
        profile: Its distinct values with their counts.
        even: Whether its values change by one equal step from row to row.
        text: How its numbers are written, if it is a column of text.
        markers: Texts in it that stand for "missing".
    """
    if profile.count == 0:
        return _left_out(name, kind, "holds no finite values")
    found = sentinels(profile) if text is None else ()
    rest = profile.without(found) if found else profile
    field = _of_values(name, kind, rest, even, text)
    if field.kind == "other":
        return field
    notes = [field.note]
    if found:
        told = f"{', '.join(map(str, found))} read as missing in {profile.count - rest.count} rows"
        notes.append(f"{CHECK}{told}, for being far from the rest; markers=() reads it as a number")
    elif markers:
        notes.append(f"{', '.join(map(repr, markers))} read as missing")
    if profile.infinite:
        notes.append(_infinite(profile.infinite))
    return _with_note(field, *notes, markers=markers or found)


def _of_values(name: str, kind: pa.DataType, profile: Profile, even: bool, text: NumberText | None) -> Field:
    """The field that the values suggest, before what is odd about some of them is noted."""
    values = profile.values
    spans = pa.types.is_duration(kind) or pa.types.is_time(kind)
    whole = not spans and bool(np.all(values == np.floor(values)))
    exact = float(np.abs(values).max()) < _EXACT
    if pa.types.is_integer(kind) and not exact:
        return _left_out(name, kind, "integers beyond 2**53: an identifier or a timestamp?")
    if len(values) == 1:
        return _constant(name, kind, int(values[0]) if whole and exact else float(values[0]))
    if len(values) == 2 and whole and exact and not profile.infinite and not says_year(name):
        return _levels(name, kind, profile, Reading("categorical"), text)
    few_floats = decimals_of(kind) is None and text is None and profile.count < WHOLE_ROWS
    if not whole or not exact or few_floats:
        axis = not whole and even and profile.count >= MANY
        told = f"{CHECK}rises in equal steps: a time axis? role='time' or role='ignore'" if axis else ""
        return _with_note(Number.infer(name, kind, profile, text), told)
    floats = pa.types.is_floating(kind) and not profile.missing
    reading = read_whole(name, profile, even=even, floats=floats)
    if reading.kind == "identifier":
        blank = Number.blank(name, kind, "ignore") if text is None else Category.blank(name, kind, "ignore")
        return _with_note(blank, reading.note)
    if reading.kind in ("categorical", "ordinal"):
        return _levels(name, kind, profile, reading, text)
    made = Count if reading.kind == "count" else Number
    return _with_note(made.infer(name, kind, profile, text), reading.note)


def _levels(name: str, kind: pa.DataType, profile: Profile, reading: Reading, text: NumberText | None) -> Field:
    """Whole numbers as a category; those of a text column keep their spelling, so levels are taken from the texts."""
    family = "bernoulli" if len(profile.values) == 2 else reading.kind
    if text is not None:
        return _with_note(Category(name=name, type=str(kind), role="model", likelihood=family), reading.note)
    found = Category.of_counts(name, kind, [int(v) for v in profile.values], profile.counts, profile.rows, family)
    missing = (profile.missing + profile.infinite) / profile.rows
    return _with_note(msgspec.structs.replace(found, missing=max(found.missing, missing)), reading.note, found.note)


# ---------------------------------------------------------------------------------------------------------------- text


def _number_in_text(name: str, column: Column) -> Field | None:
    """A column of text that is all numbers; None if it is not, or if its numbers are better taken as levels."""
    texts = [value for value in levels_of(column, spelled=True) if isinstance(value, str)]
    if not texts:
        return None
    odd = no_numbers(texts[:_GLANCE])
    if 0 < len(odd) <= _SLIPS * len(texts[:_GLANCE]):
        field = _category(name, column)
        told = f"numbers but for {', '.join(map(repr, odd[:3]))}: correct them, or name them in markers, with text="
        return _with_note(field, CHECK + told, field.note)
    if odd:
        return None
    found = find_number_text(texts)
    if found is None:
        return None
    if isinstance(found, str):
        return Category(
            name=name, type=str(column.type), role="ignore", likelihood="categorical", note=f"{CHECK}{found}"
        )
    text, markers = found
    field = _number(name, without(column, markers), text, markers)
    if isinstance(field, Category) and field.role == "model":
        return _spelled(field, without(column, markers), text)
    return field


def _spelled(field: Category, column: Column, text: NumberText) -> Field | None:
    """A category of numbers in text: its levels are the texts, in the order of the numbers."""
    texts = [str(level) for level in levels_of(column, spelled=True)]
    order = text.read(pa.chunked_array([texts], pa.large_string()))[0]
    levels = tuple(texts[index] for index in np.argsort(order, kind="stable"))
    if len(levels) > MAX_LEVELS:
        return None
    family = natural_likelihood(len(levels), ordered=field.likelihood == "ordinal")
    note = field.note.replace("kind='number'", "kind='number', text={}")
    return msgspec.structs.replace(field, levels=levels, likelihood=family, note=note).fit(column, strict=False)


def _image_files(name: str, column: Column) -> Field | None:
    """A column of text that is all paths of image files, of which the first ones are there."""
    texts = levels_of(column, spelled=True)
    if not texts or not all(isinstance(text, str) and text.lower().endswith(SUFFIXES) for text in texts):
        return None
    if not all(Path(str(text)).is_file() for text in texts[:_FILES]):
        return None
    return _image(name, column)


TEXT_READINGS: tuple[Callable[[str, Column], Field | None], ...] = (
    _number_in_text,
    _date_in_text,
    _image_files,
)  # tried before a category


def _category(name: str, column: Column) -> Field:
    """A category; one with nearly as many levels as rows, or called an identifier, is ignored."""
    kind = column.type
    ordered = bool(pa.types.is_dictionary(kind) and kind.ordered)
    markers: tuple[str, ...] = ()
    if is_text(value_type(kind)):
        markers = _missing_texts(column, surely_missing)
        column = without(column, markers)
    told = f"{', '.join(map(repr, markers))} read as missing" if markers else ""
    field = _of_levels(name, column, ordered=ordered)
    if field.kind == "other":
        return field
    return _with_note(field, field.note, told, markers=markers)


def _of_levels(name: str, column: Column, *, ordered: bool) -> Field:
    kind, rows = column.type, len(column) - missing_count(column)
    levels = levels_of(column)
    used = len(levels_of(column, spelled=True)) if ordered else len(levels)
    if used == 0:
        return _left_out(name, kind, "holds no values")
    if used == 1:
        return _constant(name, kind, column.drop_null()[0].as_py())
    blank = Category(name=name, type=str(kind), role="ignore", likelihood="categorical")
    plain = value_type(kind)
    if (is_text(plain) or is_numeric(plain)) and rows >= _FEW_ROWS and used >= _ALMOST_ALL * rows:
        told = f"{used} distinct values in {rows} rows: looks like an identifier or text; role='model' forces it"
        return _with_note(blank, told)
    if is_text(plain) and says_identifier(name) and not recurs(used, rows):
        told = (
            f"{CHECK}{used} distinct values in {rows} rows, called an identifier; role='entity' keeps its rows together"
        )
        return _with_note(blank, told)
    if ordered or len(levels) <= MAX_LEVELS:
        family = natural_likelihood(len(levels), ordered=ordered)
        field = Category(name=name, type=str(kind), role="model", likelihood=family, levels=tuple(levels))
        return field.fit(column, strict=False)
    found = common_levels(column)
    return Category.of_counts(name, kind, found[0], found[1], len(column), "categorical")


# ------------------------------------------------------------------------------------------------------------- vectors


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


# -------------------------------------------------------------------------------------------------------------- images


def _image(name: str, column: Column) -> Field:
    """An image; black and white alone make it one of bits."""
    blank = Image.blank(name, column.type, "model")
    tally = blank.tally(column, strict=False)
    if not tally.seen:
        return _left_out(name, column.type, "holds no image that can be read")
    if len(tally.values) < 2:
        return _left_out(name, column.type, "constant: every pixel of every image is the same")
    field = blank.fitted(tally)
    if tally.bits:
        field = msgspec.structs.replace(field, likelihood="bernoulli")
    height, width = field.size[0], field.size[1]
    told = f"resized to {height} x {width}; size=(height, width) sets how large the model sees them"
    return _with_note(field, f"{CHECK}{told}" if field.resize else "")


def _infinite(count: int) -> str:
    return f"{CHECK}infinite (or beyond 1e100) in {count} places, left out of the fit; encode refuses them, use null"


def _with_note(field: Field, *notes: str, **changes: object) -> Field:
    """The field with its notes joined, those that ask for a look first."""
    told = sorted(dict.fromkeys(note for note in notes if note), key=lambda note: not note.startswith(CHECK))
    lead = CHECK if told and told[0].startswith(CHECK) else ""
    note = lead + "; ".join(one.removeprefix(CHECK) for one in told)
    return msgspec.structs.replace(field, note=note, **changes)
