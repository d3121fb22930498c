"""Several models that answer as one: their mixture, and how far they are apart."""

import json

import numpy as np
import pyarrow as pa
import pytest

import vaekit as vk
from tests.support import bivariate
from vaekit.cli import main
from vaekit.errors import ConfigError, QueryError

TINY = {"width": 8, "depth": 1, "latent": 2, "choose": False, "progress": False, "report": False}


def numbers(table, name):
    return np.asarray(table[name].to_numpy(), np.float64)


@pytest.fixture(scope="module", autouse=True)
def no_graphs():
    """Bundles are saved with their weights alone: the export of each model takes seconds, and has tests of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vaekit.api.exporting.with_graphs", lambda bundle, *_, **__: bundle)
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("ensemble") / "run"
    vk.fit(bivariate(400, seed=7), seeds=3, out=out, epochs=12, **TINY)
    return out


@pytest.fixture(scope="module")
def models(run):
    return [vk.load(run / f"seed-{seed}") for seed in range(3)]


@pytest.fixture(scope="module")
def ensemble(run):
    return vk.Ensemble.load(run)


@pytest.fixture(scope="module")
def rows():
    return bivariate(200, seed=8)


def test_a_folder_of_runs_is_loaded_without_the_best_once_more(ensemble, run):
    assert len(ensemble.models) == 3
    assert len(vk.Ensemble.load([run / "seed-0", run / "seed-2"]).models) == 2


def test_scores_are_those_of_the_mixture(ensemble, models, rows):
    each = np.stack([numbers(model.score(rows), "score") for model in models])
    found = ensemble.score(rows)
    np.testing.assert_allclose(numbers(found, "score"), -np.log(np.mean(np.exp(-each), 0)), rtol=1e-9)
    np.testing.assert_allclose(numbers(found, "spread"), np.std(each, 0, ddof=1), rtol=1e-9)
    p = np.mean([numbers(model.score(rows), "p_value") for model in models], 0)
    np.testing.assert_allclose(numbers(found, "p_value"), np.minimum(2 * p, 1))
    assert numbers(found, "score").mean() < each.mean()  # never worse than its models on average, by Jensen


def test_models_disagree_most_where_they_saw_nothing(ensemble, rows):
    far = pa.table({"a": [9.0, -9.0, 9.0], "b": [-9.0, 9.0, 9.0]})
    assert numbers(ensemble.score(far), "spread").min() > 3 * np.median(numbers(ensemble.score(rows), "spread"))


def test_attribution_adds_up(ensemble, rows):
    found = ensemble.score(rows, attribution=True)
    parts = [name for name in found.column_names if name.startswith("score.")]
    assert parts == ["score.a", "score.b", "score.latent"]
    np.testing.assert_allclose(sum(numbers(found, name) for name in parts), numbers(found, "score"), rtol=1e-6)


def test_false_alarms_are_as_rare_as_promised_and_strange_rows_are_found(ensemble, models):
    alpha = 0.1
    fresh = ensemble.detect(bivariate(2000, seed=9), alpha=alpha)
    assert numbers(fresh, "anomaly").mean() <= alpha + 0.02
    strange = ensemble.detect(pa.table({"a": [3.0], "b": [-3.0]}), alpha=alpha, attribution=True)
    assert strange["anomaly"].to_pylist() == [True]
    assert {"excess.a", "excess.b", "spread"} <= set(strange.column_names)
    alone = 1.0 / (len(models[0].bundle.calibration["anomaly"]) + 1)
    with pytest.raises(QueryError, match="twice that of a model alone"):
        ensemble.detect(bivariate(5, seed=9), alpha=1.2 * alone)


def test_rows_are_drawn_from_all_models(ensemble, models):
    drawn = ensemble.sample(300, seed=3)
    own = [model.sample(300, seed=3) for model in models]
    alike = np.array([[d == o for d, o in zip(drawn.to_pylist(), one.to_pylist(), strict=True)] for one in own])
    assert alike.any(0).all()  # two models may draw the same rounded row
    assert alike.sum(1).min() > 60
    for name, column in zip(drawn.column_names, ensemble.sample(280, seed=3).columns, strict=True):
        np.testing.assert_allclose(column.to_numpy(), drawn[name].to_numpy()[:280], rtol=1e-5, atol=1e-5)
    assert min(ensemble.sample(50, seed=3, where="a > 0.5")["a"].to_pylist()) > 0.5


def test_given_fields_choose_the_models_that_explain_them(models):
    """A value that one model alone has seen: its rows come from that model."""
    low, high = (
        vk.fit(pa.table({"x": rng.normal(5.0 * k, 1, 200), "y": rng.normal(0, 1, 200)}), epochs=8, **TINY)
        for k, rng in enumerate(map(np.random.default_rng, (0, 1)))
    )
    both = vk.Ensemble([low, high])
    assert both._chances({"x": 0.0}, 0)[0] > 0.9
    assert both._chances({"x": 5.0}, 0)[1] > 0.9
    assert both._chances({}, 0).tolist() == [0.5, 0.5]


def test_what_has_no_common_answer_is_refused(ensemble, models, rows, run, tmp_path):
    with pytest.raises(QueryError, match="'embed' is about the latent space"):
        ensemble.query("embed", rows)
    with pytest.raises(ConfigError, match="at least two"):
        vk.Ensemble(models[:1])
    with pytest.raises(ConfigError, match="seeds=N"):
        vk.Ensemble.load(run / "seed-0")
    other = vk.fit(rows.rename_columns(["a", "c"]), epochs=1, **TINY)
    with pytest.raises(ConfigError, match="differ in b, c"):
        vk.Ensemble([models[0], other])


def test_the_command_answers_with_all_models(ensemble, run, rows, tmp_path, capfd):
    import pyarrow.parquet as pq

    pq.write_table(rows, tmp_path / "rows.parquet")
    for line, name in (
        (["score", run, tmp_path / "rows.parquet"], "score"),
        (["detect", run, tmp_path / "rows.parquet", "--alpha", 0.1], "anomaly_score"),
        (["sample", run, "--rows", 7], "a"),
    ):
        with pytest.raises(SystemExit) as stop:
            main([str(word) for word in [*line, "--ensemble", "--json"]])
        told = json.loads(capfd.readouterr().out)
        assert not stop.value.code
        assert name in told["columns"]
        assert ("spread" in told["columns"]) == (name != "a")
