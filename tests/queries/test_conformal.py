"""`detect`: p-values by the formula, and a false-alarm rate that is kept."""

import dataclasses
import re

import numpy as np
import pyarrow as pa
import pytest

from tests.support import bits, bivariate, fit, holes
from vaekit.errors import QueryError
from vaekit.queries import query
from vaekit.queries.conformal import SAMPLES, SEED, p_values


def column(table, name):
    return np.asarray(table[name].to_numpy(zero_copy_only=False), np.float64)


def calibrated(engine, scores, name="anomaly"):
    return dataclasses.replace(engine, calibration={**engine.calibration, name: np.sort(scores)})


@pytest.fixture
def engine(zoo):
    return zoo["bits"].torch.engine


# ------------------------------------------------------------------------------------------------------------ p-values


@pytest.mark.parametrize("n", [1, 2, 99, 500])
def test_p_values_by_brute_force_with_ties(engine, n):
    rng = np.random.default_rng(n)
    reference = rng.integers(-20, 20, n) / 4.0
    values = np.concatenate([rng.integers(-25, 25, 200) / 4.0, rng.normal(size=50) * 5])
    expected = [(1 + sum(r >= v for r in reference)) / (n + 1) for v in values]
    found = p_values(calibrated(engine, reference), "anomaly", values)
    np.testing.assert_allclose(found, expected, rtol=1e-14)
    assert found.min() == 1 / (n + 1)
    assert found.max() == 1.0


def test_a_score_within_float_accuracy_counts_as_equal(engine):
    reference = np.array([1.0, 1.0, 1.0, 50.0])
    values = np.array([1.0, 1.0 + 5e-6, 1.0 - 5e-6, 1.001, 50.0003, 50.1])
    found = p_values(calibrated(engine, reference), "anomaly", values)
    assert found.tolist() == [1.0, 1.0, 1.0, 0.4, 0.4, 0.2]


def test_p_values_do_not_exist_without_calibration(engine):
    bare = dataclasses.replace(engine, calibration={})
    assert np.isnan(p_values(bare, "anomaly", np.zeros(3))).all()


def test_score_and_detect_give_the_p_values_of_their_own_scores(kept):
    model = kept.torch
    scored, detected = model.score(kept.rows), model.detect(kept.rows, alpha=0.1)
    for answer, name, of in ((scored, "score", "score"), (detected, "anomaly", "anomaly_score")):
        expected = p_values(model.engine, name, column(answer, of))
        np.testing.assert_array_equal(column(answer, "p_value"), expected)
    flagged = column(detected, "anomaly") == 1
    assert (flagged == (column(detected, "p_value") <= 0.1)).all()
    assert 0 < flagged.sum() < 60
    assert column(detected, "anomaly_score")[flagged].min() > column(detected, "anomaly_score")[~flagged].max()


@pytest.mark.parametrize("n", [19, 99, 140, 148, 999, 12345])
def test_an_alpha_that_is_too_small_is_refused_and_the_one_named_is_not(engine, n):
    reference = np.linspace(0, 1, n)
    for alpha in (1 / (n + 1) * 0.99, 1e-9):
        with pytest.raises(QueryError, match=f"{n} calibration rows") as told:
            _detect(calibrated(engine, reference), alpha)
    named = float(re.search(r"smallest attainable is ([0-9.e-]+);", str(told.value)).group(1))
    assert 1 / (n + 1) <= named < 1.02 / (n + 1)
    for alpha in (named, 1 / (n + 1)):
        assert _detect(calibrated(engine, reference), alpha)["anomaly"].to_pylist() == [True, False]


def _detect(engine, alpha):
    """Two rows of a scorer that calls the first far stranger than any calibration row, and the second ordinary."""
    from vaekit.queries import detect as module
    from vaekit.queries import query

    table = bits(2, seed=0)
    real = module.__globals__["bounds"]
    module.__globals__["bounds"] = lambda *_, **__: (np.array([7.0, -7.0]), {})
    try:
        return query(engine, "detect", table, alpha=alpha)
    finally:
        module.__globals__["bounds"] = real


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, 2.0, float("nan")])
def test_an_alpha_that_is_no_rate_is_refused(zoo, alpha):
    with pytest.raises(QueryError, match="alpha is a false-alarm rate between 0 and 1"):
        zoo["bits"].torch.detect(zoo["bits"].rows, alpha=alpha)


# ---------------------------------------------------------------------------------------------------------- the promise


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.2])
def test_the_false_alarm_rate_over_many_splits(zoo, alpha):
    """One model, fresh rows split anew 500 times: the share that is flagged is floor(alpha (n + 1)) / (n + 1)."""
    model, n, m, splits = zoo["pair"].torch, 150, 150, 500
    pool = column(model.detect(bivariate(1200, seed=21), alpha=0.1), "anomaly_score")
    rng, rates = np.random.default_rng(0), []
    for _ in range(splits):
        order = rng.permutation(len(pool))
        engine = calibrated(model.engine, pool[order[:n]])
        rates.append((p_values(engine, "anomaly", pool[order[n : n + m]]) <= alpha).mean())
    expected = np.floor(alpha * (n + 1) + 1e-9) / (n + 1)
    error = np.sqrt(alpha * (1 - alpha) * (1 / n + 1 / m) / splits)
    assert abs(np.mean(rates) - expected) < 4 * error
    assert np.mean(rates) <= alpha + 4 * error


