"""Grids of rounded readings: which are found, which are not claimed, and that decoding loses no digit."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from vaekit.errors import ConfigError
from vaekit.fields import Contract, Lattice


@settings(deadline=None, max_examples=80)
@given(
    st.sampled_from([(1, 0), (5, 0), (100, 0), (1, 1), (5, 1), (25, 2), (18, 2), (115078, 5), (1, 6)]),
    st.integers(-500, 500).filter(bool),  # whole numbers from zero up may be counts
    st.integers(0, 2**32 - 1),
)
def test_a_grid_is_found_and_decoded_exactly(grid, origin, seed):
    step, decimals = grid
    rng = np.random.default_rng(seed)
    numbers = np.concatenate([[0, 1, 2], rng.integers(0, 40, 100)]) * step + origin
    values = numbers / 10**decimals  # what reading the decimal text gives
    contract = Contract.infer({"x": values})
    assume(contract["x"].kind == "number")  # some draws of small whole numbers look like counts
    assert contract["x"].lattice is not None
    np.testing.assert_allclose(contract["x"].lattice.delta, step / 10**decimals, rtol=1e-12)
    (block,) = contract.encode({"x": values}).values()
    assert contract.decode({"number.gaussian": block.values})["x"].to_numpy().tolist() == values.tolist()


def test_products_that_are_not_exact_decimals_still_have_a_grid():
    rng = np.random.default_rng(0)
    speeds = rng.poisson(8, 300) * 1.15078  # off by an ulp here and there
    assert Contract.infer({"x": speeds})["x"].lattice.delta == 1.15078


@pytest.mark.parametrize("kind", [pa.int8(), pa.uint8(), pa.int32(), pa.uint64(), pa.int64()])
def test_integers_are_on_the_grid_of_their_greatest_common_divisor(kind):
    numbers = pa.array(np.arange(0, 100, 4), kind)
    lattice = Contract.infer(pa.table({"x": numbers}))["x"].lattice
    assert (lattice.delta, lattice.decimals) == (4.0, 0)


def test_single_precision_readings_have_a_grid_too():
    values = (np.random.default_rng(0).integers(0, 100, 400) / 10).astype(np.float32)
    contract = Contract.infer({"x": values})
    assert contract["x"].lattice.delta == 0.1
    (block,) = contract.encode({"x": values}).values()
    back = contract.decode({"number.gaussian": block.values})["x"]
    assert back.type == pa.float32()
    assert back.to_pylist() == pa.array(values).to_pylist()


@pytest.mark.parametrize(
    "values",
    [
        np.random.default_rng(0).normal(size=500),
        np.round(np.random.default_rng(0).normal(size=500), 6),  # rounded, but hardly a tie
        np.random.default_rng(0).choice(np.random.default_rng(1).normal(size=30), 500),  # ties, but no grid
        np.random.default_rng(0).choice(np.arange(30) / 97, 500),
    ],
    ids=["normal", "six digits", "irregular", "ninety-sevenths"],
)
def test_no_grid_is_claimed_without_evidence(values):
    assert Contract.infer({"x": values})["x"].lattice is None


def test_a_grid_far_finer_than_the_spread_is_not_claimed():
    values = np.round(np.random.default_rng(0).choice(np.random.default_rng(1).normal(0, 100, 200), 500), 5)
    assert Contract.infer({"x": values})["x"].lattice is None


def test_new_readings_off_the_grid_are_encoded_where_they_are():
    contract = Contract.infer({"x": np.repeat(np.arange(0, 50, 5), 20)})
    (block,) = contract.encode({"x": [10, 12, 15]}).values()
    assert (np.diff(block.values[:, 0]) > 0).all()
    assert contract.decode({"number.gaussian": block.values})["x"].to_pylist() == [10, 10, 15]


def test_a_grid_can_be_set_and_taken_away():
    values = np.random.default_rng(0).normal(size=200)
    contract = Contract.infer({"x": values}).replace("x", lattice=0.25)
    assert contract["x"].lattice == Lattice(step=25, decimals=2)
    fitted = contract.fit({"x": values})
    drawn = fitted.decode({"number.gaussian": np.random.default_rng(1).normal(size=(100, 1))})["x"].to_numpy()
    assert (drawn % 0.25 == 0).all()
    assert fitted.replace("x", lattice=None).fit({"x": values})["x"].measure == "continuous"


@pytest.mark.parametrize("delta", [0.0, -1.0, float("nan"), float("inf")])
def test_a_grid_needs_a_positive_distance(delta):
    with pytest.raises(ConfigError, match="positive distance"):
        Lattice.of(delta)


def test_cell_is_half_the_narrowest_cell_in_encoded_units():
    values = np.random.default_rng(0).poisson(30, 2000)
    contract = Contract.infer({"x": values})
    (spec,) = contract.blocks()
    (block,) = contract.encode({"x": np.unique(values)}).values()
    assert 0 < spec.cell[0] <= block.half.min() * (1 + 1e-6)
    assert Contract.infer({"x": np.random.default_rng(0).normal(size=100)}).blocks()[0].cell == (0.0,)
