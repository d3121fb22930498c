"""Vectors are encoded element by element, whatever else a batch holds."""

import numpy as np
import pyarrow as pa
import pytest

from vaekit.errors import ContractError
from vaekit.fields import Contract
from vaekit.fields.number import FARTHEST
from vaekit.fields.profile import HUGE

RNG = np.random.default_rng(0)


def table(values):
    values = np.asarray(values)
    return pa.table(
        {"v": pa.FixedSizeListArray.from_arrays(pa.array(values.ravel(), from_pandas=True), values.shape[1])}
    )


@pytest.fixture(scope="module")
def contract():
    rows = table(RNG.normal(5.0, 3.0, (200, 4)))
    return Contract.infer(rows).fit(rows)


def encoded(contract, values):
    (block,) = contract.encode(table(values)).values()
    return block


@pytest.mark.parametrize("strange", [None, np.nan, 1e30, -1e30])
def test_a_row_is_encoded_alike_beside_any_other(contract, strange):
    rows = RNG.normal(5.0, 3.0, (9, 4))
    alone = [encoded(contract, rows[at : at + 1]) for at in range(len(rows))]
    beside = rows.copy()
    if strange is not None:
        beside[4, 2] = strange
    together = encoded(contract, beside)
    for at in set(range(len(rows))) - {4}:
        for name in ("values", "observed", "constant"):
            assert np.array_equal(getattr(together, name)[at], getattr(alone[at], name)[0]), (at, name)
    seen = np.ones((len(rows), 1, 4), bool)
    seen[4, 0, 2] = strange is None or not np.isnan(strange)
    assert np.array_equal(together.observed, seen)
    if strange is not None:
        cell = together.values[4, 0, 2]
        assert cell == (0.0 if np.isnan(strange) else np.sign(strange) * np.float32(FARTHEST))


@pytest.mark.parametrize("bad", [np.inf, -np.inf, HUGE])
def test_elements_that_are_no_finite_numbers_are_refused(contract, bad):
    rows = np.full((3, 4), 5.0)
    rows[1, 3] = bad
    with pytest.raises(ContractError, match="element 3") as caught:
        contract.encode(table(rows))
    assert caught.value.row == 1
