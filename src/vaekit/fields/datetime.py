"""`datetime`: a point in time, with the clock, the week and the year as what the network sees of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Self

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vaekit.arrays import Block
from vaekit.errors import ContractError
from vaekit.fields import numeric
from vaekit.fields.arrow_types import is_text, parse_type, value_type
from vaekit.fields.base import Codec, Column, Field, Float, Role
from vaekit.fields.number import RESOLUTION, Number, NumberCodec
from vaekit.fields.numeric import NumericCodec
from vaekit.fields.profile import Profile
from vaekit.fields.temporal import DAY, WEEK, find_format, is_datetime, read_seconds, write_seconds

__all__ = ["Datetime"]

YEAR = 365.2425 * DAY
WAVES = ((DAY, 2), (WEEK, 3), (YEAR, 2))  # period in seconds, and how many harmonics the network sees of it
CHANNELS = 2 * sum(count for _, count in WAVES)
_MANY = 128  # with fewer distinct values, each is a spike of its own on the time line
_SAME_DAY = 0.3  # a larger share on one day of the month is a calendar that weeks and days do not follow


class Datetime(Number, frozen=True, kw_only=True, tag="datetime"):
    r"""A point in time, as seconds of the local clock since Monday, 5 January 1970.

    With the likelihood ``calendar`` a time is a week, a day of the week and a time of the day,
    :math:`p(t | z) = p(week | z) p(day | z) p(clock | z)`, so that a model can know of opening hours and weekends. With
    a likelihood of numbers it is a point on a line. The encoder sees waves of a day, a week and a year beside it.
    Log-densities are per second.

    Args:
        likelihood: ``calendar``, or ``gaussian``, ``student_t`` or another one of numbers.
        written: How text or whole numbers hold the time: a format of ``strptime`` such as ``%d/%m/%Y``, ``iso``, or the
            unit ``s``, ``ms``, ``us`` or ``ns`` since 1970. Empty for Arrow's own temporal types.
        parts: Week number and seconds of the day, as fitted numbers, for ``calendar``.

    Example:
        >>> column = pa.chunked_array([["2013-01-05", None, "2013-01-07"]])
        >>> field = Datetime.infer("day", column)
        >>> field.written, field.bounds_text
        ('%Y-%m-%d', ('2013-01-05', '2013-01-07'))
    """

    written: str = ""
    parts: tuple[Number, ...] = ()

    editable: ClassVar[frozenset[str]] = (Number.editable - {"text"}) | {"written"}

    @property
    def block(self) -> str:
        """With a calendar, fields without a time of the day are a block of their own."""
        days = self.role == "model" and self.likelihood == "calendar" and self.whole_days
        return f"{super().block}{'.days' if days else ''}"

    @property
    def whole_days(self) -> bool:
        """Whether every value is the start of a day."""
        grid = self.lattice
        return grid is not None and grid.decimals == 0 and grid.step % DAY == 0 and grid.origin % DAY == 0

    @property
    def bounds_text(self) -> tuple[str, str]:
        """First and last time of the training rows, as the column would hold them."""
        first, last = (str(value) for value in self.write(np.array(self.bounds)).to_pylist())
        return first, last

    @property
    def detail(self) -> str:
        """Range, grid and format."""
        parts = [] if self.bounds is None else [" to ".join(self.bounds_text)]
        if self.lattice is not None:
            parts.append(f"steps of {_duration(self.lattice.delta)}")
        if self.written:
            parts.append(f"written {self.written}")
        return ", ".join(parts)

    @property
    def asides(self) -> dict[str, pa.DataType]:
        """The ends of an interval, which are points in time."""
        return dict.fromkeys(("low", "high"), parse_type(self.type))

    @classmethod
    def accepts(cls, kind: pa.DataType) -> bool:
        """Whether a column of this Arrow type can hold points in time."""
        kind = value_type(kind)
        return is_datetime(kind) or is_text(kind) or bool(pa.types.is_integer(kind))

    @classmethod
    def blank(cls, name: str, kind: pa.DataType, role: Role) -> Self:
        """A point in time that is not fitted yet; text is taken for ISO 8601, whole numbers for seconds since 1970."""
        written = "" if is_datetime(value_type(kind)) else "iso" if is_text(value_type(kind)) else "s"
        return cls(name=name, type=str(kind), role=role, likelihood="calendar", written=written)

    @classmethod
    def infer(cls, name: str, column: Column) -> Self:  # type: ignore[override]
        """The field that suits a column of points in time, fitted to it.

        Raises:
            ContractError: The column holds none.
        """
        plain = is_datetime(value_type(column.type))
        field = cls.written_as(name, column.type, *(("", "") if plain else find_format(column)))
        return field.inferred(field.tally(column, strict=False))

    @classmethod
    def written_as(cls, name: str, kind: pa.DataType, written: str, other: str) -> Self:
        """A point in time that is not fitted yet, written as `find_format` says."""
        note = f"check: dates are read as {written}; written={other!r} reads them the other way" if other else ""
        return cls(name=name, type=str(kind), role="model", likelihood="gaussian", written=written, note=note)

    def inferred(self, profile: Profile) -> Self:
        """The field with the grid and the likelihood that suit the values of a column, fitted to them.

        Raises:
            ContractError: There is no value.
        """
        if profile.count == 0:
            raise ContractError("the column holds no points in time", field=self.name)
        values = profile.values
        grid = profile.lattice(whole=profile.whole, precision=1e-15)
        line = profile.distinct <= _MANY or values[-1] - values[0] < 2 * WEEK or _monthly(values)
        field = msgspec.structs.replace(self, lattice=grid, likelihood="gaussian" if line else "calendar")
        return field.fitted(profile)

    def changes(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """As for numbers; another format needs another fit."""
        more = super().changes(asked)
        if "written" in asked:
            more |= {"map": None, "atoms": (), "bounds": None}
        if {"likelihood", "written", "lattice"} & asked.keys():
            more["parts"] = ()
        return more

    def read(self, column: Column) -> Float:
        """Seconds of the local clock since Monday, 5 January 1970; NaN for what is missing, shape (B,)."""
        return read_seconds(self, column, self.written)

    def write(self, values: Float) -> pa.Array:
        """The inverse of `read`."""
        return write_seconds(values, parse_type(self.type), self.written, self.lattice)

    def aside(self, values: Float) -> pa.Array:
        """Ends of intervals (B,) as points in time."""
        return self.write(values)

    def cells(self, values: Sequence[Any]) -> pa.Array:
        """As in `Field`; text in ISO 8601 is taken for dates and timestamps, in the column's own time zone."""
        import pyarrow.compute as pc

        kind = parse_type(self.type)
        if not is_datetime(kind) or not any(isinstance(value, str) for value in values):
            return Field.cells(self, values)
        moments = pa.array(values, pa.string()).cast(pa.timestamp("us"))
        zone = kind.tz if pa.types.is_timestamp(kind) else None
        return (moments if zone is None else pc.assume_timezone(moments, zone, ambiguous="earliest")).cast(kind)

    def point(self, draws: Float) -> Float:
        """The median of draws (S, B), on the grid: a mean of two Mondays may be a Thursday."""
        return self.snap(np.median(draws, axis=0))

    def fitted(self, tally: Profile) -> Self:
        """The field with its transforms fitted to the distinct values of the training rows; the grid stays."""
        field = super().fitted(tally)
        if self.likelihood != "calendar":
            return field
        week, clock = self.parts or self._blank_parts()
        parts = (
            week.fitted(tally.mapped(lambda seconds: np.floor(seconds / WEEK))),
            clock.fitted(tally.mapped(lambda seconds: np.mod(seconds, DAY))),
        )
        return msgspec.structs.replace(field, parts=parts)

    def _blank_parts(self) -> tuple[Number, Number]:
        """Week number and seconds of the day, not fitted yet."""
        week = Number.blank(f"{self.name}.week", pa.int64(), "model")
        clock = Number.blank(f"{self.name}.clock", pa.float64(), "model")
        grid = self.lattice
        if grid is not None:
            step = int(np.gcd(grid.step, DAY * 10**grid.decimals))
            clock = msgspec.structs.replace(
                clock, lattice=msgspec.structs.replace(grid, step=step, origin=grid.origin % step)
            )
        return week, clock

    def codec(self, fields: Sequence[Any]) -> Codec:
        """What encodes and decodes a block of points in time."""
        calendar = self.role == "model" and self.likelihood == "calendar"
        return CalendarCodec(fields) if calendar else LineCodec(fields)


