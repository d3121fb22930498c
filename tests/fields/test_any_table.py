"""Whatever table comes: a contract is inferred, what it models comes back, and what breaks it is named."""

import datetime
import decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vaekit.errors import ContractError
from vaekit.fields import Contract
from vaekit.fields.arrow_types import is_list, is_numeric, value_type
from vaekit.fields.show import fixes

INTEGERS = {
    kind: st.integers(int(np.iinfo(kind.to_pandas_dtype()).min), int(np.iinfo(kind.to_pandas_dtype()).max))
    | st.integers(0, 5)
    for kind in (pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64())
}
FLOATS = {
    pa.float64(): st.floats() | st.sampled_from([0.0, 1.0, 2.5, -999.0, 1e300, -5e-324]) | st.integers(0, 9).map(float),
    pa.float32(): st.floats(width=32) | st.integers(0, 9).map(float),
    pa.float16(): st.floats(width=16) | st.integers(0, 9).map(float),
}
TEXTS = st.text(max_size=6) | st.sampled_from(["a", "b", "?", "", "NA", "yes", "no", "1", "12.5", "$3", "1,234", "007"])
TIMES = {
    pa.duration("ns"): st.integers(-(2**62), 2**62) | st.integers(0, 9),
    pa.duration("s"): st.integers(-(2**40), 2**40),
    pa.time32("s"): st.integers(0, 86_399),
    pa.time64("us"): st.integers(0, 86_399_999_999),
}
DECIMALS = {
    kind: st.decimals(
        -(10 ** (kind.precision - kind.scale)) + 1, 10 ** (kind.precision - kind.scale) - 1, places=kind.scale
    )
    | st.sampled_from([decimal.Decimal(0), decimal.Decimal(1)])
    for kind in (pa.decimal32(5, 2), pa.decimal128(9, 2), pa.decimal128(38, 0), pa.decimal256(60, 10))
}
DATES = st.dates(datetime.date(1600, 1, 1), datetime.date(2200, 1, 1))
OTHERS = {
    pa.date32(): DATES,
    pa.timestamp("us", "UTC"): st.datetimes(datetime.datetime(1700, 1, 1), datetime.datetime(2200, 1, 1)),
    pa.binary(): st.binary(max_size=4),
    pa.null(): st.none(),
    pa.struct([("a", pa.int64())]): st.fixed_dictionaries({"a": st.integers(0, 9)}),
    pa.map_(pa.string(), pa.int64()): st.just([("k", 1)]),
    pa.list_(pa.string()): st.lists(st.text(max_size=2), max_size=2),
    pa.list_(pa.list_(pa.float64())): st.just([[1.0]]),
}
PLAIN = {
    **INTEGERS,
    **FLOATS,
    **DECIMALS,
    **TIMES,
    pa.bool_(): st.booleans(),
    pa.string(): TEXTS,
    pa.large_string(): TEXTS,
}
LISTS = {
    pa.list_(pa.float64()): st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=2),
    pa.list_(pa.float32(), 3): st.lists(st.floats(-10, 10, width=32), min_size=3, max_size=3),
    pa.large_list(pa.int16()): st.lists(st.integers(-9, 9), max_size=2),
    pa.list_(pa.bool_(), 2): st.lists(st.booleans(), min_size=2, max_size=2),
}
KINDS = {**PLAIN, **OTHERS, **LISTS}
NAMES = st.text(max_size=12) | st.sampled_from(
    ["", " ", "a.b", "id", "year", "=", "Größe", "x" * 300, "'", "a\nb", "a"]
)


@st.composite
def columns(draw, rows):
    kind = draw(st.sampled_from(list(KINDS)))
    few = draw(st.booleans())
    pool = draw(st.lists(KINDS[kind], min_size=1, max_size=3 if few else 12))
    picks = draw(st.lists(st.integers(-1, len(pool) - 1), min_size=rows, max_size=rows))
    values = [None if pick < 0 else pool[pick] for pick in picks]
    if kind in TIMES:
        array = pa.array(values, pa.int32() if pa.types.is_time32(kind) else pa.int64()).cast(kind)
    else:
        array = pa.array(values, kind)
    if kind in PLAIN and kind != pa.decimal32(5, 2) and draw(st.integers(0, 4)) == 0:  # Arrow has no such dictionaries
        return array.dictionary_encode()
    return array


