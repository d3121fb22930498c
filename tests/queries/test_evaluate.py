"""The figures of a fit are those that the queries give on the same rows."""

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import norm

from tests.support import NOISE, bivariate
from vaekit.metrics.copula import Copula
from vaekit.metrics.marginals import marginal_nats
from vaekit.queries.evaluate import evaluate, some_rows


def column(table, name):
    return np.asarray(table[name].to_numpy(), np.float64)


@pytest.fixture(scope="module")
def tables():
    return bivariate(500, seed=101), bivariate(800, seed=102)


@pytest.fixture
def figures(zoo, tables):
    return evaluate(zoo["pair"].torch.engine, *tables, seed=4)


def test_likelihood_figures(zoo, tables, figures):
    model, rows = zoo["pair"].torch, tables[0]
    assert figures["rows"] == 500
    for name, samples in (("iwae_64", 64), ("elbo", 1)):  # draws of all seeds, each shared by all rows
        means = [-column(model.score(rows, samples=samples, seed=s), "score").mean() for s in range(60)]
        assert figures[name] == pytest.approx(np.mean(means), abs=4 * np.std(means) / np.sqrt(60) + 0.005), name
    entropy = np.log(2 * np.pi * np.e) + np.log(NOISE)
    assert figures["elbo"] < figures["iwae_64"] < -entropy + 0.1
    assert figures["iwae_64"] > -entropy - 0.15
    blocks = [model.engine.encode(t) for t in (tables[1], rows)]
    marginal = marginal_nats(model.engine.architecture.blocks, *blocks)
    assert figures["marginal_nats"] == pytest.approx(sum(v.mean() for v in marginal.values()))
    assert figures["marginal_nats"] == pytest.approx(np.log(2 * np.pi * np.e), abs=0.15)  # as if independent


def test_baselines_are_compared_row_by_row(zoo, tables, figures):
    model, (asked, train) = zoo["pair"].torch, tables
    specs, encode = model.engine.architecture.blocks, model.engine.encode
    alone = sum(marginal_nats(specs, encode(train), encode(asked)).values())
    slope, away = np.polyfit(column(train, "a"), column(train, "b"), 1)
    joint = -norm.logpdf(column(asked, "a")) - norm.logpdf(column(asked, "b"), slope * column(asked, "a") + away, NOISE)
    assert figures["copula_nats"] == pytest.approx(joint.mean(), abs=0.1)  # the data are what a Gaussian copula can say
    ours = np.mean([column(model.score(asked, seed=seed), "score") for seed in range(5)], axis=0)
    together = Copula.fit(specs, encode(train)).nats(encode(asked))
    for name, theirs in (("marginal", alone), ("copula", together)):
        found, gap = figures[f"{name}_gain"], theirs - ours
        assert found["nats"] == pytest.approx(figures["iwae_64"] + figures[f"{name}_nats"])
        assert found["se"] == pytest.approx(gap.std(ddof=1) / np.sqrt(len(gap)), rel=0.35)
    assert figures["marginal_gain"]["nats"] > 4 * figures["marginal_gain"]["se"]


def test_wide_rows_have_no_copula_and_say_so(zoo, tables, monkeypatch):
    monkeypatch.setattr("vaekit.queries.evaluate._COPULA_COLUMNS", 1)
    figures = evaluate(zoo["pair"].torch.engine, *tables, seed=4)
    assert "2 scalar columns" in figures["copula_left_out"]
    assert "copula_nats" not in figures
    assert "copula_gain" not in figures


def test_field_figures(zoo, tables, figures):
    model, rows = zoo["pair"].torch, tables[0]
    seen = model.reconstruct(rows)
    for name in "ab":
        field = figures["fields"][name]
        assert field["rmse"] == pytest.approx(np.sqrt(np.mean((column(seen, name) - column(rows, name)) ** 2)))
        assert field["nats"]["p5"] < field["nats"]["p50"] < field["nats"]["p95"]
        assert field["nats"]["p50"] < field["nats"]["mean"] < field["marginal_nats"]


def test_latent_figures(zoo, tables, figures):
    from tests.notorch.alike import numbers

    model = zoo["pair"].torch
    means = numbers(model.embed(tables[0])["embedding"])
    assert figures["latent_width"] == 4
    assert figures["active_units"] == int((means.var(0) > 0.01).sum()) >= 1
    assert figures["kl"] == pytest.approx(sum(figures["kl_per_dimension"]))
    assert min(figures["kl_per_dimension"]) > -1e-3
    assert 0.3 < figures["mutual_information"] < figures["kl"] + 0.02  # I(x; z) = E KL - KL(aggregate || prior)
    nats = sum(f["nats"]["mean"] for f in figures["fields"].values())
    assert figures["elbo"] == pytest.approx(-nats - figures["kl"], abs=0.03)


def test_accuracy_and_missing_cells(zoo):
    kept = zoo["cancer"]
    figures = evaluate(kept.torch.engine, kept.table, kept.table, seed=0)
    assert figures["rows"] == kept.table.num_rows
    seen = kept.torch.reconstruct(kept.table)
    for name in ("diagnosis", "texture_band", "grade"):
        real, guess = kept.table[name].to_pylist(), seen[name].to_pylist()
        hits = [r == g for r, g in zip(real, guess, strict=True) if r is not None]
        assert len(hits) < len(real)
        assert figures["fields"][name]["accuracy"] == pytest.approx(np.mean(hits))
    radius = np.array([np.nan if x is None else x for x in kept.table["radius"].to_pylist()])
    assert figures["fields"]["radius"]["rmse"] == pytest.approx(
        np.sqrt(np.nanmean((column(seen, "radius") - radius) ** 2))
    )


def test_a_field_given_the_rest_of_its_row(zoo):
    """Two normals with correlation 0.9: entropy of one given the other, and alone."""
    figures = evaluate(zoo["pair"].torch.engine, bivariate(1500, seed=201), bivariate(800, seed=102), seed=4)
    entropy = 0.5 * np.log(2 * np.pi * np.e)
    for name in "ab":
        field = figures["fields"][name]
        assert field["conditional_nats"] == pytest.approx(entropy + np.log(NOISE), abs=0.12)
        assert field["marginal_nats"] == pytest.approx(entropy, abs=0.08)


def test_conditional_nats_are_alike_on_both_backends(zoo):
    kept = zoo["cancer"]
    rows = kept.table.slice(0, 100)
    one, other = (evaluate(model.engine, rows, rows, seed=1)["fields"] for model in (kept.torch, kept.onnx))
    for name, field in one.items():
        assert field["conditional_nats"] == pytest.approx(other[name]["conditional_nats"], abs=1e-3), name


def test_nothing_to_evaluate_gives_no_figures(zoo, tables):
    assert evaluate(zoo["pair"].torch.engine, tables[0].slice(0, 0), tables[1]) == {}


def test_large_tables_are_thinned_at_random_and_in_order():
    table = pa.table({"i": np.arange(1000)})
    assert some_rows(table, 1000, 0) is table
    few = some_rows(table, 100, 0)["i"].to_numpy()
    assert len(set(few)) == 100
    assert (np.diff(few) > 0).all()
    assert abs(few.mean() - 500) < 120
    assert not np.array_equal(few, some_rows(table, 100, 1)["i"].to_numpy())


def test_a_fit_reports_them(zoo):
    figures = zoo["pair"].torch.evaluation
    assert figures["rows"] == len(zoo["pair"].torch.bundle.calibration["score"])
    assert figures["iwae_64"] > -2.3
