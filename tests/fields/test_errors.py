"""Tables that break the contract: the error names row, field, what was expected and what came."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from vaekit.errors import ContractError
from vaekit.fields import Contract, to_arrow

N = 60
RNG = np.random.default_rng(0)
GOOD = pa.table(
    {
        "speed": RNG.normal(size=N),
        "whole": RNG.integers(0, 1000, N),
        "visits": RNG.poisson(1.0, N),
        "origin": RNG.choice(["EWR", "JFK", "LGA"], N),
        "level": pa.array(RNG.choice(list("abcdefgh"), N)).dictionary_encode(),
        "late": RNG.random(N) < 0.5,
        "flag": np.arange(N) % 2,
        "vector": pa.array(list(RNG.normal(size=(N, 3))), pa.list_(pa.float64())),
    }
)
CONTRACT = Contract.infer(GOOD)


def with_value(name, row, value, kind=None):
    """The good table with one value changed."""
    values = GOOD[name].to_pylist()
    values[row] = value
    return GOOD.set_column(GOOD.column_names.index(name), name, pa.array(values, kind))


def broken(table, *, partial=False):
    """The error of a broken table; validating and encoding raise the same one."""
    with pytest.raises(ContractError) as first:
        CONTRACT.encode(table, partial=partial)
    with pytest.raises(ContractError) as second:
        CONTRACT.validate(table, partial=partial)
    assert str(first.value) == str(second.value)
    return first.value


@pytest.mark.parametrize(
    ("name", "value", "kind", "expected", "got"),
    [
        ("speed", float("inf"), None, "a finite number (below 1e100), or null if it is not known", "inf"),
        ("speed", -1.7e308, None, "a finite number (below 1e100), or null if it is not known", "-1.7e+308"),
        ("visits", -1, None, "a whole number from 0 to 2**53", "-1.0"),
        ("visits", 1.5, pa.float64(), "a whole number from 0 to 2**53", "1.5"),
        ("visits", 1e99, pa.float64(), "a whole number from 0 to 2**53", "1e+99"),
        ("origin", "XYZ", None, "one of 'EWR', 'JFK', 'LGA'", "'XYZ'"),
        ("origin", "", None, "one of 'EWR', 'JFK', 'LGA'", "''"),
        ("level", "z", None, "one of 'a', 'b', 'c', 'd', 'e' and 3 more", "'z'"),
        ("flag", 2, None, "one of 0, 1", "2"),
        ("flag", 0.5, pa.float64(), "one of 0, 1", "0.5"),
        ("flag", float("inf"), pa.float64(), "one of 0, 1", "inf"),
        ("vector", [1.0, 2.0], None, "3 elements", "2"),
        ("vector", [], None, "3 elements", "0"),
        (
            "vector",
            [1.0, float("-inf"), 2.0],
            None,
            "finite numbers (below 1e100), or null where they are not known",
            "-inf in element 1",
        ),
    ],
)
def test_a_bad_value_is_named_with_its_row(name, value, kind, expected, got):
    error = broken(with_value(name, 41, value, kind))
    assert (error.field, error.row, error.expected, error.got) == (name, 41, expected, got)
    in_pieces = pa.concat_tables([with_value(name, 41, value, kind).slice(*cut) for cut in ((0, 13), (13, 20), (33,))])
    assert broken(in_pieces).row == 41


@pytest.mark.parametrize(
    ("name", "column", "expected"),
    [
        ("speed", ["1.0"] * N, "numbers (double)"),
        ("speed", [True] * N, "numbers (double)"),
        ("whole", [None, "x"] * (N // 2), "numbers (int64)"),
        ("visits", pa.array([1] * N, pa.duration("s")), "numbers (int64)"),
        ("visits", pd.date_range("2020", periods=N), "numbers (int64)"),
        ("origin", [1.5] * N, "strings (string)"),
        ("origin", [True] * N, "strings (string)"),
        ("level", [0.5] * N, "strings (dictionary<values=string, indices=int32, ordered=0>)"),
        ("late", ["true"] * N, "booleans (bool)"),
        ("late", [1] * N, "booleans (bool)"),
        ("flag", ["0"] * N, "numbers (int64)"),
        ("flag", [True] * N, "numbers (int64)"),
        ("vector", [1.0] * N, "lists of 3 numbers (list<item: double>)"),
        ("vector", [["a", "b", "c"]] * N, "lists of 3 numbers (list<item: double>)"),
    ],
)
def test_a_column_of_the_wrong_type_is_named(name, column, expected):
    table = GOOD.set_column(GOOD.column_names.index(name), name, to_arrow({name: column})[name])
    error = broken(table)
    assert (error.field, error.row, error.expected, error.got) == (name, None, expected, str(table[name].type))


@pytest.mark.parametrize("name", GOOD.column_names)
def test_a_missing_column_is_named_unless_it_may_be_missing(name):
    table = GOOD.drop_columns([name])
    error = broken(table)
    assert error.field == name
    assert "column is missing" in str(error)
    CONTRACT.validate(table, partial=True)
    CONTRACT.replace(name, role="ignore").encode(table)


@pytest.mark.parametrize("name", GOOD.column_names)
def test_columns_without_any_value_are_missing_in_every_row(name):
    for nothing in (pa.nulls(N), pa.nulls(N, GOOD[name].type)):
        blocks = CONTRACT.encode(GOOD.set_column(GOOD.column_names.index(name), name, nothing))
        spec = next(spec for spec in CONTRACT.blocks() if name in spec.fields)
        assert not blocks[spec.name].observed[:, spec.fields.index(name)].any()


def test_unknown_columns_are_passed_over():
    wider = GOOD.append_column("new", pa.array([object.__name__] * N))
    for name, block in CONTRACT.encode(wider).items():
        np.testing.assert_array_equal(block.values, CONTRACT.encode(GOOD)[name].values)


def test_the_first_bad_row_is_reported_across_the_fields_of_a_block():
    table = with_value("speed", 30, float("inf"))
    whole = pa.array([float("nan")] * 10 + [float("inf")] + [1.0] * (N - 11))
    error = broken(table.set_column(1, "whole", whole))
    assert (error.field, error.row) == ("whole", 10)


def test_unseen_categories_can_count_as_missing():
    contract = CONTRACT.replace("origin", unseen="missing")
    blocks = contract.encode(with_value("origin", 41, "XYZ"))
    block = blocks["category.categorical"]
    index = next(spec.fields.index("origin") for spec in contract.blocks() if "origin" in spec.fields)
    assert not block.observed[41, index]
    assert block.values[41, index] == 0
    assert block.observed[:, index].sum() == N - 1


def test_training_rows_are_held_to_the_contract_too():
    for name, value in (("speed", float("inf")), ("visits", -1), ("origin", "XYZ"), ("vector", [1.0])):
        with pytest.raises(ContractError) as caught:
            CONTRACT.fit(with_value(name, 5, value))
        assert (caught.value.field, caught.value.row) == (name, 5)
    with pytest.raises(ContractError, match=r"no value.*'speed'"):
        CONTRACT.fit(GOOD.set_column(0, "speed", pa.nulls(N)))
    with pytest.raises(ContractError, match="column is missing"):
        CONTRACT.fit(GOOD.drop_columns(["speed"]))
    with pytest.raises(ContractError, match="no rows"):
        CONTRACT.fit(GOOD.slice(0, 0))


def test_a_table_without_rows_or_without_anything_to_model_is_refused():
    with pytest.raises(ContractError, match="no rows"):
        Contract.infer(GOOD.slice(0, 0))
    single = Contract.infer(GOOD.slice(0, 1))
    assert single.names("model") == ("vector",)  # three different elements
    ignored = Contract.infer({"a": [1], "b": ["x"]})
    assert ignored.blocks() == ()
    with pytest.raises(ContractError, match=r"at least one model field.*a \(constant: every value is 1\)"):
        ignored.require_usable()
    assert CONTRACT.require_usable() is CONTRACT


def test_columns_of_one_name_are_renamed_alike_in_training_and_serving():
    values = [pa.array([1.5, 2.5, 4.0]), pa.array([3.0, 4.0, 5.5]), pa.array([0.5, 0.0, 1.0])]
    table = pa.Table.from_arrays(values, names=["a", "a", "a.1"])
    contract = Contract.infer(table)
    assert contract.names() == ("a", "a.2", "a.1")
    assert [name for name, note in contract.warnings] == ["a.2"]
    assert "a second column called 'a'" in contract["a.2"].note
    frame = pd.DataFrame(np.stack([column.to_numpy() for column in values], 1), columns=["a", "a", "a.1"])
    for data in (table, frame):
        block = contract.encode(data)["number.gaussian"]
        back = contract.decode({"number.gaussian": block.values})["a.2"]
        np.testing.assert_allclose(back, values[1], rtol=1e-6)


def test_a_contract_that_is_not_fitted_says_so():
    table = {"x": np.arange(100) % 7}
    for kind in ("number", "category"):
        contract = Contract.infer({"x": np.random.default_rng(0).poisson(2, 100)}).replace("x", kind=kind)
        with pytest.raises(ContractError, match=r"call Contract.fit.*'x'"):
            contract.encode(table)
        contract.fit(table).encode(table)
