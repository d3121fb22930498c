"""The page: whole, safe, self-contained, small, and its numbers are those of the model."""

import json
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.datasets import load_breast_cancer, load_digits

import vaekit as vk
from tests.report.reading import Page
from tests.support import fit
from vaekit.cli import main
from vaekit.errors import ConfigError, ContractError
from vaekit.report import Rows, gather

SECTIONS = ["advice", "card", "contract", "reconstruction", "calibration", "marginals", "latent", "rows", "record"]


def read(text):
    """The page, after checking what holds for every page."""
    assert len(text.encode()) < 5_000_000
    page = Page(text)
    assert len(set(page.ids)) == len(page.ids)
    assert set(SECTIONS) <= set(page.sections)
    inside = {f"#{one}" for one in page.ids}
    for tag, name, value in page.addresses:
        assert value in inside or value.startswith(("data:", "#")), (tag, name, value)
        if value.startswith("#"):
            assert value in inside, value
    assert not re.search(r"https?://|@import|url\((?!#)", text)
    assert not [tag for tag, _ in page.tags if tag in ("script", "iframe", "object", "embed", "form")]
    assert not [name for _, named in page.tags for name in named if name.startswith("on")]
    assert "#01010" not in text  # every colour is one of the style sheet
    return page


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Breast-cancer rows as a file, and a run on them."""
    folder = tmp_path_factory.mktemp("report")
    data = load_breast_cancer(as_frame=True)
    frame = data.data[["mean radius", "mean texture", "mean smoothness", "worst area", "worst concavity"]].copy()
    frame["diagnosis"] = np.where(data.target == 0, "malignant", "benign")
    frame.loc[::9, "mean texture"] = np.nan
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), folder / "rows.parquet")
    with pytest.MonkeyPatch.context() as patch:  # a bundle without graphs, whose export takes long, answers on torch
        patch.setattr(vk.Model, "save", lambda self, path: self.bundle.save(path))
        fit(folder / "rows.parquet", out=folder / "run", epochs=25)
    return folder


@pytest.fixture(scope="module")
def model(run):
    return vk.load(run / "run", backend="torch")


@pytest.fixture(scope="module")
def written(run):
    return read((run / "run" / "report.html").read_text())


def test_a_fit_writes_its_report(written):
    assert "training" in written.sections
    assert "114 calibration rows, which training did not see" in written.sections["card"]
    assert "57 early-stopping rows" in written.sections["calibration"]


def test_figures_are_those_of_the_model(written, model):
    known = model.evaluation
    assert written.values("iwae_64") == [pytest.approx(known["iwae_64"])]
    assert written.values("marginal_nats") == [pytest.approx(known["marginal_nats"])]
    assert written.values("marginal_gain") == [pytest.approx(known["marginal_nats"] + known["iwae_64"])]
    assert written.values("active_units") == [known["active_units"]]
    nats = {name: one["nats"]["mean"] for name, one in known["fields"].items()}
    assert sorted(written.values("nats")) == pytest.approx(sorted(nats.values()))
    assert written.values("accuracy") == [pytest.approx(known["fields"]["diagnosis"]["accuracy"])]
    assert len(written.values("rmse")) == 5


def test_strange_rows_are_those_that_detect_finds(written, model, run):
    """The rows that the page names, scored by their numbers in the table of the fit."""
    table = pq.read_table(run / "rows.parquet")
    numbers = [int(row.replace(",", "")) for row in re.findall(r"Row ([\d,]+)", written.sections["rows"])]
    assert len(numbers) == 9
    again = model.detect(table.take(numbers), alpha=0.05)
    assert written.values("score") == pytest.approx(again["anomaly_score"].to_pylist(), rel=1e-3)
    assert written.values("p_value") == pytest.approx(again["p_value"].to_pylist())
    calibration = model.bundle.calibration["anomaly"]
    assert written.values("score")[:3] == pytest.approx(calibration[::-1][:3].tolist(), rel=1e-3)
    edge, typical = written.values("p_value")[3:6], written.values("p_value")[6:]
    assert max(abs(np.array(edge) - 0.05)) < 0.03
    assert max(abs(np.array(typical) - 0.5)) < 0.03


def test_false_alarms_are_those_of_early_stopping_rows(written, model, run):
    from vaekit.training.splits import split

    table = pq.read_table(run / "rows.parquet")
    splits = split(table, model.contract, 0.1, 0.2, 0)
    p_value = model.detect(table.take(splits.valid), alpha=0.05)["p_value"].to_numpy()
    rates = [0.01, 0.02, 0.05, 0.1, 0.2]
    assert written.values("alarms") == pytest.approx([(p_value <= rate).mean() for rate in rates])


def test_the_report_of_a_run_is_made_again_from_its_table(run, model, capsys):
    with pytest.raises(SystemExit) as stop:
        main(
            [
                "report",
                str(run / "run"),
                str(run / "rows.parquet"),
                "--out",
                str(run / "again.html"),
                "--backend",
                "torch",
            ]
        )
    assert not stop.value.code
    assert "114 calibration rows, which training did not see" in capsys.readouterr().out
    assert (run / "again.html").read_text() == (run / "run" / "report.html").read_text()


def test_a_bundle_with_other_rows_and_without_rows(run, capsys):
    other = pq.read_table(run / "rows.parquet").slice(5, 200)
    pq.write_table(other, run / "other.parquet")
    line = ["report", run / "run" / "bundle", run / "other.parquet", "--out", run / "other.html", "--no-rows"]
    with pytest.raises(SystemExit) as stop:
        main([*map(str, line), "--title", "A <b>title</b>"])
    assert not stop.value.code
    assert "200 rows that were given" in capsys.readouterr().out
    page = read((run / "other.html").read_text())
    assert "training" not in page.sections
    assert "made without example rows" in page.sections["rows"]
    assert not page.values("score")
    assert "A <b>title</b>" in page.sections[""]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (["run/bundle"], "holds no rows"),
        (["run", "--out", "x.html"], "holds no rows"),
        (["run/bundle", "rows.parquet"], "--out FILE"),
    ],
)
def test_wrong_use_is_refused(run, line, told, capsys, monkeypatch):
    monkeypatch.chdir(run)
    with pytest.raises(SystemExit) as stop:
        main(["report", *line])
    assert stop.value.code == 2
    assert told in capsys.readouterr().err


def test_a_run_says_where_its_report_is(run, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["report", str(run / "run")])
    assert not stop.value.code
    assert "report.html" in capsys.readouterr().out


@pytest.fixture
def no_graphs(monkeypatch):
    """Bundles are saved without graphs, whose export takes far longer than a report; they answer on torch."""
    monkeypatch.setattr(vk.Model, "save", lambda self, path: self.bundle.save(path))


def test_no_report_and_no_rows_when_asked(run, tmp_path, no_graphs):
    fit(run / "rows.parquet", out=tmp_path / "a", epochs=1, report=False)
    assert not (tmp_path / "a" / "report.html").exists()
    fit(run / "rows.parquet", out=tmp_path / "b", epochs=1, report="no-rows")
    assert "made without example rows" in read((tmp_path / "b" / "report.html").read_text()).sections["rows"]


def test_a_report_that_fails_costs_no_model(run, tmp_path, monkeypatch, no_graphs):
    monkeypatch.setattr("vaekit.report.page", None)
    with pytest.warns(UserWarning, match="the model is saved, but .*report.html could not be written"):
        fit(run / "rows.parquet", out=tmp_path / "run", epochs=1)
    assert vk.load(tmp_path / "run").contract


def test_no_rows_and_wrong_rows_are_errors(model, run):
    table = pq.read_table(run / "rows.parquet")
    with pytest.raises(ContractError, match="at least one real row"):
        model.report(table.slice(0, 0))
    with pytest.raises(ContractError, match="mean radius"):
        model.report(table.drop_columns(["mean radius"]))
    with pytest.raises(ConfigError, match="cannot be written"):
        model.report(table, run / "rows.parquet" / "report.html")


# ------------------------------------------------------------------------------------------------- tables of all sorts


def test_every_kind_and_role(kept):
    page = read(kept.torch.report(kept.table))
    fields = [field for field in kept.torch.contract.fields if field.role == "model"]
    assert len([tag for tag, named in page.tags if "picture" in named.get("class", "")]) >= len(fields)
    assert not kept.torch.contract.names("condition") or "must be known" in page.sections["card"]
    for field in fields:
        assert field.name in page.sections["images" if field.kind == "image" else "marginals"]


def hostile():
    rng = np.random.default_rng(0)
    names = [
        "<script>alert(1)</script>",
        "$x_{1}$ & \"q\" 'r'",
        "</title><img src=x onerror=alert(2)>",
        "a\nb\x07]]>{{ 7*7 }}",
    ]
    x = rng.normal(size=(300, 2))
    levels = np.array(["<script>alert(3)</script>", "$\\frac{1}{0}$ \x1b", "{% raw %}", "javascript:alert(4)"])
    codes = (x[:, 0] > 0).astype(int) + 2 * (rng.random(300) < 0.2)
    other = np.array(["--><svg onload=alert(5)>", 'http://example.com/" onclick="x', "]]>"])[rng.integers(0, 3, 300)]
    return pa.table({names[0]: x[:, 0], names[1]: x[:, 0] + 0.1 * x[:, 1], names[2]: levels[codes], names[3]: other})


def test_hostile_names_and_values_are_text():
    text = fit(hostile(), epochs=4).report(hostile(), title="</style><script>alert(0)</script>")
    text = text.replace("http://exam", "")  # an address in the data is text, not an address of the page
    page = read(text)
    assert "<script>alert(1)</script>" in page.sections["contract"]
    assert "<script>alert(1)</script>" in page.sections["marginals"]
    assert "{{ 7*7 }}" in page.sections["contract"]
    assert "<script>alert(3)</script>" in page.sections["rows"]
    assert "alert" not in " ".join(name for _, named in page.tags for name in named)
    assert not re.search(r"[\x00-\x08\x0b-\x1f]", text)


def small(rows, columns, seed=0):
    values = np.random.default_rng(seed).normal(size=(rows, columns)).cumsum(1)
    return pa.table({f"x{i}": values[:, i] for i in range(columns)})


@pytest.mark.parametrize(
    "case",
    [
        (small(12, 2), {}),
        (small(200, 1), {}),
        (small(200, 3), {"latent": 1}),
        (small(80, 3), {"calibration": 0.0}),
        (small(80, 4), {"calibration": 0.02}),
        (pa.table({"row": np.arange(200.0) % 7, "draw": np.arange(200.0) % 5, "step": np.arange(200.0) % 3}), {}),
        (pa.table({"v": pa.FixedSizeListArray.from_arrays(pa.array(load_digits().data[:200].ravel()), 64)}), {}),
        (pa.table({c: np.array(["a", "b", "c"])[np.arange(240) // (i + 1) % 3] for i, c in enumerate("pqr")}), {}),
        (pa.table({"x": pa.array([None, 1.5, 2.5, None] * 40), "g": pa.array(["u", None, "v", "u"] * 40)}), {}),
    ],
    ids=[
        "12 rows",
        "1 column",
        "1 latent",
        "no calibration",
        "2 calibration",
        "taken names",
        "vector",
        "categories",
        "holes",
    ],
)
def test_small_and_odd_tables(case, tmp_path, recwarn, no_graphs):
    table, options = case
    fit(table, out=tmp_path / "run", epochs=3, **options)
    page = read((tmp_path / "run" / "report.html").read_text())
    assert not re.search(r"\bnan\b", " ".join(page.sections.values()).lower())
    assert not [str(one.message) for one in recwarn if "report" in str(one.message)]


def test_a_wide_table_stays_small():
    table = small(60, 500)
    model = fit(table, epochs=1, width=16)
    page = read(model.report(table))
    assert len(page.text) < 2_000_000
    assert "470 are left out" in page.sections["card"]
    assert len([1 for tag, named in page.tags if tag == "figure"]) < 50
    shown = set(re.findall(r"x\d+", page.sections["marginals"]))
    gain = {name: one["marginal_nats"] - one["nats"]["mean"] for name, one in model.evaluation["fields"].items()}
    assert shown == set(sorted(gain, key=gain.__getitem__)[-30:])


def test_a_kind_that_the_report_does_not_know_is_looked_at_by_its_type():
    from vaekit.report.columns import look

    stamps = pa.chunked_array([pa.array([0, 86_400, None], pa.timestamp("s"))])
    tomorrow = SimpleNamespace(name="when", kind="a kind of tomorrow", clean=lambda column: column)
    seen = look(tomorrow, stamps)
    assert seen.shape == "time"
    assert seen.real[:2].tolist() == [0.0, 86_400.0]
    assert np.isnan(seen.real[2])
    assert look(tomorrow, pa.chunked_array([[b"bytes"]])) is None


# ----------------------------------------------------------------------------------------------------- what is computed


def test_coverage_is_right_where_the_model_is(zoo):
    """Two correlated normals, well fitted: intervals for a hidden cell hold it as often as they say."""
    from tests.support import bivariate
    from vaekit.report.quality import coverage

    found = coverage(zoo["pair"].torch.engine, bivariate(1000, seed=55), ["a", "b"])
    assert set(found) == {"a", "b"}
    for one in found.values():
        assert one.cells > 400
        for level, share in one.shares.items():
            assert abs(share - level) < 4 * np.sqrt(level * (1 - level) / one.cells) + 0.02


def test_coverage_notices_intervals_that_are_too_narrow(zoo):
    from tests.support import bivariate
    from vaekit.report.quality import coverage

    rows = bivariate(1000, seed=56)
    wide = pa.table({"a": rows["a"], "b": np.random.default_rng(0).permutation(rows["b"].to_numpy())})
    assert all(one.shares[0.9] < 0.75 for one in coverage(zoo["pair"].torch.engine, wide, ["a", "b"]).values())


def test_samples_follow_the_conditions_of_real_rows(zoo):
    """Given groups in other shares, samples follow p(level | group) averaged over these."""
    from tests.support import SHARES, mixture
    from vaekit.queries.sample import sampled_like

    rows = mixture(2000, seed=60)
    rows = rows.filter(pa.compute.equal(rows["g"], "u"))
    drawn = sampled_like(zoo["mixture"].torch.engine, rows, 2000)
    share = [np.mean([level == name for level in drawn["c"].to_pylist()]) for name in "xyz"]
    assert share == pytest.approx(SHARES[0].tolist(), abs=0.08)


def test_the_latent_map_is_coloured_by_what_it_explains():
    from vaekit.report.columns import Seen
    from vaekit.report.latent import latent_map

    points = np.random.default_rng(0).normal(size=(500, 3)) * [3.0, 2.0, 0.1]
    noise = np.random.default_rng(1).normal(size=500)
    seen = [Seen("noise", "number", "number", noise, noise), Seen("first", "number", "number", points[:, 0], noise)]
    found = latent_map(points, seen)
    assert found.field == "first"
    assert found.share > 0.9
    assert found.explained == pytest.approx((points.var(0) / points.var(0).sum())[:2], abs=0.01)
    assert abs(np.corrcoef(found.points[:, 0], points[:, 0])[0, 1]) > 0.99


def test_traversals_name_what_moves(zoo):
    """In two correlated normals one latent dimension moves both, in the same direction or both the other way."""
    from tests.support import bivariate

    kept = zoo["pair"].torch
    facts = gather(kept.bundle, kept.engine, Rows(bivariate(500, seed=3)))
    first = facts.traversals[0]
    assert {move.field for move in first.moves} == {"a", "b"}
    rises = [np.sign(move.values[-1] - move.values[0]) for move in first.moves]
    assert rises[0] == rises[1]
    assert all(move.size > 0.3 for move in first.moves)
    walked = kept.traverse(first.dim, steps=9, reach=2.0)
    assert list(first.moves[0].values) == pytest.approx(walked[first.moves[0].field].to_pylist())


def test_pairs_and_similarity_tell_good_samples_from_shuffled_ones(zoo):
    from tests.support import bivariate
    from vaekit.report.compare import pairs, similarity, views

    rows, drawn = bivariate(1000, seed=5), zoo["pair"].torch.sample(1000)
    mixed = pa.table({"a": drawn["a"], "b": np.random.default_rng(0).permutation(drawn["b"].to_numpy())})
    good, bad = (views(zoo["pair"].torch.contract, ["a", "b"], rows, other) for other in (drawn, mixed))
    assert pairs(good).difference < 0.1
    assert pairs(bad).difference == pytest.approx(0.9, abs=0.15)
    assert similarity(bad[1]) == pytest.approx(similarity(good[1]))
    assert similarity(good[0]) > 0.9
    assert pairs(good).floor < 0.1


def test_inspect_prints_advice(tmp_path, capsys):
    frame = load_breast_cancer(as_frame=True).frame
    frame.to_csv(tmp_path / "rows.csv", index=False)
    with pytest.raises(SystemExit):
        main(["inspect", str(tmp_path / "rows.csv")])
    assert "check  label target" in capsys.readouterr().out
    rng = np.random.default_rng(0)
    pd.DataFrame({name: rng.permutation(frame[name]) for name in frame}).to_csv(tmp_path / "mixed.csv", index=False)
    with pytest.raises(SystemExit):
        main(["inspect", str(tmp_path / "mixed.csv"), "--json"])
    advice = json.loads(capsys.readouterr().out)["advice"]
    assert advice[0]["verdict"] == "stop"
    assert advice[0]["topic"] == "dependence"


def test_a_field_that_saves_nothing_has_no_bar(zoo):
    import dataclasses

    from vaekit.report import page

    kept = zoo["pair"].torch
    fields = {
        name: one | {"marginal_nats": one["nats"]["mean"] - 1.0} for name, one in kept.evaluation["fields"].items()
    }
    worse = dataclasses.replace(kept.bundle, evaluation=kept.evaluation | {"fields": fields})
    text = page(gather(worse, kept.engine, Rows(zoo["pair"].table.slice(0, 60))))
    assert [named["style"] for tag, named in read(text).tags if named.get("class") == "bar"] == ["width:0.0%"] * 2
