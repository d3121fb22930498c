"""Points in time as seconds of the local clock, and back: temporal types, and text and whole numbers that are dates."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vaekit.errors import ContractError
from vaekit.fields.arrow_types import is_text, value_type
from vaekit.fields.base import Column, Field, Float, wrong_type
from vaekit.fields.category import plain
from vaekit.fields.lattice import Lattice

__all__ = ["DAY", "EPOCH", "FORMATS", "WEEK", "find_format", "is_datetime", "read_seconds", "write_seconds"]

DAY, WEEK = 86_400, 604_800
EPOCH = 4 * DAY  # seconds count from Monday, 5 January 1970, so that weeks and days are plain quotients
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_DATES = ("%Y-%m-%d", "%m/%d/%Y", "%d/%m/%Y", "%Y/%m/%d", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y", "%m/%d/%y", "%d/%m/%y")
_WORDS = ("%d-%b-%Y", "%d-%b-%y", "%d %b %Y", "%b %d, %Y", "%d %B %Y", "%B %d, %Y", "%Y-%b-%d")
_CLOCKS = ("", " %H:%M:%S", " %H:%M", "T%H:%M:%S", "T%H:%M", "T%H:%M:%SZ", "T%H:%MZ", " %I:%M:%S %p", " %I:%M %p")
FORMATS = (*(date + clock for clock in _CLOCKS for date in (*_DATES, *_WORDS)), "%Y%m%d", "%Y%m%d%H%M%S", "%Y-%m")
_FRACTION = "iso"  # ISO 8601 with fractions of a second, which strptime does not know
_SAMPLE = 20_000


def is_datetime(kind: pa.DataType) -> bool:
    """Whether values of an Arrow type are points in time.

    Example:
        >>> is_datetime(pa.date32()), is_datetime(pa.timestamp("us", "UTC")), is_datetime(pa.time32("s"))
        (True, True, False)
    """
    return bool(pa.types.is_date(kind) or pa.types.is_timestamp(kind))


def read_seconds(field: Field, column: Column, written: str) -> Float:
    """A column as seconds of the local clock since Monday, 5 January 1970; NaN for what is missing, shape (B,).

    Args:
        field: The field, for messages.
        column: Dates, timestamps, or text or whole numbers that hold them.
        written: How text or whole numbers hold a point in time: a format of ``strptime``, ``iso``, or the unit ``s``,
            ``ms``, ``us`` or ``ns`` of whole numbers since 1970. Empty for temporal types.

    Raises:
        ContractError: The column holds no points in time, or a value does not have the format.
    """
    import pyarrow.compute as pc

    kind = value_type(column.type)
    if pa.types.is_null(kind):
        return np.full(len(column), np.nan)
    if pa.types.is_dictionary(column.type):
        column = plain(column)
    if is_text(kind) or pa.types.is_integer(kind):
        if not written or (is_text(kind) and written in _PER_SECOND):
            raise wrong_type(field, f"dates or timestamps ({field.type})", column.type)
        moments = _parsed(column, written)
        lost = pc.and_(pc.is_null(moments), pc.is_valid(column)).to_numpy()
        if lost.any():
            row = int(np.argmax(lost))
            raise ContractError(
                "value is not a date of the format of the field",
                field=field.name,
                row=row,
                expected=written,
                got=repr(column[row].as_py()),
            )
        column = moments
    elif not is_datetime(kind):
        raise wrong_type(field, f"dates or timestamps ({field.type})", column.type)
    ticks, per_second = _ticks(column)
    whole, rest = np.divmod(ticks - EPOCH * per_second, per_second)
    seconds: Float = np.where(column.is_valid().to_numpy(), whole + rest / per_second, np.nan)
    return seconds


def write_seconds(seconds: Float, kind: pa.DataType, written: str, lattice: Lattice | None) -> pa.Array:
    """The inverse of `read_seconds`, exact on the grid of the lattice; NaN becomes null."""
    import pyarrow.compute as pc

    if pa.types.is_dictionary(kind):
        return write_seconds(seconds, kind.value_type, written, lattice).dictionary_encode().cast(kind)
    missing = np.isnan(seconds)
    mask = missing if missing.any() else None
    if pa.types.is_date(kind):
        days = np.floor(np.where(missing, 0.0, seconds) / DAY).astype(np.int64) + EPOCH // DAY
        plain = pa.array(days.astype(np.int32), mask=mask).cast(pa.date32())
        return plain.cast(kind)
    unit = kind.unit if pa.types.is_timestamp(kind) else written if written in _PER_SECOND else "us"
    ticks = _whole_ticks(np.where(missing, 0.0, seconds), _PER_SECOND[unit], lattice)
    if written in _PER_SECOND:
        return pa.array(ticks, mask=mask).cast(kind)
    moments = pa.array(ticks, type=pa.timestamp(unit), mask=mask)
    if pa.types.is_timestamp(kind):
        if kind.tz is None:
            return moments
        return pc.assume_timezone(moments, kind.tz, ambiguous="earliest", nonexistent="latest")
    if written != _FRACTION:
        moments = moments.cast(pa.timestamp("s"), safe=False)
    text = pc.strftime(moments, format="%Y-%m-%dT%H:%M:%S" if written == _FRACTION else written)
    return text.cast(kind)


def find_format(column: Column) -> tuple[str, str]:
    """How a column of text or whole numbers holds points in time.

    A format counts if every value has it. Where days and months could be exchanged, the reading under
    which neighbouring rows lie closer together wins.

    Args:
        column: Text, or whole numbers such as 20130105.

    Returns:
        The format and the one that it could be mistaken for; empty if there is none.

    Example:
        >>> find_format(pa.chunked_array([["31/12/2013", None, "01/01/2014"]]))
        ('%d/%m/%Y', '')
    """
    import pyarrow.compute as pc

    values = plain(column).drop_null()
    if not len(values):
        return "", ""
    if pa.types.is_integer(values.type):
        ends = pc.min_max(values).as_py()
        dates = ends["min"] >= 16_000_101 and ends["max"] < 26_000_101
        return ("%Y%m%d", "") if dates and _fits(values, "%Y%m%d") else ("", "")
    if not any(character.isdigit() for character in values[0].as_py()):
        return "", ""
    sample = values.slice(0, _SAMPLE)
    found = [one for one in FORMATS if _fits(sample.slice(0, 1), one) and _fits(sample, one)]
    found = [one for one in found if len(sample) == len(values) or _fits(values, one)]
    if not found:
        return (_FRACTION, "") if _fits(values, _FRACTION) else ("", "")
    found.sort(key=lambda one: (not _returns(sample, one), _steps(sample, one)))
    other = next((one for one in found[1:] if sorted(one) == sorted(found[0])), "")
    return found[0], other


def _fits(values: Column, written: str) -> bool:
    """Whether every value is a point in time between the years 1600 and 2600."""
    import pyarrow.compute as pc

    moments = _parsed(values, written)
    if moments.null_count:
        return False
    years = pc.min_max(pc.year(moments)).as_py()
    return bool(years["min"] >= 1600 and years["max"] <= 2600)


def _returns(values: Column, written: str) -> bool:
    """Whether values are written again as they were."""
    import pyarrow.compute as pc

    again = pc.strftime(_parsed(values, written), format=written)
    return bool(pc.all(pc.equal(again, values.cast(pa.string()))).as_py())


def _steps(values: Column, written: str) -> float:
    ticks, _ = _ticks(_parsed(values, written))
    return float(np.abs(np.diff(ticks)).sum())


def _parsed(column: Column, written: str) -> Column:
    """Text or whole numbers as timestamps; null where a value does not have the format."""
    import pyarrow.compute as pc

    if written in _PER_SECOND:
        return column.cast(pa.int64()).cast(pa.timestamp(written))
    text = column.cast(pa.string())
    if written != _FRACTION:
        return pc.strptime(text, format=written, unit="s", error_is_null=True)
    try:
        return text.cast(pa.timestamp("us"))
    except pa.ArrowInvalid:  # Arrow does not say which value it could not read
        return pa.chunked_array([pa.array([_iso(value) for value in text.to_pylist()], pa.timestamp("us"))])


def _iso(value: str | None) -> object:
    from datetime import datetime

    try:
        moment = None if value is None else datetime.fromisoformat(value)
    except ValueError:
        return None
    return None if moment is None or moment.tzinfo is not None else moment


def _ticks(column: Column) -> tuple[NDArray[np.int64], int]:
    """Whole units of the local clock since 1970, zero where missing, and how many there are in a second."""
    import pyarrow.compute as pc

    if pa.types.is_date(column.type):
        days = column.cast(pa.date32()).cast(pa.int32()).fill_null(0).to_numpy()
        return days.astype(np.int64) * DAY, 1
    if column.type.tz is not None:
        column = pc.local_timestamp(column)
    ticks: NDArray[np.int64] = np.asarray(column.cast(pa.int64()).fill_null(0).to_numpy(), np.int64)
    return ticks, _PER_SECOND[str(column.type.unit)]


def _whole_ticks(seconds: Float, per_second: int, lattice: Lattice | None) -> NDArray[np.int64]:
    """Seconds as whole units since 1970."""
    if lattice is not None and per_second % 10**lattice.decimals == 0:
        units: NDArray[np.int64] = lattice.origin + lattice.index(seconds).astype(np.int64) * lattice.step
        exact: NDArray[np.int64] = units * (per_second // 10**lattice.decimals) + EPOCH * per_second
        return exact
    whole = np.floor(seconds)
    rest = np.rint((seconds - whole) * per_second).astype(np.int64)
    found: NDArray[np.int64] = (whole.astype(np.int64) + EPOCH) * per_second + rest
    return found
