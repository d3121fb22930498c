"""Splits respect time and entities, and leakage shows where they do not."""

from __future__ import annotations

import datetime

import numpy as np
import pyarrow as pa
import pytest

from vaekit.errors import TrainingError
from vaekit.fields import Contract
from vaekit.training.splits import split

ROWS = 600


@pytest.fixture
def visits() -> pa.Table:
    rng = np.random.default_rng(0)
    days = rng.permutation(np.repeat(np.arange(120), 5))
    when = [datetime.date(2020, 1, 1) + datetime.timedelta(int(day)) for day in days]
    who = rng.integers(0, 40, ROWS)
    return pa.table({"x": rng.normal(size=ROWS), "when": when, "who": [f"p{i}" for i in who]})


def test_time_splits_are_ordered_and_keep_an_instant_together(visits):
    contract = Contract.infer(visits).replace("when", role="time")
    parts = split(visits, contract, 0.1, 0.2, seed=0)
    when = np.array(visits["when"].to_pylist())
    assert parts.by == "time"
    assert when[parts.train].max() < when[parts.valid].min()
    assert when[parts.valid].max() < when[parts.calibration].min()
    assert sorted(np.concatenate([parts.train, parts.valid, parts.calibration])) == list(range(ROWS))
    assert len(parts.calibration) == pytest.approx(120, abs=5)
    assert len(parts.valid) == pytest.approx(60, abs=5)


def test_markers_are_no_instants_and_numbers_in_text_sort_as_numbers():
    rng = np.random.default_rng(0)
    years = pa.array([f"{year}-06-01" if year % 7 else "?" for year in range(1900, 2000)])
    price = [f"${cents / 100:.2f}" for cents in range(50, 10_050, 100)]
    table = pa.table({"x": rng.normal(size=100), "when": years, "price": price})
    inferred = Contract.infer(table)
    parts = split(table, inferred.replace("when", role="time"), 0.1, 0.2, seed=0)
    assert {row for row in range(100) if years[row].as_py() == "?"} <= set(parts.train.tolist())
    parts = split(table, inferred.replace("price", kind="number", text={"prefix": "$"}, role="time"), 0.1, 0.2, seed=0)
    assert parts.calibration.tolist() == list(range(80, 100))


def test_rows_without_an_instant_train(visits):
    holes = visits.set_column(1, "when", pa.array([None, *visits["when"].to_pylist()[1:]]))
    parts = split(holes, Contract.infer(holes).replace("when", role="time"), 0.1, 0.2, seed=0)
    assert 0 in parts.train
    assert sum(parts.sizes().values()) == ROWS


def test_entities_are_whole_in_one_part(visits):
    contract = Contract.infer(visits).replace("who", role="entity")
    parts = split(visits, contract, 0.15, 0.2, seed=0)
    who = np.array(visits["who"].to_pylist())
    groups = [set(who[part]) for part in (parts.train, parts.valid, parts.calibration)]
    assert parts.by == "entity"
    assert all(groups)
    assert not groups[0] & groups[1] | groups[0] & groups[2] | groups[1] & groups[2]
    assert set.union(*groups) == set(who)
    assert not np.array_equal(parts.valid, split(visits, contract, 0.15, 0.2, seed=1).valid)


def test_a_random_split_leaks_entities_and_the_entity_split_does_not(visits):
    """Under a random split, entities of test rows are met in training: what a test would wrongly reward."""
    who = np.array(visits["who"].to_pylist())
    contract = Contract.infer(visits)
    leaky = split(visits, contract, 0.15, 0.2, seed=0)
    kept = split(visits, contract.replace("who", role="entity"), 0.15, 0.2, seed=0)
    assert np.isin(who[leaky.calibration], who[leaky.train]).mean() > 0.9
    assert not np.isin(who[kept.calibration], who[kept.train]).any()


def test_with_both_roles_time_decides(visits):
    contract = Contract.infer(visits).replace("who", role="entity").replace("when", role="time")
    assert split(visits, contract, 0.1, 0.2, seed=0).by == "time"


def test_too_few_instants_or_entities_are_refused():
    table = pa.table({"x": np.arange(50.0), "t": [1] * 50, "who": ["a"] * 50})
    contract = Contract.infer(table)
    with pytest.raises(TrainingError, match="more instants than the 1"):
        split(table, contract.replace("t", role="time"), 0.1, 0.1, seed=0)
    with pytest.raises(TrainingError, match="entities than the 1"):
        split(table, contract.replace("who", role="entity"), 0.1, 0.1, seed=0)