class LineCodec(NumberCodec):
    """Points on a line, as numbers are, with the waves that the network sees."""

    def encode(self, columns: Sequence[Column | None], rows: int) -> Block:
        """Encode the columns into one block of B rows."""
        seconds = self.check(columns, rows)
        return replace(self.encoded(seconds), calendar=waves(seconds))


class CalendarCodec(NumericCodec):
    """Weeks, days of the week and, unless all values are whole days, seconds of the day: values (B, F, 2 or 3)."""

    def __init__(self, fields: Sequence[Datetime]) -> None:
        super().__init__(fields)
        for field in fields:
            if not field.parts:
                raise ContractError("field is not fitted; call Contract.fit with the training rows", field=field.name)
        week, clock = zip(*(field.parts for field in fields), strict=True)
        self._week, self._clock = NumberCodec(week), NumberCodec(clock)
        self._days = fields[0].whole_days
        self.event = (2,) if self._days else (3,)
        self.cell = (*self._week.cell, *self._clock.cell)
        ends = np.array([field.bounds if field.clip and field.bounds else (-np.inf, np.inf) for field in fields])
        self._low, self._high = ends.T[:, :, None]

    def check(self, columns: Sequence[Column | None], rows: int) -> Float:
        """Seconds as one matrix (F, B), NaN where missing."""
        return numeric.read(self.fields, columns, rows)

    def encode(self, columns: Sequence[Column | None], rows: int) -> Block:
        """Encode the columns into one block of B rows."""
        seconds = self.check(columns, rows)
        week, clock = self._week.encoded(np.floor(seconds / WEEK)), self._clock.encoded(np.mod(seconds, DAY))
        day = np.nan_to_num(np.floor(np.mod(seconds, WEEK) / DAY)).T.astype(np.float32)
        nothing = np.zeros_like(day)
        parts = [(week.values, week.half, week.constant), (day, nothing, nothing)]
        if self._days:  # nothing is left to say of the clock, but densities are per second
            parts[1] = (day, nothing, np.where(week.observed, -np.log(DAY), nothing).astype(np.float32))
        else:
            parts.append((clock.values, clock.half, clock.constant))
        values, half, constant = (np.stack(arrays, axis=-1) for arrays in zip(*parts, strict=True))
        observed = np.repeat(week.observed[..., None], values.shape[-1], axis=-1)
        return Block(values, observed, half=half, constant=constant, calendar=waves(seconds))

    def units(self, values: NDArray[Any]) -> Float:
        """Seconds within range, on the grid."""
        encoded = np.asarray(values, np.float64)
        week, day = self._week.units(encoded[..., 0]), np.clip(np.rint(encoded[..., 1]), 0, 6).T
        seconds = week * WEEK + day * DAY
        if not self._days:
            seconds = seconds + np.clip(self._clock.units(encoded[..., 2]), 0.0, DAY)
        clipped: Float = np.clip(seconds, self._low, self._high)
        for row, field in zip(clipped, self.fields, strict=True):
            row[:] = field.snap(row)
        return clipped

    def resolution(self, block: Block) -> Float:
        """The width of the cell of the clock, or a hundredth of the robust spread of the times of the day; a day."""
        seen = np.asarray(block.observed)[..., 0]
        if self._days:
            return np.asarray(seen * np.log(DAY))
        half, constant = (np.asarray(array, np.float64)[..., 2] for array in (block.half, block.constant))
        width = np.log(2.0 * np.where(half > 0, half, 0.5)) - constant
        spread = np.log([RESOLUTION * field.parts[1].spread for field in self.fields])
        nats: Float = seen * np.where(half > 0, width, spread)
        return nats


