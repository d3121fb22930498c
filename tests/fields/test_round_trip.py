"""Encoding and decoding: every type comes back as itself, missing cells are zero, rows are independent."""

import numpy as np
import pyarrow as pa
import pytest

from vaekit.errors import ContractError
from vaekit.fields import Contract
from vaekit.fields.arrow_types import parse_type
from vaekit.fields.families import FAMILIES

N = 120
INTEGERS = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64()]
FLOATS = [pa.float16(), pa.float32(), pa.float64()]
STRINGS = [pa.string(), pa.large_string(), pa.string_view()]


def decoded(contract, table):
    """The table after encoding and decoding, with nulls where nothing was observed."""
    blocks = contract.encode(table)
    values = {name: np.where(b.observed, b.values.astype(np.float64), np.nan) for name, b in blocks.items()}
    return contract.decode(values)


def column(kind, rng):
    """A column of a type with nulls in it, on values that float32 holds exactly enough."""
    mask = rng.random(N) < 0.2
    if pa.types.is_integer(kind):
        return pa.array(rng.integers(0, 100, N), mask=mask).cast(kind)
    if pa.types.is_floating(kind):
        return pa.array(rng.integers(-50, 50, N) / 4, mask=mask).cast(kind)
    if pa.types.is_decimal(kind):
        return pa.array(rng.integers(-50, 50, N) / 2.0, mask=mask).cast(kind)
    if pa.types.is_duration(kind) or pa.types.is_time(kind):
        whole = pa.int32() if pa.types.is_time32(kind) else pa.int64()
        return pa.array(rng.integers(0, 80_000, N), mask=mask).cast(whole).cast(kind)
    if pa.types.is_boolean(kind):
        return pa.array(rng.random(N) < 0.4, mask=mask)
    if pa.types.is_dictionary(kind):
        levels = pa.array(["low", "mid", "high"] if kind.value_type in STRINGS else [3.0, 1.0, 2.0])
        levels = levels.cast(kind.value_type)
        indices = pa.array(rng.integers(0, 3, N), type=kind.index_type, mask=mask)
        return pa.DictionaryArray.from_arrays(indices, levels, ordered=kind.ordered)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        flat = column(kind.value_type, rng).to_pylist()
        return pa.array([flat[i : i + 3] for i in range(0, N, 3)] * 3, type=kind)
    return pa.array(rng.choice(["a", "bb", "c c", "ß"], N), mask=mask).cast(kind)


TYPES = [
    *INTEGERS,
    *FLOATS,
    *STRINGS,
    pa.bool_(),
    *(pa.decimal32(5, 2), pa.decimal64(9, 1), pa.decimal128(9, 2), pa.decimal256(40, 3), pa.decimal128(12, 0)),
    *(pa.duration(unit) for unit in ("s", "ms", "us", "ns")),
    *(pa.time32("s"), pa.time32("ms"), pa.time64("us"), pa.time64("ns")),
    pa.dictionary(pa.int8(), pa.decimal128(9, 2)),
    *(pa.dictionary(pa.int8(), kind) for kind in STRINGS),
    pa.dictionary(pa.uint32(), pa.large_string()),
    pa.dictionary(pa.int32(), pa.string(), ordered=True),
    pa.dictionary(pa.int16(), pa.int64()),
    pa.list_(pa.float32()),
    pa.large_list(pa.float64()),
    pa.list_(pa.float32(), 3),
    pa.list_(pa.int16(), 3),
    pa.list_(pa.bool_(), 3),
    pa.list_(pa.field("element", pa.float64()), 3),
]


