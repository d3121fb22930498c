"""Heavy tails: the quantile map continues them as the data suggest, and every likelihood gives usable densities."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import vaekit as vk
from tests.fields.test_density import log_density
from vaekit.fields.families import FAMILIES
from vaekit.fields.transforms import Maps

LAWS = {
    "cauchy": stats.cauchy(),
    "ten orders": stats.lognorm(4.0),
    "pareto": stats.pareto(1.5),
    "mirrored": stats.levy_l(),
}
NUMBERS = [(name, transform) for name, f in FAMILIES.items() if "number" in f.kinds for transform in f.transforms]


@pytest.mark.parametrize("name", LAWS)
def test_unseen_rows_of_a_heavy_tail_score_their_entropy(name):
    """The largest of the unseen rows lie far beyond the training rows; a linear tail costs up to whole nats here."""
    law = LAWS[name]
    rng = np.random.default_rng(1)
    contract = vk.Contract.infer({"x": law.rvs(20_000, random_state=rng)})
    test = law.rvs(200_000, random_state=rng)
    found = -log_density(contract, test)
    assert abs(found.mean() + law.logpdf(test).mean()) < 0.05
    assert (found + law.logpdf(test)).max() < 12.0  # no single row costs more than an atom of surprise


def test_a_heavy_tail_still_is_a_density():
    contract = vk.Contract.infer({"x": stats.cauchy().rvs(5_000, random_state=np.random.default_rng(2))})
    y = np.linspace(-8.0, 8.0, 400_001)
    edges = Maps([contract["x"].map]).inverse(y[:, None])[:, 0]
    middles = 0.5 * (edges[1:] + edges[:-1])
    assert np.abs(edges[[0, -1]]).min() > 1e6
    assert abs((np.exp(log_density(contract, middles)) * np.diff(edges)).sum() - 1.0) < 2e-3


@pytest.mark.parametrize(
    "law", [stats.norm(), stats.uniform(), stats.expon()], ids=["normal", "uniform", "exponential"]
)
def test_light_tails_stay_linear_near_the_data(law):
    values = law.rvs(20_000, random_state=np.random.default_rng(3))
    maps = Maps([vk.Contract.infer({"x": values})["x"].map])
    width = np.quantile(values, 0.995) - np.median(values)
    steps = values.max() + 0.25 * width * np.arange(1, 5)
    y = maps.forward(steps[:, None])[0][:, 0]
    np.testing.assert_allclose(np.diff(y), np.diff(y)[0], rtol=1e-9)


@pytest.fixture(scope="module")
def heavy():
    def rows(seed):
        rng = np.random.default_rng(seed)
        h = rng.normal(size=1500)
        orders = 10.0 ** (5.0 * np.tanh(0.5 * h + 0.3 * rng.normal(size=1500)))
        return {"orders": orders, "cauchy": h + rng.standard_cauchy(1500), "plain": h}

    return rows(0), rows(1)


@pytest.mark.parametrize(("name", "transform"), NUMBERS)
def test_every_number_likelihood_copes_with_heavy_tails(heavy, name, transform):
    train, test = heavy
    assert np.log10(train["orders"].max() / train["orders"].min()) > 8
    contract = vk.Contract.infer(train)
    for field in ("orders", "cauchy"):
        contract = contract.replace(field, likelihood=name, transform=transform)
    model = vk.fit(train, contract, epochs=8, width=32, depth=1, latent=2, threads=1, progress=False)
    far = {field: np.array([v.max(), v.min(), 50 * np.abs(v).max()]) for field, v in train.items()}
    for rows in (train, test, far):
        score = model.score(rows, attribution=True).to_pandas()
        assert np.isfinite(score.to_numpy(float)).all()
        assert score["score"].max() < (1e11 if transform == "standard" else 2e4)
    drawn = model.sample(1500)
    for field, values in train.items():
        x = drawn[field].to_numpy()
        assert values.min() <= x.min() < x.max() <= values.max()
    blocks = model.contract.encode(train)
    back = model.contract.decode({block: value.values for block, value in blocks.items()})
    for field, values in train.items():
        largest = np.abs(values).max()
        np.testing.assert_allclose(back[field].to_numpy(), values, rtol=1e-5, atol=1e-6 * largest)
    if transform == "quantile":  # also to a relative precision, over all orders of magnitude
        np.testing.assert_allclose(back["orders"].to_numpy(), train["orders"], rtol=1e-3)
