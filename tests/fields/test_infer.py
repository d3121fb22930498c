"""What columns are taken for, and that no column, however odd, makes inference fail."""

import datetime
import decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from vaekit.fields import Contract, to_arrow
from vaekit.fields.count import count_likelihood, looks_like_count
from vaekit.fields.profile import Profile

N = 600
RNG = np.random.default_rng(0)
DAY = datetime.date(2020, 1, 1)
ODD = {
    "timestamp": (pa.array([datetime.datetime(2020, 1, 1)] * N), "datetime"),
    "date": (pa.array([DAY] * N), "datetime"),
    "interval": (pa.array([(1, 2, 3)] * N, pa.month_day_nano_interval()), "calendar intervals"),
    "decimal": (pa.array([decimal.Decimal("1.20")] * N), "constant: every value is 1.2"),
    "decimals in a list": (pa.array([[decimal.Decimal("1.20")]] * N), "nested"),
    "Python objects": (to_arrow({"x": [object()] * N})["x"], "Python values of type object"),
    "complex": (to_arrow({"x": np.arange(N) * 1j})["x"], "Python values of type complex"),
    "nearly null": (pa.array([1.0, 2.0, 4.0] + [None] * (N - 3)), "holds 3 values in 600 rows"),
    "binary": (pa.array([b"a"] * N), "binary"),
    "fixed binary": (pa.array([b"ab"] * N, pa.binary(2)), "binary"),
    "struct": (pa.array([{"a": 1}] * N), "nested"),
    "map": (pa.array([[("a", 1)]] * N, pa.map_(pa.string(), pa.int64())), "nested"),
    "lists of lists": (pa.array([[[1.0]]] * N), "nested"),
    "lists of strings": (pa.array([["a"]] * N), "nested"),
    "union": (pa.UnionArray.from_sparse(pa.array([0] * N, pa.int8()), [pa.array([1] * N)]), "nested"),
    "extension": (pa.array([b"0123456789abcdef"] * N, pa.uuid()), "identifier"),
    "null type": (pa.nulls(N), "no values"),
    "all null": (pa.nulls(N, pa.float64()), "no values"),
    "all null strings": (pa.nulls(N, pa.string()), "no values"),
    "null in a dictionary": (
        pa.DictionaryArray.from_arrays(pa.array([0] * N), pa.array([None], pa.string())),
        "no values",
    ),
    "all NaN": (pa.array([np.nan] * N), "no finite values"),
    "all infinite": (pa.array([np.inf, -np.inf] * (N // 2)), "no finite values"),
    "beyond range": (pa.array([1e308, -1e308] * (N // 2)), "no finite values"),
    "constant": (pa.array([3] * N), "constant: every value is 3"),
    "constant but for nulls": (pa.array([2.5, None] * (N // 2)), "constant: every value is 2.5"),
    "constant string": (pa.array(["x"] * N), "constant: every value is 'x'"),
    "constant bool": (pa.array([True] * N), "constant: every value is True"),
    "constant vector": (pa.array([[1.0, 1.0]] * N), "constant"),
    "ragged": (pa.array([[1], [1, 2]] * (N // 2)), "different lengths"),
    "empty lists": (pa.array([[]] * N, pa.list_(pa.float64())), "different lengths"),
    "vectors of NaN": (pa.array([[np.nan, np.nan]] * N), "no finite values"),
    "huge integers": (pa.array(2**60 + np.arange(N)), "beyond 2**53"),
    "huge unsigned": (pa.array([2**64 - 1 - i for i in range(N)], pa.uint64()), "beyond 2**53"),
    "names": (pa.array([f"user {i}" for i in range(N)]), "looks like an identifier"),
    "many levels": (pa.array([f"v{i % 300}" for i in range(N)]), "300 distinct values in 600 rows, most of them rare"),
    "row numbers": (pa.array(range(7, 7 + N)), "check: a row number"),
    "part of row numbers": (pa.array(RNG.permutation(2 * N)[:N]), "check: an identifier?"),
    "unique numbers in text": (pa.array([str(i) for i in RNG.permutation(3 * N)[:N]]), "check: an identifier?"),
    "ambiguous numbers": (pa.array([f"{i},{i % 7}25" for i in range(1, N + 1)]).slice(0, 500), "is '1,125' 1125 or"),
}


@pytest.mark.parametrize("name", ODD)
def test_what_cannot_be_modelled_is_left_out_with_a_reason(name):
    column, reason = ODD[name]
    contract = Contract.infer(pa.table({"good": RNG.normal(size=len(column)), "x": column}))
    field = contract["x"]
    assert field.role == "ignore"
    assert reason in field.note
    assert contract.warnings == (("x", field.note),)
    assert field.note.removeprefix("check: ") in str(contract)
    assert contract.names("model") == ("good",)
    assert Contract.from_json(contract.to_json()) == contract
    contract.encode(pa.table({"good": [1.0]}))


@pytest.mark.parametrize(
    ("values", "kind", "likelihood"),
    [
        (RNG.normal(size=N), "number", "gaussian"),
        (RNG.integers(0, 10, N), "category", "categorical"),  # flat: no count, and no sign of an order
        (RNG.integers(0, 50, N), "number", "gaussian"),
        (RNG.binomial(6, 0.5, N), "number", "gaussian"),  # one peak: amounts
        (RNG.integers(0, 10, N).astype(float), "number", "gaussian"),  # floats without holes: amounts
        (RNG.choice([10, 20, 50], N), "number", "gaussian"),  # distances say that these are amounts
        (RNG.integers(-3, 10, N), "number", "gaussian"),
        (RNG.poisson(20.0, N) + 1, "number", "gaussian"),  # never zero
        (RNG.poisson(2.0, N) * 1000, "number", "gaussian"),  # large
        (np.where(RNG.random(N) < 0.5, 0, RNG.integers(100, 800, N)), "number", "gaussian"),  # no family fits
        (RNG.poisson(2.0, N), "count", "poisson"),
        (RNG.poisson(2.0, N).astype(float), "count", "poisson"),
        (RNG.negative_binomial(1, 0.2, N), "count", "negative_binomial"),
        (np.where(RNG.random(N) < 0.15, 0, RNG.poisson(2.5, N)), "count", "zero_inflated"),
        (RNG.integers(0, 2, N), "category", "bernoulli"),
        (RNG.integers(0, 2, N).astype(float), "category", "bernoulli"),
        (RNG.choice([20.0, 80.0], N), "category", "bernoulli"),
        (RNG.random(N) < 0.5, "category", "bernoulli"),
        (RNG.choice(["a", "b"], N), "category", "bernoulli"),
        (RNG.choice(["a", "b", "c"], N), "category", "categorical"),
        (pd.Categorical(RNG.choice([3, 1, 2], N)), "category", "categorical"),
        (pd.Categorical(RNG.choice(["lo", "hi", "mid"], N), ["lo", "mid", "hi"], ordered=True), "category", "ordinal"),
        (RNG.normal(size=(N, 3)), "vector", "gaussian"),
        (RNG.integers(0, 2, (N, 3)), "vector", "bernoulli"),
    ],
)
def test_kinds_and_likelihoods(values, kind, likelihood):
    field = Contract.infer({"x": values})["x"]
    assert (field.role, field.kind) == ("model", kind)
    assert field.likelihood.startswith(likelihood)


def test_infinite_values_are_left_out_of_the_fit_and_pointed_out():
    values = RNG.normal(size=N)
    with_infinite = np.concatenate([values, [np.inf, -np.inf]])
    contract = Contract.infer({"x": with_infinite, "v": np.stack([with_infinite, with_infinite], 1)})
    assert contract["x"].map == Contract.infer({"x": values})["x"].map
    assert [name for name, note in contract.warnings if "infinite" in note] == ["x", "v"]
    assert contract.names("model") == ("x", "v")


def test_row_numbers_are_left_out_and_can_be_kept():
    table = {"id": np.arange(1, 201), "x": RNG.normal(size=200)}
    contract = Contract.infer(table)
    assert contract["id"].role == "ignore"
    assert contract.warnings == (("id", contract["id"].note),)
    kept = contract.replace("id", role="model").fit(table)
    assert (kept["id"].kind, kept["id"].note, kept["id"].bounds) == ("number", "", (1.0, 200.0))


def test_small_tables_are_not_mistaken_for_identifiers():
    contract = Contract.infer({"name": ["a", "b", "c"], "x": [1.0, 2.0, 4.0]})
    assert contract.names("model") == ("name", "x")


def test_too_many_levels_can_be_forced():
    table = {"x": [f"v{i % 300}" for i in range(N)], "y": RNG.normal(size=N)}  # two rows each
    contract = Contract.infer(table)
    assert contract["x"].levels == ()  # values of a column that is left out are not kept
    forced = contract.replace("x", role="model").fit(table)
    assert len(forced["x"].levels) == 300
    assert forced["x"].note == ""
    blocks = forced.encode(table)
    assert blocks["category.categorical"].values.max() == 299


def test_order_of_rows_does_not_matter(mixed):
    shuffled = mixed.take(pa.array(np.random.default_rng(1).permutation(mixed.num_rows)))
    one, two = Contract.infer(mixed), Contract.infer(shuffled)
    for name in one.names():
        if one[name].kind != "vector":  # sums of floats depend on the order in the last digit
            assert one[name] == two[name]


@pytest.mark.parametrize("rate", [0.2, 1.0, 4.0])
def test_moments_choose_the_count_likelihood(rate):
    rng = np.random.default_rng(5)
    draws = {
        "poisson": rng.poisson(rate, 4000),
        "negative_binomial": rng.negative_binomial(1, 1 / (1 + 3 * rate), 4000),
        "zero_inflated_": np.where(rng.random(4000) < 0.4, 0, 1 + rng.poisson(rate + 4, 4000)),
    }
    for name, values in draws.items():
        profile = Profile.of_values(values.astype(float))
        assert count_likelihood(profile).startswith(name)
        assert looks_like_count(profile) or name == "zero_inflated_"


@pytest.mark.parametrize(
    "values",
    [
        [f"{v:.17f}" for v in np.random.default_rng(0).random(60)],
        ["١٢٣", "٤٥", "٦", "٧٨"] * 15,
        pa.DictionaryArray.from_arrays(pa.array([0, 1, 2] * 20), pa.array([0.0, -0.0, 3.5])),
        pa.DictionaryArray.from_arrays(pa.array([0, 1] * 30), pa.array([0, 2**63], pa.uint64())),
    ],
    ids=["many decimals", "other digits", "two zeros", "beyond 2**63"],
)
def test_odd_numbers_have_a_field_that_reads_them(values):
    table = to_arrow({"x": values, "y": np.arange(60) % 7})
    contract = Contract.infer(table)
    contract.validate(table)
    assert contract.fit(table)["x"].kind in ("number", "category")