@st.composite
def tables(draw, least=0):
    rows = draw(st.sampled_from([1, 2, 3, 12, 40]) if least else st.sampled_from([0, 1, 2, 3, 12, 40]))
    names = draw(st.lists(NAMES, min_size=1, max_size=4))
    return pa.Table.from_arrays([draw(columns(rows)) for _ in names], names=names)


@settings(derandomize=True, deadline=None, max_examples=250, suppress_health_check=list(HealthCheck))
@given(tables())
def test_every_table_has_a_contract(table):
    if table.num_rows == 0:
        with pytest.raises(ContractError, match="no rows"):
            Contract.infer(table)
        return
    contract = Contract.infer(table)
    assert len(contract.fields) == table.num_columns
    for field in contract.fields:
        assert field.role == "model" or field.note
    str(contract)
    for fix in fixes(contract.fields):
        contract.replace(fix.name, **fix.changes)
    assert Contract.from_json(contract.to_json()).hash == contract.hash
    finite = without_infinite(table.rename_columns(list(contract.names())))
    back = came_back(contract, finite)
    for name in back.column_names:
        same_values(contract[name], finite[name], back[name])
    contract.validate(back, partial=True)


def without_infinite(table):
    """The table with infinite values, which are refused, made missing."""
    import pyarrow.compute as pc

    for index, column in enumerate(table.columns):
        if pa.types.is_floating(value_type(column.type)):
            plain = column.cast(value_type(column.type))
            far = pc.greater_equal(pc.abs(plain.cast(pa.float64())), 1e100)
            plain = pc.if_else(far, pa.scalar(None, plain.type), plain)
            plain = plain.dictionary_encode() if pa.types.is_dictionary(column.type) else plain
            table = table.set_column(index, table.field(index).with_type(plain.type), plain)
    return table


def came_back(contract, table):
    """The table after encoding and decoding."""
    values = {
        name: np.where(block.observed, block.values.astype(np.float64), np.nan)
        for name, block in contract.encode(table).items()
    }
    return contract.decode(values)


def same_values(field, before, after):
    """The column came back: its type, what was missing, and each value up to what its measure resolves."""
    assert after.type == before.type
    before = field.clean(before)
    if is_list(before.type):
        return  # element by element elsewhere
    if field.kind == "category":
        known = [value if value == value else None for value in before.to_pylist()]
        assert after.to_pylist() == known or [None if v is None else float(v) for v in known] == [
            None if v is None else float(v) for v in after.to_pylist()
        ]
        return
    if field.kind == "datetime":
        x, y = field.read(before), field.read(after)
        np.testing.assert_array_equal(np.isnan(x), np.isnan(y))
        np.testing.assert_allclose(
            y, x, rtol=0, atol=max(1e-5 * np.ptp(x[~np.isnan(x)]), 1e-6) if np.isfinite(x).any() else 0
        )
        return
    if field.text is None and not is_numeric(value_type(before.type)):
        raise AssertionError(f"a {field.kind} of {before.type}")
    x, y = field.read(before), field.read(after)
    huge = np.abs(x) >= 1e100
    assert (np.isnan(x) | huge).tolist() == np.isnan(y).tolist()
    x, y = x[~np.isnan(y)], y[~np.isnan(y)]
    reach = np.ptp(x) if len(x) else 0.0
    np.testing.assert_allclose(y, x, rtol=1e-5, atol=1e-90 + 1e-5 * max(reach, 10 * getattr(field, "spread", 1.0)))


GOOD = {
    "number": (np.linspace(0.13, 9.7, 60), lambda v: float("inf"), "infinite"),
    "count": (np.random.default_rng(0).poisson(2.0, 60), lambda v: -1, "count"),
    "category": (np.array(["x", "y", "z"] * 20), lambda v: "w", "known category"),
    "bool": (np.array(["1", "0"] * 30), lambda v: "2", "known category"),
    "money": (np.array([f"${i * 37.11:,.2f}" for i in range(60)]), lambda v: "free", "not a number"),
}


@settings(derandomize=True, deadline=None, max_examples=40)
@given(st.sampled_from(list(GOOD)), st.integers(0, 59))
def test_a_bad_value_is_named_with_its_row_and_field(name, row):
    rows = {key: values.tolist() for key, (values, _, _) in GOOD.items()}
    contract = Contract.infer(rows)
    assert set(contract.names("model")) == set(GOOD)
    _, spoil, message = GOOD[name]
    rows[name][row] = spoil(rows[name][row])
    with pytest.raises(ContractError, match=message) as caught:
        contract.validate(rows)
    assert (caught.value.field, caught.value.row) == (name, row)
