"""The baseline of independent marginals: densities that integrate and probabilities that add up."""

import numpy as np
import pytest
from scipy.stats import norm

from tests.support import MODELS, contract_of
from vaekit.arrays import Block, BlockSpec
from vaekit.metrics.marginals import marginal_nats


def number(values, half=None, constant=None, observed=None):
    values = np.asarray(values, np.float32)
    zero = np.zeros_like(values)
    seen = np.ones(values.shape, bool) if observed is None else observed
    return Block(values, seen, half=zero if half is None else half, constant=zero if constant is None else constant)


NUMBER = BlockSpec(name="number.gaussian", kind="number", likelihood="gaussian", fields=("a", "b"))


def test_numbers_are_normals_in_the_units_of_the_columns():
    rng = np.random.default_rng(0)
    train = rng.normal([2, -1], [0.5, 3], (500, 2))
    seen = rng.random((500, 2)) < 0.8
    fitted = number(np.where(seen, train, 0), observed=seen)
    asked = rng.normal([2, -1], [0.5, 3], (60, 2))
    constant = rng.normal(size=(60, 2)).astype(np.float32)
    shown = rng.random((60, 2)) < 0.7
    found = marginal_nats([NUMBER], {NUMBER.name: fitted}, {NUMBER.name: number(asked, None, constant, shown)})
    for column, name in enumerate("ab"):
        part = train[seen[:, column], column]
        expected = -norm.logpdf(asked[:, column], part.mean(), part.std()) - constant[:, column]
        np.testing.assert_allclose(found[name], np.where(shown[:, column], expected, 0), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("width", [0.002, 0.3, 3.0])
@pytest.mark.parametrize("at", [0.0, 4.0, -9.0])
def test_rounded_readings_have_the_mass_of_their_cell(width, at):
    rng = np.random.default_rng(1)
    train = rng.normal(0, 1, (5000, 2))
    mean, std = train.astype(np.float32).mean(0), train.std(0)
    cell = np.full((1, 2), width / 2, np.float32)
    found = marginal_nats([NUMBER], {NUMBER.name: number(train)}, {NUMBER.name: number([[at, at]], cell)})
    for column, name in enumerate("ab"):
        low, high = at - width / 2, at + width / 2
        if at > 0:  # the tail in which SciPy is accurate
            low, high = 2 * mean[column] - high, 2 * mean[column] - low
        mass = norm.cdf(high, mean[column], std[column]) - norm.cdf(low, mean[column], std[column])
        assert found[name][0] == pytest.approx(-np.log(mass / width), rel=2e-3)


def test_frequencies_of_categories_add_up_to_one():
    spec = BlockSpec(name="c", kind="category", likelihood="categorical", fields=("a", "b"), levels=(3, 5))
    rng = np.random.default_rng(2)
    codes, seen = rng.integers(0, 3, (200, 2)), rng.random((200, 2)) < 0.8
    every = np.stack([np.minimum(np.arange(5), 2), np.arange(5)], axis=1)
    found = marginal_nats([spec], {"c": Block(codes, seen)}, {"c": Block(every, np.ones((5, 2), bool))})
    for column, (name, levels) in enumerate((("a", 3), ("b", 5))):
        part = codes[seen[:, column], column]
        expected = (np.bincount(part, minlength=levels) + 0.5) / (len(part) + 0.5 * levels)
        np.testing.assert_allclose(np.exp(-found[name][:levels]), expected)
        assert np.exp(-found[name][:levels]).sum() == pytest.approx(1.0)


def test_frequencies_of_counts_add_up_to_one_with_a_tail():
    spec = BlockSpec(name="n", kind="count", likelihood="poisson", fields=("a", "b"))
    rng = np.random.default_rng(3)
    counts = rng.poisson([2, 6], (300, 2)).astype(np.float32)
    every = np.repeat(np.arange(200.0, dtype=np.float32)[:, None], 2, axis=1)
    seen = np.ones((300, 2), bool)
    found = marginal_nats([spec], {"n": Block(counts, seen)}, {"n": Block(every, np.ones((200, 2), bool))})
    for column, name in enumerate("ab"):
        probability = np.exp(-found[name])
        assert probability.sum() == pytest.approx(1.0)
        share = np.bincount(counts[:, column].astype(int)) / 300
        assert np.abs(probability[: len(share)] - share).max() < 0.02
        assert (probability > 0).all()


def test_vectors_element_by_element():
    rng = np.random.default_rng(4)
    bits = BlockSpec(name="bits", kind="vector", likelihood="bernoulli", fields=("v",), event=(3,))
    train = (rng.random((400, 1, 3)) < [0.1, 0.5, 0.9]).astype(np.float32)
    seen = rng.random((400, 1, 3)) < 0.9
    asked = np.array([[[0, 1, 1]], [[1, 1, 0]]], np.float32)
    shown = np.array([[[1, 1, 1]], [[1, 0, 1]]], bool)
    found = marginal_nats([bits], {"bits": Block(train * seen, seen)}, {"bits": Block(asked, shown)})["v"]
    share = [((train[:, 0, d] * seen[:, 0, d]).sum() + 0.5) / (seen[:, 0, d].sum() + 1) for d in range(3)]
    assert found[0] == pytest.approx(-np.log((1 - share[0]) * share[1] * share[2]))
    assert found[1] == pytest.approx(-np.log(share[0] * (1 - share[2])))
    normal = BlockSpec(name="v", kind="vector", likelihood="gaussian", fields=("v",), event=(2,))
    values, one = rng.normal([[0, 1]], [[1, 2]], (500, 1, 2)).astype(np.float32), np.ones((1, 1, 2), bool)
    asked = Block(np.array([[[0.5, -1.0]]], np.float32), one, constant=np.full((1, 1, 2), -0.7, np.float32))
    found = marginal_nats([normal], {"v": Block(values, np.ones((500, 1, 2), bool))}, {"v": asked})["v"]
    expected = -norm.logpdf([0.5, -1.0], values[:, 0].mean(0), values[:, 0].std(0)).sum() + 1.4
    assert found[0] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_real_rows_of_every_kind_have_finite_nats_and_missing_cells_none(name):
    spec = MODELS[name]
    contract = contract_of(spec).fit(spec.rows())
    blocks = contract.encode(spec.rows())
    found = marginal_nats(contract.blocks(), blocks, blocks)
    assert set(found) == set(contract.names("model"))
    for block in contract.blocks():
        if block.role == "model":
            seen = np.asarray(blocks[block.name].observed).reshape(len(spec.rows()), len(block.fields), -1).any(-1)
            for field, shown in zip(block.fields, seen.T, strict=True):
                assert np.isfinite(found[field]).all()
                assert (found[field][~shown] == 0).all()
                assert (found[field][shown] != 0).all()