@pytest.mark.parametrize("kind", TYPES, ids=str)
def test_each_type_comes_back_as_itself(kind):
    table = pa.table({"x": column(kind, np.random.default_rng(0))})
    contract = Contract.infer(table)
    assert contract["x"].role == "model"
    kind = pa.large_string() if kind == pa.string_view() else kind  # Arrow lacks kernels for views: read as strings
    assert parse_type(contract["x"].type) == kind
    assert contract["x"].missing > 0
    back = decoded(contract, table)["x"]
    assert back.type == kind
    if contract["x"].kind == "vector":
        for one, two in zip(table["x"].to_pylist(), back.to_pylist(), strict=True):
            assert [value is None for value in one] == [value is None for value in two]
            np.testing.assert_allclose(*([v or 0 for v in row] for row in (one, two)), rtol=1e-5, atol=1e-5)
    else:
        assert back.to_pylist() == table["x"].to_pylist()


@pytest.mark.parametrize("kind", TYPES, ids=str)
def test_chunks_slices_and_encodings_of_a_column_are_alike(kind):
    whole = column(kind, np.random.default_rng(1))
    contract = Contract.infer(pa.table({"x": whole}))
    (expected,) = contract.encode(pa.table({"x": whole})).values()
    pieces = [whole.slice(0, 7), whole.slice(7, 0), whole.slice(7, 50), whole.slice(57)]
    chunked = pa.table({"x": pa.chunked_array(pieces, type=kind)})
    (found,) = contract.encode(chunked).values()
    for name, array in expected.arrays().items():
        np.testing.assert_array_equal(found.arrays()[name], array)
    (part,) = contract.encode(chunked.slice(5, 20)).values()
    np.testing.assert_array_equal(part.values, expected.values[5:25])


def test_dictionaries_that_differ_from_chunk_to_chunk_are_told_apart():
    one = pa.array(["b", "a", None]).dictionary_encode()
    two = pa.array(["c", "b", "c"]).dictionary_encode()
    contract = Contract.infer(pa.table({"x": pa.array(["a", "b", "c"])}))
    (block,) = contract.encode(pa.table({"x": pa.chunked_array([one, two])})).values()
    assert block.values[:, 0].tolist() == [1, 0, 0, 2, 1, 2]
    assert block.observed[:, 0].tolist() == [True, True, False, True, True, True]


def test_ordered_levels_keep_their_order():
    kind = pa.dictionary(pa.int8(), pa.string(), ordered=True)
    levels = pa.array(["low", "mid", "high", "never seen"])
    table = pa.table({"x": pa.DictionaryArray.from_arrays(pa.array([2, 0, 1, 0], pa.int8()), levels, ordered=True)})
    contract = Contract.infer(table)
    field = contract["x"]
    assert (field.likelihood, field.levels) == ("ordinal", ("low", "mid", "high", "never seen"))
    assert parse_type(field.type) == kind
    (block,) = contract.encode(table).values()
    assert block.values[:, 0].tolist() == [2, 0, 1, 0]
    assert decoded(contract, table)["x"].type.ordered


def test_blocks_of_a_mixed_table(mixed):
    contract = Contract.infer(mixed)
    specs = {spec.name: spec for spec in contract.blocks()}
    assert {name: spec.fields for name, spec in specs.items()} == {
        "number.gaussian": ("normal", "skewed", "whole", "knots", "rain"),
        "count.poisson": ("visits",),
        "category.categorical": ("origin",),
        "category.bernoulli": ("delayed", "flag"),
        "vector.vector": ("vector",),
    }
    assert specs["category.categorical"].levels == (3,)
    assert specs["vector.vector"].shape == (1, 3)
    blocks = contract.encode(mixed)
    assert tuple(blocks) == tuple(specs)
    for name, block in blocks.items():
        spec = specs[name]
        assert set(block.arrays()) == set(spec.inputs)
        for key, array in block.arrays().items():
            assert array.shape == (mixed.num_rows, *spec.shape)
            assert array.flags["C_CONTIGUOUS"]
            assert array.flags["WRITEABLE"]
            assert array.dtype == (bool if key == "observed" else np.int64 if spec.kind == "category" else np.float32)
            assert not array[~block.observed].any()  # missing cells hold zero everywhere
    assert (~blocks["number.gaussian"].observed).sum() == sum(mixed[name].null_count for name in ("normal", "knots"))


