"""Training on a part of what there is: the contract knows all rows, the record says what the part was."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import vaekit as vk
from vaekit.api import resident as module
from vaekit.api.resident import available_memory, resident
from vaekit.api.rows import parts_of
from vaekit.errors import ConfigError
from vaekit.fields.sources import open_source

QUICK = {"epochs": 1, "width": 8, "depth": 1, "latent": 2, "progress": False}


def table(rows=2000):
    rng = np.random.default_rng(0)
    origin = rng.choice(["EWR", "JFK"], rows)
    origin[1234 % rows] = "LGA"
    return pa.table({"x": rng.normal(size=rows), "origin": origin, "n": np.arange(rows) * 1.5})


def test_levels_come_from_all_rows_and_training_from_the_sample(tmp_path):
    rows = table()
    pq.write_table(rows, tmp_path / "x.parquet", row_group_size=300)
    model = vk.fit(tmp_path / "x.parquet", max_rows=300, seed=3, **QUICK)
    assert model.contract["origin"].levels == ("EWR", "JFK", "LGA")
    data = model.bundle.run["data"]
    assert (data["rows"], data["sampled_from"]) == (300, 2000)
    assert model.score(rows.slice(1234, 1))["score"].to_numpy()[0] < np.inf
    again = vk.fit(tmp_path / "x.parquet", max_rows=300, seed=3, **QUICK)
    assert again.bundle.run["data"] == data
    assert vk.fit(tmp_path / "x.parquet", max_rows=300, seed=4, **QUICK).bundle.run["data"] != data
    in_memory = vk.fit(rows, max_rows=300, seed=3, **QUICK)
    assert in_memory.bundle.run["data"] == data


def test_the_sample_of_a_fit_is_known_among_all_rows(tmp_path):
    """It is drawn again from the table that it was taken from, so that what it was split into is at hand."""
    pq.write_table(rows := table(), tmp_path / "x.parquet", row_group_size=300)
    model = vk.fit(tmp_path / "x.parquet", max_rows=300, seed=3, **QUICK)
    record = model.bundle.run["rows"]
    for data in (tmp_path / "x.parquet", rows):
        parts = parts_of(model.bundle, data)
        assert (parts.told, parts.calibration.num_rows) == ("held out", record["calibration"])
        found = np.sort(model.score(parts.calibration)["score"].to_numpy())
        np.testing.assert_allclose(found, model.bundle.calibration["score"], rtol=1e-5)
    with pytest.raises(ConfigError, match="which training has seen in part"):
        parts_of(model.bundle, rows.take(np.arange(2000)[::-1]))


def test_all_rows_are_taken_where_they_fit(tmp_path):
    rows = table(400)
    pq.write_table(rows, tmp_path / "x.parquet")
    one, two = (vk.fit(data, seed=1, **QUICK) for data in (rows, tmp_path / "x.parquet"))
    assert one.bundle.run["data"] == two.bundle.run["data"]
    assert "sampled_from" not in two.bundle.run["data"]
    assert one.contract == two.contract


def test_rows_stream_where_memory_does_not_hold_them(monkeypatch):
    rows = table()
    parts = open_source([rows.slice(0, 900), rows.slice(900)])
    assert resident(parts, None, 0)[0].table.equals(rows)
    monkeypatch.setattr(module, "available_memory", lambda: 16 * 100 * rows.nbytes // rows.num_rows)
    assert resident(parts, None, 0) == (parts, None)
    assert resident(parts, None, 0, stream=False)[0].table.equals(rows)
    assert resident(source := open_source(rows), None, 0)[0] is source  # it is in memory already
    assert resident(open_source(rows), None, 0, stream=True)[0].table is None
    found, total = resident(parts, 300, 0)
    assert (found.rows, total) == (300, 2000)
    with pytest.raises(ConfigError, match="max_rows"):
        resident(open_source(rows), 0, 0)
    with pytest.raises(ConfigError, match="read only once do not fit"):
        resident(open_source(iter([rows])), None, 0)
    with pytest.raises(ConfigError, match="several times"):
        resident(parts, 300, 0, stream=True)


def test_free_memory_is_a_number_of_this_machine():
    assert 2**20 < available_memory() < 2**50
