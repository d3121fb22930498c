"""Columns of every make, under every name: fitted, saved, loaded, and asked."""

import datetime

import numpy as np
import pyarrow as pa
import pytest

from vaekit import fit, load

N = 240
RNG = np.random.default_rng(2)
BASE = RNG.normal(size=N)
TABLE = pa.table(
    {
        "": BASE,
        " ": pa.array(np.round(BASE * 10 + 50, 2)).cast(pa.decimal128(9, 2)),
        "a.b[0]/c:d": [f"${value:,.2f}" if i % 9 else "n/a" for i, value in enumerate(np.exp(BASE + 7).tolist())],
        "größe ✓": pa.array((BASE * 1000 + 9000).astype(np.int64)).cast(pa.duration("ms")),
        "clock": pa.array(((BASE + 5) * 6000).astype(np.int32)).cast(pa.time32("s")),
        "x" * 300: np.where(np.arange(N) % 11 == 0, -999, np.round(BASE * 3, 1)),
        "codes": [f"{i % 7:03d}" for i in range(N)],
        "a\nb": RNG.integers(1, 6, N),
        "v 1": pa.array(list(RNG.normal(size=(N, 3))), pa.list_(pa.float64())),
        "v/2.é": pa.array(list(RNG.normal(size=(N, 2))), pa.list_(pa.float64())),
        "visits": RNG.poisson(2.0, N),
        "id": np.arange(N),
    }
)


@pytest.fixture(scope="module")
def model():
    return fit(TABLE, epochs=3, width=16, depth=1, latent=2, seed=0, progress=False, threads=1)


def test_fields_are_what_they_should_be(model):
    contract = model.contract
    assert contract.names("ignore") == ("id",)
    assert contract["a.b[0]/c:d"].text.prefix == "$"
    assert contract["x" * 300].markers == (-999,)
    assert contract["codes"].levels == tuple(f"{i:03d}" for i in range(7))
    assert np.isfinite(model.score(TABLE)["score"].to_numpy()).all()


def test_names_of_blocks_survive_export(tmp_path):
    table = TABLE.select(["", "v/2.é"]).slice(0, 60)
    model = fit(table, epochs=1, width=8, depth=1, latent=1, seed=0, progress=False, threads=1)
    model.save(tmp_path / "bundle")
    one, two = (m.score(table)["score"].to_numpy() for m in (model, load(tmp_path / "bundle", backend="onnx")))
    np.testing.assert_allclose(one, two, rtol=1e-3, atol=1e-3)


def test_markers_and_holes_are_filled_in_the_form_of_the_column(model):
    table = TABLE
    holes = pa.array(np.arange(N), mask=np.arange(N) % 5 == 0)
    names = [name for name in table.column_names if name not in ("id", "")]
    broken = table
    for name in names:
        broken = broken.set_column(broken.column_names.index(name), name, table[name].take(holes))
    filled = model.impute(broken)
    for name in names:
        field = model.contract[name]
        assert filled[name].type == table[name].type
        assert filled[name].null_count == 0
        kept = (~field.clean(broken[name]).is_null().to_numpy()).nonzero()[0]
        same = [before == after for before, after in zip(table[name].take(kept), filled[name].take(kept), strict=True)]
        assert all(same)
        model.contract.validate({name: filled[name]}, partial=True)
    assert "n/a" not in filled["a.b[0]/c:d"].to_pylist()
    assert -999 not in filled["x" * 300].to_pylist()
    drawn = model.impute(broken.slice(0, 20), draws=2, seed=1)
    assert drawn.num_rows == 40


def test_rows_that_are_drawn_have_the_types_of_the_columns(model):
    rows = model.sample(30, seed=3)
    assert rows.schema.types == TABLE.drop_columns(["id"]).schema.types
    model.contract.validate(rows)
    assert all(text.startswith(("$", "-$")) for text in rows["a.b[0]/c:d"].to_pylist())
    assert all(isinstance(value, datetime.time) for value in rows["clock"].to_pylist())


def test_values_can_be_given_as_numbers(model):
    given = {"a.b[0]/c:d": 1500.0, " ": 48.5, "codes": "003"}
    rows = model.sample(5, given=given, seed=0)
    assert set(rows["a.b[0]/c:d"].to_pylist()) == {"$1,500.00"}
    assert {float(value) for value in rows[" "].to_pylist()} == {48.5}


def test_a_category_of_hundreds_of_levels_is_modelled():
    """Only levels that were common are drawn, and one that never was is read as missing."""
    rng = np.random.default_rng(0)
    levels = [f"v{i % 300}" for i in range(3000)] + [f"rare {i}" for i in range(60)]
    table = pa.table({"group": rng.random(3060) < 0.5, "level": levels})
    model = fit(table, epochs=3, width=32, depth=1, latent=2, seed=0, progress=False, threads=1)
    assert (len(model.contract["level"].levels), model.contract["level"].unseen) == (300, "missing")
    drawn = model.sample(2000, seed=1)["level"].to_pylist()
    assert set(drawn) <= {f"v{i}" for i in range(300)}
    assert len(set(drawn)) > 150
    scores = model.score({"group": [True, True], "level": ["never seen", None]})["score"].to_numpy()
    assert scores[0] == pytest.approx(scores[1], rel=1e-5)
    assert model.score({"group": [True], "level": ["v7"]})["score"][0].as_py() > scores[0] + 3  # log 300 is 5.7 nats


def test_a_report_shows_columns_however_their_numbers_are_written(model, tmp_path):
    from vaekit.fields import Contract
    from vaekit.report.before import table_facts
    from vaekit.report.compare import views

    contract = model.contract
    facts = table_facts(TABLE, Contract.infer(TABLE))
    assert facts.ignored == ("id",)
    names = contract.names("model")
    seen = {one.name: one for one in views(contract, names, TABLE, model.sample(40, seed=0))}
    assert set(seen) >= {" ", "a.b[0]/c:d", "größe ✓", "clock"}
    amounts = seen["a.b[0]/c:d"].real
    assert np.nanmax(amounts) == contract["a.b[0]/c:d"].bounds[1]
    assert np.isnan(amounts).sum() == TABLE["a.b[0]/c:d"].to_pylist().count("n/a")
    assert np.isnan(seen["x" * 300].real).sum() == TABLE["x" * 300].to_pylist().count(-999)
