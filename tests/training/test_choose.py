"""Likelihoods chosen by pilot fits: the right ones, the same ones again, only when asked, and never twice."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
import torch

import vaekit as vk
from vaekit.nn.build import ModelConfig
from vaekit.training import Config, train
from vaekit.training.choose import Choice, _Found, _Pilots, candidates, choose
from vaekit.training.config import TrainConfig
from vaekit.training.loop import Loop
from vaekit.training.step import Step

SMALL = {"width": 24, "depth": 1, "latent": 2, "batch_size": 32, "learning_rate": 5e-3, "threads": 1}
MODEL = ModelConfig(width=24, depth=1, latent=2)
TRAINING = TrainConfig(batch_size=32, epochs=300, learning_rate=1e-2)


def rows(count: int, seed: int) -> pa.Table:
    """A hidden cause behind a normal, a heavy-tailed, a three-moded number and two counts, one with two modes."""
    rng = np.random.default_rng(seed)
    h = rng.normal(size=count)
    return pa.table(
        {
            "normal": h + 0.15 * rng.normal(size=count),
            "heavy": h + rng.standard_t(1.2, size=count),
            "modes": np.array([-3.0, 0.0, 4.0])[rng.integers(0, 3, count)] + h + 0.15 * rng.normal(size=count),
            "visits": rng.poisson(np.exp(0.5 * h)),
            "shifts": np.where(rng.random(count) < 0.7, rng.poisson(1.0, count), 12 + rng.poisson(1.0, count)),
            "city": np.where(h + rng.normal(size=count) > 0, "a", "b"),
        }
    )


@pytest.fixture(scope="module")
def table() -> pa.Table:
    return rows(1200, 0)


@pytest.fixture(scope="module")
def contract(table) -> vk.Contract:
    return vk.Contract.infer(table).replace("visits", kind="count").replace("shifts", kind="count").fit(table)


def chosen(table, contract, training=TRAINING, **options):
    return choose(table, contract, MODEL, training, seed=0, device=torch.device("cpu"), **options)


def contract_of(table):
    contract = vk.Contract.infer(table)
    return (contract.replace("shifts", kind="count") if "shifts" in table.column_names else contract).fit(table)


def test_columns_get_the_likelihood_that_they_were_drawn_from(table):
    lines = []
    part = table.select(["normal", "heavy", "modes", "shifts"])
    torch.set_num_threads(1)
    choice = chosen(part, contract_of(part), say=lines.append)
    columns = choice.record["columns"]
    assert columns["modes"]["chosen"] == choice.contract["modes"].likelihood == "mixture"
    assert columns["shifts"]["default"] == "negative_binomial"
    assert columns["shifts"]["chosen"].startswith(choice.contract["shifts"].kind)
    assert choice.contract["shifts"].kind == "number"
    assert choice.contract["shifts"].lattice.delta == 1
    assert choice.record["gain"] > 0.5
    assert any("modes: mixture" in line for line in lines)
    for column in columns.values():
        nats = column["nats"]
        assert len(nats) == 3
        assert nats[column["chosen"]] <= nats[column["default"]]
    json.dumps(choice.record)


def test_the_same_seed_chooses_the_same(table):
    part, training = table.select(["normal", "heavy"]), TrainConfig(batch_size=64, epochs=150)
    one, again = (chosen(part, contract_of(part), training) for _ in range(2))
    assert again.contract == one.contract
    assert again.record | {"seconds": 0} == one.record | {"seconds": 0}
    other = choose(part, contract_of(part), MODEL, training, seed=1, device=torch.device("cpu"))
    assert other.record["columns"] != one.record["columns"]


def test_only_what_nobody_has_set_up_is_a_candidate(contract):
    asked = candidates(
        contract.replace("modes", options={"scale": "optimal"})
        .replace("heavy", likelihood="student_t")
        .replace("shifts", role="condition")
    )
    assert asked["mixture"].keys() == {"normal", "visits"}
    assert asked["student_t"]["visits"] == {"kind": "number"}


@pytest.mark.parametrize(
    ("count", "changes"),
    [(490, {}), (1200, {"epochs": 60}), (1200, {"max_seconds": 20.0})],
    ids=["few rows", "few steps", "little time"],
)
def test_too_little_to_choose_by(table, contract, monkeypatch, count, changes):
    monkeypatch.setattr(_Pilots, "run", lambda *args: pytest.fail("a pilot was started"))
    training = TrainConfig(**({"batch_size": 32, "epochs": 130} | changes))
    assert chosen(table.slice(0, count), contract, training) is None
    text = pa.table({"city": table["city"]})
    assert chosen(text, vk.Contract.infer(text)) is None


def test_a_gain_within_its_error_or_a_row_that_is_no_better_keeps_the_default(table, contract, monkeypatch):
    rng = np.random.default_rng(0)
    base, noise = rng.normal(size=(2, 200))
    gains = {"normal": 0.1, "heavy": 0.2, "modes": 0.005, "visits": -1.0, "shifts": 0.0}
    wide = {"normal": 10.0, "heavy": 0.1, "modes": 0.0, "visits": 0.1, "shifts": 0.1}
    noise -= noise.mean()
    row = {"gain": 1.0}

    def run(self, changes, conditional=True):
        # the candidates of a column differ from its default by a gain, and by noise of mean zero
        better = {name: base - (gains[name] + wide[name] * noise if name in changes else 0.0) for name in gains}
        return _Found(better, base + (row["gain"] if changes and not conditional else 0.0))

    monkeypatch.setattr(_Pilots, "run", run)
    one = chosen(table, contract)
    assert {name: c["chosen"] for name, c in one.record["columns"].items() if c["chosen"] != c["default"]} == {
        "heavy": "student_t"
    }
    row["gain"] = -0.1
    other = chosen(table, contract)
    assert other.contract == contract
    assert all(c["chosen"] == c["default"] for c in other.record["columns"].values())


@pytest.fixture
def quick(monkeypatch):
    """A stand-in for the pilots, and how often it was asked."""
    calls = []

    def stand_in(table, contract, model, training, **options):
        calls.append(training.choose)
        return Choice(contract.replace("modes", likelihood="mixture"), {"columns": {}, "seconds": 1.5})

    monkeypatch.setattr("vaekit.training.fit.choose", stand_in)
    return calls


def test_a_fit_chooses_if_it_inferred_the_contract_or_is_asked_to(table, contract, quick):
    def fit(*args, **options):
        return vk.fit(table, *args, epochs=1, progress=False, **SMALL, **options).contract["modes"].likelihood

    assert fit() == "mixture"
    assert fit(choose=False) == fit(contract) == "gaussian"
    assert quick == [None]
    assert fit(contract, choose=True) == "mixture"


class Killed(Exception):
    pass


def test_a_resumed_run_keeps_what_it_chose(table, quick, tmp_path, monkeypatch):
    config, inferred = Config().override(epochs=3, **SMALL), vk.Contract.infer(table)

    def fit(**options):
        return train(table, inferred, config, progress=False, inferred=True, **options)

    whole = fit()
    original, calls = Step.__call__, []

    def dying(self, *args):
        calls.append(1)
        if len(calls) == 50:
            raise Killed
        return original(self, *args)

    monkeypatch.setattr(Step, "__call__", dying)
    with pytest.raises(Killed):
        fit(out=tmp_path)
    monkeypatch.setattr(Step, "__call__", original)
    monkeypatch.setattr("vaekit.training.fit.choose", lambda *args, **options: pytest.fail("it chose again"))
    resumed = fit(out=tmp_path, resume=True)
    assert resumed.contract["modes"].likelihood == "mixture"
    assert resumed.contract.hash == whole.contract.hash
    assert json.loads((tmp_path / "run.json").read_text())["choice"] == {"columns": {}, "seconds": 1.5}
    before = whole.vae.state_dict()
    assert all(torch.equal(value, before[name]) for name, value in resumed.vae.state_dict().items())


def test_time_spent_on_choosing_is_not_spent_twice(table, quick, monkeypatch):
    seen = []
    original = Loop.run

    def spy(self, *args, **options):
        seen.append(self.config.max_seconds)
        return original(self, *args, **options)

    monkeypatch.setattr(Loop, "run", spy)
    vk.fit(table, epochs=1, max_seconds=30.0, progress=False, **SMALL)
    assert seen == [28.5]


def test_counts_in_text_and_columns_without_a_value_in_the_pilots_do_not_stop_a_fit():
    rng = np.random.default_rng(0)
    sparse = np.full(900, np.nan)
    sparse[:6] = rng.normal(size=6)
    rows = pa.table(
        {
            "calls": [f"${k}" for k in rng.poisson(3, 900)],
            "x": rng.normal(size=900),
            "sparse": pa.array(sparse, from_pandas=True),
        }
    )
    contract = vk.Contract.infer(rows)
    assert contract["calls"].kind == "count"
    assert contract["sparse"].role == "model"
    late = rows.slice(6)
    config = TrainConfig(epochs=400).sized(late.num_rows)
    found = choose(late, contract, ModelConfig(width=8, depth=1, latent=2), config, seed=0, device=torch.device("cpu"))
    assert set(found.record["columns"]) == {"calls", "x"}