def test_rows_do_not_depend_on_each_other(mixed):
    contract = Contract.infer(mixed)
    whole = contract.encode(mixed)
    for rows in ([17], [399, 0, 17], list(range(100, 200))):
        part = contract.encode(mixed.take(pa.array(rows)))
        for name, block in part.items():
            for key, array in block.arrays().items():
                np.testing.assert_array_equal(array, whole[name].arrays()[key][rows])


def test_no_rows_and_many_rows(mixed):
    contract = Contract.infer(mixed)
    for name, block in contract.encode(mixed.slice(0, 0)).items():
        spec = next(spec for spec in contract.blocks() if spec.name == name)
        assert all(array.shape == (0, *spec.shape) for array in block.arrays().values())
    tall = pa.concat_tables([mixed] * 25)  # more rows than are worked on at a time
    for name, block in contract.encode(tall).items():
        first = contract.encode(mixed)[name]
        np.testing.assert_array_equal(block.values, np.concatenate([first.values] * 25))
    empty = {spec.name: np.zeros((0, *spec.shape)) for spec in contract.blocks()}
    assert contract.decode(empty).schema.types == [mixed.schema.field(name).type for name in contract.names("model")]


def test_values_and_constant_of_a_vector_are_its_density():
    rng = np.random.default_rng(0)
    elements = rng.normal([1.0, 5.0, 0.0], [2.0, 0.1, 0.0], (200, 3))
    contract = Contract.infer({"v": elements})
    (block,) = contract.encode({"v": elements}).values()
    np.testing.assert_allclose(block.values.mean(0)[0], 0.0, atol=1e-5)
    np.testing.assert_allclose(block.values.std(0)[0], [1.0, 1.0, 0.0], atol=1e-5)
    np.testing.assert_allclose(
        block.constant[0, 0], [-np.log(elements[:, 0].std()), -np.log(elements[:, 1].std()), 0.0], rtol=1e-5
    )
    expected = np.log(0.01 * np.array(contract["v"].scale)).sum()
    np.testing.assert_allclose(contract.resolution({"vector.v": block})["v"], expected)


def test_bits_make_a_bernoulli_vector():
    bits = np.random.default_rng(0).integers(0, 2, (50, 4)).astype(np.uint8)
    contract = Contract.infer({"v": bits})
    assert contract["v"].likelihood == "bernoulli"
    (block,) = contract.encode({"v": bits}).values()
    np.testing.assert_array_equal(block.values[:, 0], bits)
    assert not block.constant.any()
    assert contract.decode({"vector.v": block.values})["v"].to_pylist() == bits.tolist()
    with pytest.raises(ContractError, match=r"'v', row 0.*0 or 1.*got 2.0 in element 1"):
        contract.encode({"v": np.array([[0, 2, 0, 1]])})


def test_counts_carry_the_data_part_of_their_likelihood():
    counts = np.random.default_rng(0).poisson(3.0, 300)
    contract = Contract.infer({"n": counts})
    (block,) = contract.encode({"n": counts}).values()
    np.testing.assert_array_equal(block.values[:, 0], counts)
    expected = FAMILIES["poisson"].constant(block.values)
    assert np.unique(expected).size > 3
    np.testing.assert_allclose(block.constant, expected, rtol=1e-6)


def test_condition_blocks_hold_values_and_mask_alone(mixed):
    contract = Contract.infer(mixed)
    for name in ("normal", "whole", "visits", "origin", "vector"):
        contract = contract.replace(name, role="condition")
    specs = {spec.name: spec for spec in contract.blocks()}
    conditions = ["condition.number", "condition.count", "condition.category", "condition.vector.vector"]
    assert [name for name, spec in specs.items() if spec.role == "condition"] == conditions
    assert list(specs)[: -len(conditions)] == [name for name, spec in specs.items() if spec.role == "model"]
    blocks = contract.encode(mixed)
    for name in conditions:
        assert set(blocks[name].arrays()) == {"values", "observed"}
        assert specs[name].likelihood == ""
        assert specs[name].inputs == ("values", "observed")
    assert contract.decode({name: b.values for name, b in blocks.items()}).column_names == list(contract.names("model"))
    assert set(contract.resolution(blocks)) == set(contract.names("model"))


