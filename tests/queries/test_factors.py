"""Scores of disentanglement of any model, from columns of factors that need be no fields."""

import json

import numpy as np
import pyarrow as pa
import pytest

from tests.support import bivariate
from vaekit.api.evaluating import figures_of
from vaekit.cli import main
from vaekit.errors import ConfigError, ContractError
from vaekit.metrics.disentanglement import factor_vae_rows, sap
from vaekit.queries import factors as module
from vaekit.queries.factors import disentangled, factor_of


def worlds(rows=4000, seed=0):
    """Two independent factors, codes aligned with them, and the same codes turned by 45 degrees."""
    rng = np.random.default_rng(seed)
    factors = rng.integers(0, 5, (rows, 2))
    codes = factors[:, ::-1] + 0.05 * rng.normal(size=(rows, 2))
    return factors, codes, codes @ (np.array([[1.0, 1.0], [-1.0, 1.0]]) / np.sqrt(2))


def test_votes_from_rows_tell_aligned_codes_from_turned_ones():
    factors, good, bad = worlds()
    assert factor_vae_rows(good, factors) == 1.0
    assert factor_vae_rows(bad, factors) < 0.8
    assert np.isnan(factor_vae_rows(good, factors[:, :1]))


def test_names_of_values_need_no_order():
    factors, good, _ = worlds()
    shuffled = np.array([3, 0, 4, 1, 2])[factors]
    assert sap(good, factors) > 0.95
    assert sap(good, shuffled) < 0.5
    assert sap(good, shuffled, ordered=[False, False]) > 0.95


class Coded:
    """Stands for an engine whose codes are given."""

    def __init__(self, monkeypatch, codes):
        width = codes.shape[1]
        flat = pa.array(np.asarray(codes, np.float32).ravel())
        table = pa.table({"embedding": pa.FixedSizeListArray.from_arrays(flat, width)})
        monkeypatch.setattr(module, "embed", lambda engine, rows: table)


def test_columns_of_any_sort_are_factors(monkeypatch):
    factors, good, bad = worlds()
    table = pa.table({"shape": [f"s{(3 * f) % 5}" for f in factors[:, 0]], "size": factors[:, 1] * 1.5})
    found = disentangled(Coded(monkeypatch, good), table, ["shape", "size"])
    assert found["rows"] == 4000
    assert found["factors"] == {"shape": {"values": 5, "binned": False}, "size": {"values": 5, "binned": False}}
    assert found["mig"] > 0.9
    assert found["sap"] > 0.9
    assert found["factor_vae"] == 1.0
    assert found["dci"]["disentanglement"] > 0.8  # trees of a forest look at one dimension at a time
    assert found["dci"]["completeness"] > 0.8
    assert found["dci"]["informativeness"] > 0.98
    assert found["dci"]["guess"] == pytest.approx(0.2, abs=0.02)
    turned = disentangled(Coded(monkeypatch, bad), table, ["shape", "size"])
    assert turned["mig"] < 0.3
    assert turned["dci"]["disentanglement"] < 0.4
    holed = table.set_column(0, "shape", pa.array([None, *table["shape"].to_pylist()[1:]]))
    assert disentangled(Coded(monkeypatch, good), holed, ["shape"])["rows"] == 3999


def test_numbers_are_binned_and_the_same_bins_can_be_used_again():
    column = pa.chunked_array([np.arange(1000.0)])
    factor = factor_of(column, "x")
    assert np.bincount(factor.codes).tolist() == [100] * 10
    assert factor.labels[0].startswith("below")
    assert factor.of(pa.chunked_array([[-5.0, None, 5000.0]])).tolist() == [0, -1, 9]
    few = factor_of(pa.chunked_array([["b", "a", None]]), "x")
    assert few.of(pa.chunked_array([["a", "c", None]])).tolist() == [0, -2, -1]


def test_a_model_and_the_command_are_asked(zoo, tmp_path, capfd):
    import pyarrow.parquet as pq

    model, rows = zoo["pair"].torch, bivariate(600, seed=21)
    table = rows.append_column("sign", pa.array(np.asarray(rows["a"]) > 0))
    found = figures_of(model, table, factors=["a", "sign"], by=["sign"], samples=200)
    assert found["disentanglement"]["factors"]["a"] == {"values": 10, "binned": True}
    assert found["disentanglement"]["dci"]["informativeness"] > found["disentanglement"]["dci"]["guess"] + 0.2
    assert found["samples"]["rows"] == 200
    assert list(found["by"]["sign"]["groups"]) == ["false", "true"]
    pq.write_table(table, tmp_path / "rows.parquet")
    line = ["evaluate", zoo["pair"].bundle, tmp_path / "rows.parquet", "--factors", "a,sign", "--by", "sign"]
    told = {}
    for words in ([], ["--json"]):
        with pytest.raises(SystemExit) as stop:
            main([str(word) for word in [*line, "--samples", 200, *words]])
        told[bool(words)] = capfd.readouterr().out
        assert not stop.value.code
    assert json.loads(told[True])["samples"]["coverage"] == pytest.approx(found["samples"]["coverage"], abs=0.02)
    for text in ("disentanglement on 600 rows: MIG", "200 drawn: precision", "by sign:", "  true: "):
        assert text in told[False]


def test_what_cannot_be_judged_is_refused(zoo):
    engine, rows = zoo["pair"].torch.engine, bivariate(100, seed=22)
    with pytest.raises(ContractError, match="no such column"):
        disentangled(engine, rows, ["shape"])
    with pytest.raises(ConfigError, match="one value"):
        disentangled(engine, rows.append_column("one", pa.array([1] * 100)), ["one"])
    with pytest.raises(ConfigError, match="50 or more"):
        disentangled(engine, rows.slice(0, 20), ["a"])
    with pytest.raises(ConfigError, match="give some"):
        figures_of(zoo["pair"].torch, factors=["a"])
