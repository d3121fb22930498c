"""The map as a density: it sums to one, its score is the entropy of the data, and units do not matter."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from vaekit.fields import Contract, Number
from vaekit.fields.transforms import Maps


def log_density(contract, values, name="x"):
    """log p(x) of a column under y ~ N(0, 1), as the blocks define it, in nats and in the units of the column."""
    (block,) = contract.encode(pa.table({name: values})).values()
    y, half, constant = (a[:, 0].astype(np.float64) for a in (block.values, block.half, block.constant))
    cells = half > 1e-6
    safe = np.where(cells, half, 1.0)
    # the mass of a cell, from the nearer tail so that nothing cancels
    near, far = np.abs(y) - safe, np.abs(y) + safe
    mass = stats.norm.sf(near) - stats.norm.sf(far)
    with np.errstate(divide="ignore"):
        inside = np.where(cells, np.log(mass / (2 * safe)), stats.norm.logpdf(y))
    return inside + constant


def samples(kind, n, rng):
    """Draws, and the differential (or discrete) entropy of what they are drawn from."""
    if kind == "normal":
        return rng.normal(3.0, 2.0, n), stats.norm(scale=2.0).entropy()
    if kind == "lognormal":
        return np.exp(rng.normal(0.0, 1.5, n)), stats.lognorm(1.5).entropy()
    if kind == "exponential":
        return rng.exponential(5.0, n), stats.expon(scale=5.0).entropy()
    if kind == "uniform":
        return rng.uniform(-2.0, 5.0, n), np.log(7.0)
    if kind == "two modes":
        return rng.normal(rng.choice([-50.0, 50.0], n), 1.0), np.log(2.0) + stats.norm.entropy()
    if kind == "tiny scale far away":
        return 1e6 + 1e-3 * rng.normal(size=n), stats.norm(scale=1e-3).entropy()
    if kind == "geometric":
        return rng.geometric(0.1, n), stats.geom(0.1).entropy()
    return np.round(rng.normal(0.0, 2.0, n), 1), stats.norm(scale=2.0).entropy()


KINDS = ["normal", "lognormal", "exponential", "uniform", "two modes", "tiny scale far away", "geometric", "rounded"]


@pytest.mark.parametrize("kind", KINDS)
def test_score_of_unseen_rows_is_the_entropy(kind):
    rng = np.random.default_rng(1)
    train, _ = samples(kind, 20_000, rng)
    test, entropy = samples(kind, 20_000, rng)
    contract = Contract.infer({"x": train})
    assert isinstance(contract["x"], Number)
    gap = -log_density(contract, test).mean() - float(entropy)
    assert -0.03 < gap < 0.05


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("transform", ["quantile", "standard"])
def test_density_integrates_to_one(kind, transform):
    train, _ = samples(kind, 3_000, np.random.default_rng(2))
    contract = Contract.infer({"x": train}).replace("x", transform=transform).fit({"x": train})
    field = contract["x"]
    ends = Maps([field.map]).inverse(np.array([[-7.5], [7.5]]))[:, 0]
    if field.lattice is None:
        edges = Maps([field.map]).inverse(np.linspace(-7.5, 7.5, 60_001)[:, None])[:, 0]
        width, x = np.diff(edges), edges[:-1] + 0.5 * np.diff(edges)
    else:
        delta = field.lattice.delta
        first, last = field.lattice.index(ends)
        x, width = field.lattice.point(np.arange(first, last + 1)), delta
    assert abs((np.exp(log_density(contract, x)) * width).sum() - 1.0) < 2e-3


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.integers(-30, 30), min_size=60, max_size=200).filter(lambda values: len(set(values)) > 2),
    st.sampled_from([1.0, 5.0, 0.1, 0.25, 1.15078]),
)
def test_masses_of_a_lattice_sum_to_one(numbers, delta):
    values = np.array(numbers) * delta
    contract = (
        Contract(fields=(Number.blank("x", pa.float64(), "model"),)).replace("x", lattice=delta).fit({"x": values})
    )
    field = contract["x"]
    ends = Maps([field.map]).inverse(np.array([[-7.5], [7.5]]))[:, 0]
    first, last = field.lattice.index(ends)
    x = field.lattice.point(np.arange(first, min(last, first + 300_000) + 1))
    assert abs((np.exp(log_density(contract, x)) * delta).sum() - 1.0) < 1e-3


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1e-3, 1e3, 2.54, 1e9]), st.sampled_from(KINDS))
def test_units_change_the_score_by_their_logarithm_alone(seed, factor, kind):
    values, _ = samples(kind, 300, np.random.default_rng(seed))
    values = values.astype(float)
    first = Contract.infer({"x": values})
    lattice = None if first["x"].lattice is None else first["x"].lattice.delta * factor
    blank = Contract(fields=(Number.blank("x", pa.float64(), "model"),)).replace("x", lattice=lattice)
    second = blank.fit({"x": values * factor})
    one, two = log_density(first, values), log_density(second, values * factor)
    np.testing.assert_allclose(one, two + np.log(factor), atol=2e-3)
    unit_free = [
        score + contract.resolution(contract.encode({"x": column}))["x"]
        for score, contract, column in ((one, first, values), (two, second, values * factor))
    ]
    np.testing.assert_allclose(*unit_free, atol=2e-3)


def test_atoms_hold_their_share_of_the_mass_and_decode_exactly():
    rng = np.random.default_rng(3)
    values = np.where(rng.random(5000) < 0.6, 0.0, rng.gamma(2.0, 5.0, 5000))
    contract = Contract.infer({"x": values})
    assert contract["x"].atoms == (0.0,)
    (block,) = contract.encode({"x": [0.0]}).values()
    low, high = block.values[0, 0] - block.half[0, 0], block.values[0, 0] + block.half[0, 0]
    assert abs(stats.norm.cdf(high) - stats.norm.cdf(low) - (values == 0).mean()) < 0.01
    draws = contract.decode({"number.gaussian": rng.normal(size=(20_000, 1))})["x"].to_numpy()
    assert abs((draws == 0.0).mean() - 0.6) < 0.02
    assert stats.ks_2samp(draws[draws > 0], values[values > 0]).pvalue > 1e-3


@pytest.mark.parametrize(
    "parts",
    [
        [np.full(200, -0.1), 1e7 + 1e-7 * np.random.default_rng(0).normal(size=800)],
        [np.full(60, 1e5), np.zeros(60), 1e-9 * np.random.default_rng(0).normal(size=400), [-3e6, 2e6, 1e6]],
        [np.full(300, 5.0), 5.0 + 1e-7 * np.random.default_rng(0).normal(size=300), np.linspace(0, 1e3, 300)],
        [np.full(300, 1e-12), np.random.default_rng(0).normal(size=300)],
    ],
    ids=["far from a tight cluster", "inside a tight cluster", "in a cluster", "among others"],
)
def test_heavy_values_do_not_swallow_others(parts):
    values = np.concatenate(parts)
    contract = Contract.infer({"x": values})
    (block,) = contract.encode({"x": values}).values()
    assert (np.diff(block.values[np.argsort(values), 0]) >= 0).all()
    back = contract.decode({"number.gaussian": block.values})["x"].to_numpy()
    np.testing.assert_allclose(back, values, atol=1e-5 * np.ptp(values))


@pytest.mark.parametrize("kind", KINDS)
def test_normal_draws_decode_to_the_distribution_of_the_data(kind):
    rng = np.random.default_rng(4)
    train, _ = samples(kind, 5_000, rng)
    contract = Contract.infer({"x": train})
    draws = contract.decode({"number.gaussian": rng.normal(size=(5_000, 1))})["x"].to_numpy()
    assert stats.ks_2samp(draws, train).statistic < 0.04
    assert draws.min() >= train.min()
    assert draws.max() <= train.max()


def test_far_outliers_are_finite_and_far():
    contract = Contract.infer({"x": np.random.default_rng(5).normal(size=5000)})
    (block,) = contract.encode({"x": [10.0, 1e3, 1e9, -1e9, 1e99]}).values()
    assert np.isfinite(block.values[:4]).all()
    assert np.isfinite(block.constant).all()
    assert (np.diff(block.values[:3, 0]) > 0).all()
    np.testing.assert_allclose(block.values[0, 0], 10.0, rtol=0.2)  # normal data stay on their own scale
    assert -1e3 < block.values[3, 0] < -200  # a number to work with: its square does not drown everything


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.floats(-1e12, 1e12), min_size=1, max_size=80),
    st.integers(0, 60),
    st.sampled_from(["quantile", "standard"]),
)
def test_any_column_encodes_to_finite_numbers_and_back(values, repeats, transform):
    values = np.array(values + values[:1] * repeats)
    contract = Contract(fields=(Number.blank("x", pa.float64(), "model"),)).replace("x", transform=transform)
    contract = contract.fit({"x": values})
    (block,) = contract.encode({"x": values}).values()
    for array in (block.values, block.half, block.constant):
        assert np.isfinite(array).all()
    back = contract.decode({"number.gaussian": block.values})["x"].to_numpy()
    np.testing.assert_allclose(back, values, rtol=1e-5, atol=1e-5 * np.ptp(values) + 1e-90)