def waves(seconds: Float) -> NDArray[np.float32]:
    """Sines and cosines of the phase of the day, the week and the year; zero where missing.

    Args:
        seconds: Seconds of the local clock since a Monday (F, B).

    Returns:
        Array of shape (B, F, C), C two per harmonic.
    """
    found = []
    for period, harmonics in WAVES:
        phase = 2.0 * np.pi * np.mod(seconds.T, period) / period
        for order in range(1, harmonics + 1):
            found += [np.sin(order * phase), np.cos(order * phase)]
    return np.asarray(np.nan_to_num(np.stack(found, axis=-1)), np.float32)


def _monthly(seconds: Float) -> bool:
    """Whether many of the distinct days are the same day of a month."""
    days = np.unique(np.floor(seconds / DAY)).astype(np.int64) + 4
    dates = days.astype("datetime64[D]")
    of_month = (dates - dates.astype("datetime64[M]")).astype(np.int64)
    from_end = ((dates.astype("datetime64[M]") + 1).astype("datetime64[D]") - dates).astype(np.int64)
    return bool(max(np.bincount(of_month).max(), np.bincount(from_end).max()) > _SAME_DAY * len(days))


def _duration(seconds: float) -> str:
    """A duration in the largest unit that it is a multiple of."""
    for size, name in ((WEEK, "week"), (DAY, "day"), (3600, "hour"), (60, "minute"), (1, "second")):
        count = seconds / size
        if seconds >= size and count == int(count):
            return f"{int(count)} {name}{'s' if count > 1 else ''}"
    return f"{seconds:g} seconds"
