"""Corners in which answers were once wrong: each test fails on the behaviour that it names."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from torch import nn

import vaekit as vk
from vaekit.errors import ConfigError, QueryError
from vaekit.fields.tables import to_arrow
from vaekit.objectives import ELBO
from vaekit.training import Config, train
from vaekit.training.stages import Stage

QUICK = {"epochs": 3, "width": 16, "depth": 2, "latent": 2, "progress": False}


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    x = rng.normal(size=600)
    return pd.DataFrame(
        {
            "x": x,
            "y": x + 0.3 * rng.normal(size=600),
            "rain": np.where(rng.random(600) < 0.5, 0.0, rng.exponential(size=600)),
            "code": rng.choice(["a", "b", "c"], 600),
        }
    )


@pytest.fixture(scope="module")
def model(rows) -> vk.Model:
    return vk.fit(rows, contract=vk.Contract.infer(rows).replace("code", unseen="missing"), **QUICK)


def test_a_budget_of_time_ends_with_a_validation_of_its_last_step(rows):
    """The weights of the end, where the learning rate is low, have to be candidates for the best ones."""
    config = Config().override(epochs=100_000, max_seconds=1.5, width=16, latent=2, patience=10_000)
    history = train(to_arrow(rows), vk.Contract.infer(rows), config, progress=False).history
    assert history[-1]["learning_rate"] < 0.1 * max(one["learning_rate"] for one in history)
    assert 10 < len(history) < 80
    assert history[-1]["weights"]["beta"] == pytest.approx(1.0)  # warm-up moves with the budget


def test_a_budget_of_time_is_shared_by_the_stages(rows):
    def two(config, steps):
        return [Stage("one", ELBO(), 50_000), Stage("two", ELBO(), 50_000)]

    config = Config().override(epochs=100_000, max_seconds=1.5, width=16, latent=2)
    history = train(to_arrow(rows), vk.Contract.infer(rows), config, progress=False, stages=two).history
    assert {one["stage"] for one in history} == {"one", "two"}
    assert max(one["step"] for one in history if one["stage"] == "two") > 3


def test_an_objective_whose_parameters_nobody_would_train_is_refused(rows):
    class Critic(ELBO):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

    config = Config().override(epochs=1, width=16, latent=2)
    with pytest.raises(ConfigError, match="trainable parameters"):
        train(
            to_arrow(rows),
            vk.Contract.infer(rows),
            config,
            progress=False,
            stages=lambda *_: [Stage("critic", Critic(), 1)],
        )


def test_the_anomaly_score_of_a_repeated_value_is_minus_the_log_of_a_probability(model, rows):
    """Half of the rain is exactly zero: -log P(0) is near log 2, and cannot be negative."""
    found = model.detect(rows, alpha=0.1, attribution=True).to_pandas()
    usual = model.engine.calibration["usual"][list(model.contract.names("model")).index("rain")]
    zero = (rows["rain"] == 0).to_numpy()
    nats = found["excess.rain"][zero] + usual
    assert nats.min() > -1e-6
    assert 0.2 < nats.mean() < 1.5


def test_an_imputation_does_not_depend_on_which_other_rows_have_holes(model, rows):
    holes = rows.iloc[:50].copy()
    holes.loc[::3, "y"] = np.nan
    more = pd.concat([holes, rows.iloc[50:60].assign(x=np.nan)])
    for options in ({}, {"draws": 2}):
        alone, together = (model.impute(t, **options).to_pandas() for t in (holes, more))
        first = alone if not options else alone[alone["draw"] == 0]
        again = together if not options else together[together["draw"] == 0]
        np.testing.assert_allclose(first["y"], again["y"].iloc[:50], rtol=1e-4, atol=1e-5)


def test_a_category_that_the_model_does_not_know_is_not_overwritten(model, rows):
    strange = rows.iloc[:4].assign(code=["a", "new", None, "b"])
    found = model.impute(strange)["code"].to_pylist()
    assert found[:2] == ["a", "new"]
    assert found[2] in ("a", "b", "c")


def test_a_field_called_latent_does_not_break_attribution_silently(rows):
    named = vk.fit(rows.rename(columns={"x": "latent"}), **QUICK)
    with pytest.raises(QueryError, match="named 'latent'"):
        named.score(rows.rename(columns={"x": "latent"}), attribution=True)
    assert named.score(rows.rename(columns={"x": "latent"})).num_rows == len(rows)


def test_names_with_dots_and_slashes_stay_apart():
    rng = np.random.default_rng(0)
    table = {"a.b": rng.normal(size=(60, 2)), "a/b": rng.normal(size=(60, 2)), "a": rng.normal(size=(60, 2))}
    model = vk.fit(table, **QUICK)
    shares = model.score(table, attribution=True)
    assert {"score.a.b", "score.a/b", "score.a"} <= set(shares.column_names)


def test_any_whole_number_is_a_seed(rows):
    assert vk.fit(rows, seed=-1, **QUICK).score(rows).num_rows == len(rows)


def test_a_few_rows_of_codes_that_look_like_numbers_are_still_codes(tmp_path):
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"code": rng.choice(["1", "2", "A"], 200), "x": rng.normal(size=200)})
    model = vk.fit(table, **QUICK)
    (tmp_path / "today.csv").write_text("code,x\n1,0.5\n2,0.1\n")
    today = pd.DataFrame({"code": ["1", "2"], "x": [0.5, 0.1]})
    assert model.score(tmp_path / "today.csv").equals(model.score(today))


def test_string_views_are_strings(rows):
    table = pa.Table.from_pandas(rows, preserve_index=False)
    views = table.set_column(3, "code", table["code"].cast(pa.string_view()))
    model = vk.fit(views, **QUICK)
    assert model.impute(views.slice(0, 5)).num_rows == 5


def test_conditional_draws_do_not_share_a_thousand_latent_points(model):
    found = model.sample(5000, given={"x": 0.3})
    assert len(set(found["y"].to_pylist())) > 4000
    assert np.mean(found["y"].to_numpy()) == pytest.approx(0.3, abs=0.5)
