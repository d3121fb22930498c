"""Drawn rows within bounds: truncation of the prior's noise, and rejection by constraints."""

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import kstest, truncnorm

from vaekit.arrays import Noise, truncated
from vaekit.errors import ConfigError, ContractError, QueryError
from vaekit.queries.rejection import accepted


def numbers(table, name):
    return np.asarray(table[name].to_numpy(), np.float64)


def test_truncated_noise_has_the_truncated_distribution():
    spec = {"z": Noise("normal", (1,)), "u": Noise("uniform", (1,))}
    rng = np.random.default_rng(0)
    drawn = {"z": rng.standard_normal((4000, 1), np.float32), "u": rng.random((4000, 1), np.float32)}
    found = truncated(spec, drawn, 0.8)
    assert kstest(found["z"].ravel(), truncnorm(-0.8, 0.8).cdf).pvalue > 0.01
    assert (np.argsort(found["z"].ravel()) == np.argsort(drawn["z"].ravel())).all()
    np.testing.assert_array_equal(found["u"], drawn["u"])
    np.testing.assert_allclose(truncated(spec, drawn, 30.0)["z"], drawn["z"], atol=1e-4)


def test_truncation_leaves_out_the_tails_and_nothing_else(zoo):
    model = zoo["pair"].torch
    whole, cut = model.sample(3000, seed=1), model.sample(3000, seed=1, truncation=1.0)
    assert numbers(cut, "a").std() < 0.75 * numbers(whole, "a").std()
    assert numbers(model.sample(50, seed=1, truncation=20.0), "a") == pytest.approx(numbers(whole, "a")[:50], abs=0.02)
    with pytest.raises(ConfigError, match="above 0"):
        model.sample(1, truncation=0.0)
    with pytest.raises(ConfigError, match="truncation cuts the prior"):
        model.sample(1, truncation=1.0, given={"a": 0.0})


def test_rows_that_meet_a_constraint_are_those_of_the_endless_table(zoo):
    model = zoo["pair"].torch
    found = model.sample(500, seed=2, where="a > 0.5 and b < 1")
    assert found.num_rows == 500
    every = model.sample(20_000, seed=2)
    meets = (numbers(every, "a") > 0.5) & (numbers(every, "b") < 1)
    assert found.equals(every.filter(pa.array(meets)).slice(0, 500).combine_chunks())
    assert model.sample(0, where="a > 0").num_rows == 0


def test_constraints_and_given_conditions_go_together(zoo):
    model = zoo["cancer"].onnx
    found = model.sample(40, given={"symmetry": 0.18}, where="radius > 14 and diagnosis == 'malignant'")
    assert min(found["radius"].to_pylist()) > 14
    assert set(found["diagnosis"].to_pylist()) == {"malignant"}
    assert set(found["symmetry"].to_pylist()) == {0.18}


def test_what_hardly_ever_holds_is_given_up(zoo):
    drawn = []

    def draw(n, first=0):
        drawn.append(n)
        return pa.table({"a": np.zeros(n)})

    with pytest.raises(QueryError, match=r"only 0 of [\d,]+ drawn rows meet 'a > 1'"):
        accepted(draw, 3, "a > 1")
    assert sum(drawn) < 100_000
    with pytest.raises(ContractError, match="not there"):
        zoo["pair"].torch.sample(3, where="c > 1")