def test_partial_tables_and_missing_blocks(mixed):
    contract = Contract.infer(mixed)
    blocks = contract.encode({"origin": ["JFK", None]}, partial=True)
    assert blocks["category.categorical"].observed.ravel().tolist() == [True, False]
    absent = contract.missing(2)
    for name, block in blocks.items():
        assert block.values.shape == absent[name].values.shape
        assert not absent[name].observed.any()
        if name != "category.categorical":
            for key, array in block.arrays().items():
                np.testing.assert_array_equal(array, absent[name].arrays()[key])


def test_decoding_some_fields_needs_only_their_blocks(mixed):
    contract = Contract.infer(mixed)
    blocks = contract.encode(mixed)
    part = contract.decode({"number.gaussian": blocks["number.gaussian"].values}, names=["whole", "normal"])
    assert part.column_names == ["normal", "whole"]
    with pytest.raises(ContractError, match=r"block 'count\.poisson' are missing"):
        contract.decode({"number.gaussian": blocks["number.gaussian"].values})
    with pytest.raises(ContractError, match=r"wrong shape: expected \(rows, 5\), got \(400, 2\)"):
        contract.decode({"number.gaussian": blocks["number.gaussian"].values[:, :2]}, names=["whole"])
    with pytest.raises(ContractError, match="only model fields can be decoded"):
        contract.replace("whole", role="ignore").decode(blocks, names=["whole"])


def test_decoded_values_keep_to_the_observed_range_unless_told_otherwise():
    values = np.random.default_rng(0).integers(10, 90, 300).astype(np.int8)
    contract = Contract.infer({"x": values})
    far = {"number.gaussian": np.array([[-50.0], [50.0], [np.nan]])}
    assert contract.decode(far)["x"].to_pylist() == [values.min(), values.max(), None]
    free = contract.replace("x", clip=False)
    assert free.decode(far)["x"].to_pylist() == [-128, 127, None]  # still within the type


def test_nan_codes_and_codes_out_of_range_decode_to_null_and_the_last_level():
    contract = Contract.infer({"x": ["a", "b", "c"]})
    codes = np.array([[0.0], [np.nan], [2.0], [9.0], [-1.0]])
    assert contract.decode({"category.categorical": codes})["x"].to_pylist() == ["a", None, "c", "c", None]


def test_floats_that_stand_for_integers_with_nulls(tmp_path):
    table = {"flag": [0.0, 1.0, None, 1.0] * 10, "n": [0.0, 3.0, None, 1.0, 0.0, 2.0, 0.0, 0.0] * 5}
    contract = Contract.infer(table)
    assert contract["flag"].levels == (0, 1)
    assert contract["n"].kind == "count"
    assert decoded(contract, table).to_pydict() == table
    integers = {"flag": pa.array([1, 0], pa.int8()), "n": pa.array([2, 0], pa.int8())}
    blocks = contract.encode(pa.table(integers))
    assert blocks["category.bernoulli"].values.ravel().tolist() == [1, 0]


@pytest.mark.parametrize(("rows", "partial"), [([None, [1.0, 3.0]], False), ([[None, 2.0], [1.0, 3.0]], True)])
def test_vectors_say_whether_single_elements_go_missing(rows, partial):
    table = pa.table({"v": pa.array([[0.0, 1.0], *rows] * 5, pa.list_(pa.float64(), 2))})
    contract = Contract.infer(table)
    assert contract.blocks()[0].partial is partial
    assert contract.fit(table) == contract
    (block,) = contract.encode(table).values()
    assert (~block.observed).sum() == (5 if partial else 10)