@pytest.mark.parametrize("name", ["pair", "bits"])
def test_the_promise_is_kept_by_a_fitted_model_on_fresh_rows(zoo, name):
    """Calibration rows that training saw would make the scores of fresh rows look strange."""
    model = zoo[name].torch
    fresh = {"pair": bivariate, "bits": bits}[name](4000, seed=31)
    n = len(model.bundle.calibration["anomaly"])
    answer = model.detect(fresh, alpha=0.1)
    for alpha in (0.01, 0.05, 0.1, 0.3):
        rate = (column(answer, "p_value") <= alpha).mean()
        error = np.sqrt(alpha * (1 - alpha) * (1 / n + 1 / 4000))
        assert rate < alpha + 3.5 * error, alpha
        if name == "pair":
            assert rate > alpha - 3.5 * error - 1 / (n + 1), alpha


class Jittery:
    """A backend whose float32 rounding differs a little from that of another."""

    name = "jittery"

    def __init__(self, backend):
        self.backend, self.rng = backend, np.random.default_rng(0)

    def run(self, primitive, inputs):
        found = self.backend.run(primitive, inputs)
        found["log_ratio"] = found["log_ratio"] + self.rng.normal(size=found["log_ratio"].shape[1]) * 2e-7
        return found


def test_the_promise_is_kept_where_rows_repeat_each_other_and_backends_round_differently(zoo):
    """Sixteen kinds of rows: a whole kind at the edge would be flagged or not by the last bit."""
    from vaekit.queries import query

    engine = zoo["bits"].torch.engine
    other = dataclasses.replace(engine, backend=Jittery(engine.backend))
    fresh, n = bits(3000, seed=41), len(engine.calibration["anomaly"])
    one, two = (query(e, "detect", fresh, alpha=0.1) for e in (engine, other))
    assert not np.array_equal(column(one, "anomaly_score"), column(two, "anomaly_score"))
    np.testing.assert_array_equal(column(one, "p_value"), column(two, "p_value"))
    for alpha in (0.02, 0.05, 0.1, 0.2):
        error = np.sqrt(alpha * (1 - alpha) * (1 / n + 1 / 3000))
        assert (column(two, "p_value") <= alpha).mean() < alpha + 3.5 * error


def test_strange_rows_are_found(zoo):
    model = zoo["pair"].torch
    usual, strange = bivariate(300, seed=51), pa.table({"a": np.full(30, 1.5), "b": np.linspace(-2.5, -1, 30)})
    answer = model.detect(pa.concat_tables([usual, strange]), alpha=0.02)
    assert column(answer, "anomaly")[300:].all()  # each value is common, the pair is not
    assert column(answer, "anomaly")[:300].mean() < 0.06


def test_rows_are_scored_with_the_draw_that_lies_beside_the_calibration_scores(zoo):
    """Whatever a later NumPy draws from the seed."""
    engine = zoo["pair"].torch.engine
    rows = bivariate(50, seed=9)
    moved = dict(engine.calibration) | {"noise.z": engine.calibration["noise.z"] + np.float32(0.5)}
    both = [dataclasses.replace(engine, calibration=one) for one in (engine.calibration, moved)]
    before, after = (query(one, "score", rows) for one in both)
    assert np.abs(after["score"].to_numpy() - before["score"].to_numpy()).min() > 0
    other, same = (query(one, "score", rows, seed=1) for one in both)
    assert other == same  # another draw was asked for
    drawn = engine.noise(SEED, SAMPLES, 1, shared=True)["noise.z"]
    np.testing.assert_array_equal(engine.calibration["noise.z"], drawn)


@pytest.mark.parametrize("options", [{"samples": 1}, {"seed": 1}, {"samples": 64, "seed": 3}])
def test_nothing_is_promised_for_a_draw_that_calibration_rows_were_not_scored_with(zoo, options):
    """Scores of fewer samples are larger: held against scores of eight they would be false alarms."""
    kept = zoo["pair"]
    with pytest.raises(QueryError, match="query 'detect' takes table, alpha, attribution; "):
        kept.torch.query("detect", kept.rows, **options)
    assert kept.torch.score(kept.rows, **options)["p_value"].null_count == kept.rows.num_rows
    assert kept.torch.score(kept.rows, samples=8, seed=0)["p_value"].null_count == 0


# ---------------------------------------------------------------------------------------------------- calibration rows


