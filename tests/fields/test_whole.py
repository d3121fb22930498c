"""Whole numbers: identifiers, years, codes, ordered levels, counts and amounts are told apart."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from vaekit.fields import Contract

N = 600
RNG = np.random.default_rng(1)


def peaked(low, high):
    """Whole numbers with one peak in the middle."""
    return np.clip(np.rint(RNG.normal((low + high) / 2, (high - low) / 5, N)), low, high).astype(int)


CASES = {
    # name of the column: values, kind, role, likelihood
    "customerID": (RNG.permutation(10 * N)[:N], "number", "ignore", None),
    "user_id": (RNG.integers(0, 90, N), "number", "ignore", None),
    "store_id": (RNG.integers(1, 9, N), "category", "model", "categorical"),
    "": (np.arange(N), "number", "ignore", None),
    "index": (RNG.permutation(N), "number", "ignore", None),
    "price_index": (RNG.integers(80, 400, N), "number", "model", "gaussian"),
    "step": (np.arange(0, 10 * N, 10), "number", "ignore", None),
    "rank": (RNG.permutation(N) + 1, "number", "model", "gaussian"),
    "population": (RNG.permutation(1_000_000)[:N], "number", "model", "gaussian"),
    "year": (RNG.integers(1999, 2003, N), "number", "model", "gaussian"),
    "built": (RNG.integers(1880, 2020, N), "number", "model", "gaussian"),
    "year_sold": (RNG.integers(2001, 2003, N), "number", "model", "gaussian"),
    "zip": (RNG.choice([10001, 10002, 60601, 94105, 73301], N), "category", "model", "categorical"),
    "MARRIAGE": (RNG.choice([0, 1, 2, 3], N, p=[0.01, 0.45, 0.53, 0.01]), "category", "model", "categorical"),
    "Pclass": (RNG.choice([1, 2, 3], N, p=[0.24, 0.21, 0.55]), "category", "model", "categorical"),
    "SEX": (RNG.integers(1, 3, N), "category", "model", "bernoulli"),
    "rating": (RNG.integers(1, 6, N), "category", "model", "ordinal"),
    "q17": (peaked(1, 7), "number", "model", "gaussian"),
    "q18": (RNG.integers(1, 8, N), "category", "model", "categorical"),
    "month": (RNG.integers(1, 13, N), "category", "model", "categorical"),
    "hours": (peaked(0, 80), "number", "model", "gaussian"),
    "visits": (RNG.poisson(1.5, N), "count", "model", "poisson"),
    "speed": (RNG.choice([30, 50, 70, 100, 120], N), "number", "model", "gaussian"),
    "late": (RNG.integers(0, 2, N), "category", "model", "bernoulli"),
}


@pytest.mark.parametrize("form", ["integers", "floats with holes", "text", "decimals"])
@pytest.mark.parametrize("name", CASES)
def test_whole_numbers_are_taken_for_what_they_are(name, form):
    values, kind, role, likelihood = CASES[name]
    if form == "floats with holes" and name not in ("", "step", "rank"):
        column = pd.Series(values, dtype=float)
        column[::50] = None
    elif form == "text":
        column = pa.array([str(value) for value in values])
        kind = "category" if role == "ignore" else kind  # text that is left out is called what it would be
    elif form == "decimals":
        column = pa.array(values).cast(pa.decimal128(38, 0))
    else:
        column = values
    field = Contract.infer({name: column})[name]
    assert (field.kind, field.role) == (kind, role)
    if role == "ignore":
        assert field.note
    else:
        assert field.likelihood == likelihood


def test_levels_of_numbers_in_text_are_in_the_order_of_the_numbers():
    values = [str(value) for value in peaked(1, 10).tolist()]
    field = Contract.infer({"rating": values})["rating"]
    assert field.levels == tuple(str(value) for value in sorted({int(value) for value in values}))
    assert field.likelihood == "ordinal"


def test_large_categories_keep_their_common_levels():
    heavy = [f"v{i % 1000}" for i in range(20_000)]
    rare = [f"once {i}" for i in range(500)]
    table = pa.table({"x": [*heavy, *rare], "y": RNG.normal(size=20_500)})
    field = Contract.infer(table)["x"]
    assert (field.kind, field.role, field.unseen, len(field.levels)) == ("category", "model", "missing", 1000)
    assert "the 1000 common ones are modelled, rarer ones (2.4%) read as missing" in field.note
    np.testing.assert_allclose(field.missing, 500 / 20_500)
    contract = Contract.infer(table)
    block = contract.encode(table)["category.categorical"]
    assert block.observed[:, 0].sum() == 20_000
    assert contract.decode({"category.categorical": block.values}, ["x"])["x"].to_pylist()[:2000] == heavy[:2000]
    contract.encode({"x": ["never seen"], "y": [0.0]})  # is no error


def test_the_most_frequent_levels_are_kept_of_very_many():
    counts = np.arange(5, 3005)
    values = np.repeat(np.arange(3000), counts)
    field = Contract.infer({"zip": values})["zip"]
    assert field.levels == tuple(range(1000, 3000))
    np.testing.assert_allclose(field.missing, counts[:1000].sum() / counts.sum())


def test_a_value_that_training_never_saw_is_strange_but_no_error_where_values_are_amounts():
    """Anomalies of a table of marks from 1 to 10, of which ordinary rows hold the lower ones, stay in reach."""
    marks = np.minimum(1 + RNG.poisson(1.2, (N, 2)), 6)
    contract = Contract.infer({"cell size": marks[:, 0], "cell shape": marks[:, 1].astype(float)})
    assert {field.kind for field in contract.fields} <= {"number", "count"}
    contract.validate({"cell size": [10], "cell shape": [9.0]})
