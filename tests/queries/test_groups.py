"""Figures by group: what the plain figures are on the rows of the group, and warnings that are right."""

import numpy as np
import pyarrow as pa
import pytest

from tests.support import bivariate
from vaekit.errors import ConfigError, ContractError
from vaekit.queries import groups
from vaekit.queries.evaluate import evaluate
from vaekit.queries.groups import by_group


@pytest.fixture(scope="module")
def engine(zoo):
    return zoo["pair"].torch.engine


@pytest.fixture(scope="module")
def home():
    return bivariate(600, seed=102)


def named(table, values, name="shop"):
    return table.append_column(name, pa.array(values))


def test_a_group_called_missing_is_not_that_of_rows_without_a_group(engine, home):
    shop = np.array(["missing", None, "north"], object)[np.arange(90) % 3]
    found = by_group(engine, named(bivariate(90, seed=16), shop.tolist()), home, ["shop"])["shop"]["groups"]
    assert {label: figures["rows"] for label, figures in found.items()} == {
        "missing": 30,
        "north": 30,
        "missing (no value)": 30,
    }


def test_warnings_are_of_a_level_that_all_comparisons_share(engine, home, monkeypatch):
    """Bonferroni: 0.01 over the groups of all columns, and in each the bound, the gain and every field."""
    seen = []
    monkeypatch.setattr(groups, "_warnings", lambda told, nats, inside, level: seen.append((told, level)) or [])
    rows = named(bivariate(120, seed=17), ["x", "y", "z", None] * 30)
    by_group(engine, named(rows, ["u", "v"] * 60, "coin"), home, ["shop", "coin"])
    assert [told for told, _ in seen] == ["shop=x", "shop=y", "shop=z", "shop=missing", "coin=u", "coin=v"]
    assert {level for _, level in seen} == {0.01 / (6 * 4)}  # the bound, the gain, a and b


def test_figures_are_those_of_the_rows_of_the_group(engine, home):
    rows = bivariate(800, seed=11)
    shop = np.where(np.arange(800) % 4 == 0, "north", "south")
    found = by_group(engine, named(rows, shop), home, ["shop"])["shop"]["groups"]
    assert list(found) == ["north", "south"]
    for label, figures in found.items():
        alone = evaluate(engine, rows.filter(pa.array(shop == label)), home)
        assert figures["rows"] == alone["rows"]
        assert figures["nats"]["mean"] == pytest.approx(-alone["iwae_64"], abs=0.05)
        assert figures["gain"]["mean"] == pytest.approx(alone["marginal_gain"]["nats"], abs=0.05)
        assert figures["gain"]["se"] == pytest.approx(alone["marginal_gain"]["se"], rel=0.1)
        assert figures["fields"]["a"]["rmse"] == pytest.approx(alone["fields"]["a"]["rmse"])
        assert figures["fields"]["a"]["nats"] == pytest.approx(alone["fields"]["a"]["nats"]["mean"], abs=0.05)
    assert found["north"]["share"] == 0.25


def test_a_group_that_is_served_worse_is_named_and_others_are_not(engine, home):
    rows, rng = bivariate(600, seed=12), np.random.default_rng(0)
    worse = rng.random(600) < 0.2
    b = np.where(worse, rng.permutation(np.asarray(rows["b"])), np.asarray(rows["b"]))  # depends on nothing there
    table = named(pa.table({"a": rows["a"], "b": b}), np.where(worse, "odd", "usual"))
    table = named(table, rng.integers(0, 3, 600), "coin")
    found = by_group(engine, table, home, ["shop", "coin"])
    assert any(line.startswith("shop=odd: a row costs") for line in found["shop"]["warnings"])
    assert any(line.startswith("shop=odd: the model saves") for line in found["shop"]["warnings"])
    assert not any("usual" in line for line in found["shop"]["warnings"])
    assert found["coin"]["warnings"] == []
    assert list(found["coin"]["groups"]) == ["0", "1", "2"]


def test_alarms_are_rare_where_groups_are_alike(engine, home):
    rows, rng = bivariate(400, seed=13), np.random.default_rng(1)
    for trial in range(12):
        rows = named(rows, rng.integers(0, 4, 400).astype(str), f"g{trial}")
    found = by_group(engine, rows, home, [f"g{trial}" for trial in range(12)])
    assert sum(len(one["warnings"]) for one in found.values()) == 0


def test_a_field_of_numbers_is_cut_into_quarters_and_drawn_rows_fall_into_them(engine, home):
    found = by_group(engine, bivariate(800, seed=14), home, ["a"])["a"]["groups"]
    assert len(found) == 4
    assert next(iter(found)).startswith("below -0.")
    for figures in found.values():
        assert figures["share"] == pytest.approx(0.25, abs=0.01)
        assert figures["share_drawn"] == pytest.approx(0.25, abs=0.06)
        assert figures["samples"]["precision"] > 0.8


def test_a_condition_draws_rows_given_the_group(zoo):
    kept = zoo["mixture"]
    condition = "g"
    found = by_group(kept.torch.engine, kept.table, kept.table, [condition])[condition]["groups"]
    large = [figures for figures in found.values() if figures["rows"] >= 50]
    assert large
    assert all("samples" in figures and "share_drawn" not in figures for figures in large)


def test_columns_that_make_no_groups_are_refused(engine, home):
    rows = bivariate(100, seed=15)
    with pytest.raises(ContractError, match="no such column"):
        by_group(engine, rows, home, ["shop"])
    with pytest.raises(ConfigError, match="100 values"):
        by_group(engine, named(rows, [f"id{i}" for i in range(100)]), home, ["shop"])