def test_calibration_rows_are_no_others_rows(monkeypatch):
    """A number that no two rows share tells which rows training, early stopping and calibration saw."""
    import vaekit.api.fitting as fitting
    from vaekit.training import fit as training
    from vaekit.training import gathering

    seen, resident, calibrate = [], training.Resident, fitting.calibrate

    def spy(blocks, device):
        seen.append(blocks["number.gaussian"].values[:, 0])
        return resident(blocks, device)

    def scored(engine, table):
        seen.append(engine.encode(table)["number.gaussian"].values[:, 0])
        return calibrate(engine, table)

    for module in (training, gathering):
        monkeypatch.setattr(module, "Resident", spy)
    monkeypatch.setattr(fitting, "calibrate", scored)
    x = np.random.default_rng(0).normal(size=400)
    model = fit({"x": x, "y": x**2}, epochs=1, calibration=0.25, valid=0.15)
    train, valid, calibration = (set(part.tolist()) for part in seen)
    assert [len(train), len(valid), len(calibration)] == [240, 60, 100]
    assert not train & valid
    assert not train & calibration
    assert not valid & calibration
    assert train | valid | calibration == set(
        model.engine.encode({"x": x, "y": x**2})["number.gaussian"].values[:, 0].tolist()
    )
    bounds = model.contract["x"].bounds  # and transforms are those of the training rows alone
    inside = np.isin(model.engine.encode({"x": x, "y": x**2})["number.gaussian"].values[:, 0], list(train))
    assert bounds == (x[inside].min(), x[inside].max())
    for name in ("score", "anomaly"):
        assert len(model.bundle.calibration[name]) == 100
        assert (np.diff(model.bundle.calibration[name]) >= 0).all()


def test_a_model_without_calibration_rows_scores_and_refuses_to_detect():
    x = np.random.default_rng(0).normal(size=60)
    model = fit({"x": x, "y": -x}, epochs=1, calibration=0.0)
    assert model.score({"x": x, "y": x})["p_value"].null_count == 60
    with pytest.raises(QueryError, match="holds no calibration scores"):
        model.detect({"x": x, "y": x}, alpha=0.5)


# --------------------------------------------------------------------------------------------------------- no units


def measured(scale):
    """Skewed lengths, and a vector of a length and a temperature, with holes; in units of 1 / scale."""
    import pandas as pd

    rng = np.random.default_rng(6)
    hidden = rng.normal(size=(500, 2))
    lengths = np.exp(hidden @ rng.normal(size=(2, 3)) + 0.2 * rng.normal(size=(500, 3)))
    frame = holes(pd.DataFrame(lengths * scale, columns=["width", "height", "depth"]), 0.15, seed=7)
    vector = np.stack([hidden[:, 0] + 0.3 * rng.normal(size=500), hidden[:, 1]], axis=1)
    vector[rng.random(vector.shape) < 0.15] = np.nan
    frame["pose"] = [[None if x != x else x for x in row] for row in (vector * [scale, 1.0]).tolist()]
    table = pa.Table.from_pandas(frame.drop(columns="pose"), preserve_index=False).replace_schema_metadata(None)
    return table.append_column("pose", pa.array(frame["pose"].tolist(), pa.list_(pa.float64(), 2)))


@pytest.fixture(scope="module")
def metric():
    return [(measured(scale), fit(measured(scale), epochs=6)) for scale in (1.0, 1000.0)]


def test_the_data_for_the_change_of_units_is_worth_it(metric):
    table, model = metric[0]
    observed = np.asarray(model.engine.encode(table)["vector.pose"].observed)[:, 0]
    assert {tuple(row) for row in observed.tolist()} == {(True, True), (True, False), (False, True), (False, False)}
    assert all(model.contract[name].measure == "continuous" for name in ("width", "height", "depth"))


def test_metres_or_millimetres_rank_anomalies_alike(metric):
    (metres, one), (millimetres, two) = metric
    first, second = (
        model.detect(table, alpha=0.1, attribution=True) for table, model in ((metres, one), (millimetres, two))
    )
    np.testing.assert_allclose(column(first, "anomaly_score"), column(second, "anomaly_score"), atol=2e-3)
    np.testing.assert_array_equal(
        np.argsort(column(first, "anomaly_score"))[-50:], np.argsort(column(second, "anomaly_score"))[-50:]
    )
    for name in first.column_names[3:]:
        np.testing.assert_allclose(column(first, name), column(second, name), atol=2e-3, err_msg=name)
    plain = column(one.score(metres), "score") - column(two.score(millimetres), "score")
    assert np.ptp(plain) > 5  # densities do depend on units, by what is observed


def test_excess_is_what_a_field_has_above_its_average_where_it_is_observed(metric):
    table, model = metric[0]
    from vaekit.training.splits import Splits

    calibration = Splits.random(500, 0.1, 0.2, 0).calibration
    rows = table.take(pa.array(calibration))
    shares = model.score(rows, attribution=True)
    excess = model.detect(rows, alpha=0.1, attribution=True)
    for name in ("width", "height", "depth"):
        seen = np.array(rows[name].is_valid())
        share = column(shares, f"score.{name}")
        expected = np.where(seen, share - share[seen].mean(), 0.0)
        np.testing.assert_allclose(column(excess, f"excess.{name}"), expected, atol=1e-4)
        assert not seen.all()
    assert abs(column(excess, "excess.pose").mean()) < 1e-4
