"""The Gaussian copula against exact densities and probabilities of normal distributions."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm

from tests.support import MODELS, contract_of
from vaekit.arrays import Block, BlockSpec, take
from vaekit.metrics.copula import Copula
from vaekit.metrics.marginals import Marginals, marginal_nats

NUMBERS = BlockSpec(name="n", kind="number", likelihood="gaussian", fields=("a", "b", "c"))
BITS = BlockSpec(name="v", kind="vector", likelihood="bernoulli", fields=("v",), event=(3,))
LEVELS = BlockSpec(name="k", kind="category", likelihood="categorical", fields=("k",), levels=(6,))
TRUE = np.array([[1.0, 0.8, -0.3], [0.8, 1.0, 0.2], [-0.3, 0.2, 1.0]])


def latent(rows, seed):
    return np.random.default_rng(seed).multivariate_normal(np.zeros(3), TRUE, rows)


def block(values, observed=None, half=None):
    values = np.asarray(values, np.float32)
    return Block(values, np.ones(values.shape, bool) if observed is None else observed, half=half)


def bits(z, cuts=(0.0, -0.5, 1.0)):
    return Block((z > cuts).astype(np.float32)[:, None], np.ones((len(z), 1, 3), bool))


def total(specs, train, asked):
    return sum(marginal_nats(specs, train, asked).values())


def test_continuous_columns_have_the_density_of_a_normal():
    mean, std = np.array([2.0, -1.0, 0.0]), np.array([0.5, 3.0, 1.0])
    train, asked = (mean + std * latent(rows, seed) for rows, seed in ((20_000, 0), (3_000, 1)))
    constant = np.random.default_rng(2).normal(size=asked.shape).astype(np.float32)
    found = Copula.fit([NUMBERS], {"n": block(train)}).nats(
        {"n": Block(asked.astype(np.float32), np.ones(asked.shape, bool), constant=constant)}
    )
    fitted = multivariate_normal(train.mean(0), np.cov(train.T))
    np.testing.assert_allclose(found, -fitted.logpdf(asked) - constant.sum(1), atol=0.02, rtol=2e-3)
    entropy = multivariate_normal(mean, TRUE * std * std[:, None]).entropy()
    assert (found + constant.sum(1)).mean() == pytest.approx(entropy, abs=4 * found.std() / np.sqrt(3_000))


def test_thresholded_columns_have_the_probabilities_of_orthants():
    z = latent(4_000, 3)
    copula = Copula(Marginals.fit([BITS], {"v": bits(z)}), TRUE)
    cuts = norm.ppf(1 - (z > (0.0, -0.5, 1.0)).mean(0))
    every = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    sign = np.where(every == 1, -1.0, 1.0)
    exact = [multivariate_normal(np.zeros(3), TRUE * np.outer(s, s)).cdf(s * cuts) for s in sign]
    asked = {"v": Block(every.astype(np.float32)[:, None], np.ones((8, 1, 3), bool))}
    found = np.exp(-copula.nats(asked, samples=20_000))
    np.testing.assert_allclose(found, exact, rtol=0.02, atol=2e-4)
    assert found.sum() == pytest.approx(1.0, abs=0.01)
    few = np.stack([copula.nats(asked, samples=2, seed=seed) for seed in range(400)])
    error = np.exp(-few).std(0) / np.sqrt(400)
    assert (np.abs(np.exp(-few).mean(0) - exact) < 4.5 * error + 1e-3 * np.array(exact)).all()  # unbiased
    assert (few.mean(0) > -np.log(exact) - 4.5 * few.std(0) / np.sqrt(400) - 1e-3).all()  # so a bound above -log p


def test_a_box_given_points_is_exact():
    z = latent(5_000, 4)
    pair = BlockSpec(name="n", kind="number", likelihood="gaussian", fields=("a", "b"))
    specs, one = [BlockSpec(name="k", kind="category", likelihood="bernoulli", fields=("k",), levels=(2,)), pair], 0.4
    blocks = {"k": Block((z[:, :1] > one).astype(np.int64), np.ones((5_000, 1), bool)), "n": block(z[:, 1:])}
    found = Copula(Marginals.fit(specs, blocks), TRUE).nats(blocks, samples=1)
    white = (blocks["n"].values - z[:, 1:].mean(0)) / z[:, 1:].std(0)
    slope = np.linalg.solve(TRUE[1:, 1:], TRUE[1:, 0])
    spread = np.sqrt(1 - TRUE[0, 1:] @ slope)
    cut = norm.ppf(((z[:, 0] <= one).sum() + 0.5) / 5_001)
    below = norm.logcdf((cut - white @ slope) / spread)
    above = norm.logsf((cut - white @ slope) / spread)
    density = multivariate_normal(np.zeros(2), TRUE[1:, 1:]).logpdf(white) - np.log(z[:, 1:].std(0)).sum()
    np.testing.assert_allclose(found, -density - np.where(z[:, 0] > one, above, below), rtol=1e-4, atol=1e-4)


def test_the_correlation_behind_thresholds_and_gaps_is_found():
    z = latent(8_000, 5)
    specs = [BITS]
    found = Copula.fit(specs, {"v": bits(z)}).correlation
    np.testing.assert_allclose(found, TRUE, atol=0.08)  # of the bits themselves: 0.5
    seen = np.random.default_rng(6).random(z.shape) < 0.6
    found = Copula.fit([NUMBERS], {"n": block(np.where(seen, z, 0), seen)}).correlation
    np.testing.assert_allclose(found, TRUE, atol=0.04)
    half = np.full(z.shape, 0.5, np.float32)
    found = Copula.fit([NUMBERS], {"n": block(np.round(z), half=half)}).correlation
    np.testing.assert_allclose(found, TRUE, atol=0.04)


def test_independent_columns_cost_what_their_marginals_cost():
    rng = np.random.default_rng(7)
    specs = [NUMBERS, BITS]
    train, asked = (
        {"n": block(rng.normal(size=(rows, 3))), "v": bits(rng.normal(size=(rows, 3)))} for rows in (8_000, 1_000)
    )
    alone = total(specs, train, asked)
    identity = Copula(Marginals.fit(specs, train), np.eye(6))
    np.testing.assert_allclose(identity.nats(asked, samples=3), alone, rtol=1e-6)
    assert np.abs(Copula.fit(specs, train).nats(asked) - alone).mean() < 0.04


def test_missing_cells_are_left_out():
    rng = np.random.default_rng(8)
    z = latent(2_000, 9)
    specs, full = [NUMBERS], {"n": block(z)}
    copula = Copula(Marginals.fit(specs, full), TRUE)
    seen = rng.random(z.shape) < 0.6
    found = copula.nats({"n": block(np.where(seen, z, 0), seen)})
    white = (full["n"].values - z.mean(0)) / z.std(0)
    for pattern in np.unique(seen, axis=0):
        rows = (seen == pattern).all(1)
        if pattern.any():
            part = multivariate_normal(np.zeros(pattern.sum()), TRUE[np.ix_(pattern, pattern)])
            expected = -part.logpdf(white[rows][:, pattern]) + np.log(z.std(0)[pattern]).sum()
            np.testing.assert_allclose(found[rows], expected, rtol=1e-4, atol=1e-4)
        else:
            assert (found[rows] == 0).all()


def test_the_order_of_category_codes_does_not_matter():
    z = latent(6_000, 10)
    code = np.digitize(z[:, 0], norm.ppf([0.15, 0.3, 0.5, 0.7, 0.85]))
    specs, nats = [LEVELS, BlockSpec(name="n", kind="number", likelihood="gaussian", fields=("a",))], []
    for shuffle in (np.arange(6), np.array([3, 0, 5, 1, 4, 2])):
        blocks = {"k": Block(shuffle[code][:, None], np.ones((6_000, 1), bool)), "n": block(z[:, 1:2])}
        nats.append(Copula.fit(specs, blocks).nats(blocks).mean())
    assert nats[0] == pytest.approx(nats[1], abs=0.01)
    assert nats[0] < total(specs, blocks, blocks).mean() - 0.3


def test_far_readings_stay_finite():
    count = BlockSpec(name="c", kind="count", likelihood="poisson", fields=("c",))
    rng = np.random.default_rng(11)
    z = rng.normal(size=(500, 1))
    pair = [count, BlockSpec(name="n", kind="number", likelihood="gaussian", fields=("a",))]
    train = {"c": block(rng.poisson(np.exp(z))), "n": block(z)}
    far = {"c": block([[900], [0], [3]]), "n": block([[-1e6], [1e9], [0]])}
    found = Copula.fit(pair, train).nats(far)
    assert np.isfinite(found).all()
    assert found[0] > 1e10 > found[2]


@pytest.mark.parametrize("name", MODELS)
def test_real_rows_cost_less_than_under_independence(name):
    spec = MODELS[name]
    contract = contract_of(spec).fit(spec.rows())
    blocks = contract.encode(spec.rows())
    rows = np.random.default_rng(12).permutation(len(spec.rows()))
    train, asked = take(blocks, rows[60:]), take(blocks, rows[:60])
    found = Copula.fit(contract.blocks(), train).nats(asked)
    assert found.shape == (60,)
    assert found.mean() < total(contract.blocks(), train, asked).mean() + 0.1
