"""Quality and diversity of drawn rows, against plain loops and known cases."""

import numpy as np
import pyarrow as pa
import pytest

from tests.support import bivariate
from vaekit.errors import ConfigError
from vaekit.metrics.frechet import precision_recall
from vaekit.metrics.random_features import image_features
from vaekit.queries.fidelity import fidelity
from vaekit.queries.sample import sampled_like


def plain(real, drawn, k):
    """The four figures as their papers write them, row by row."""

    def reach(rows, at):
        return sorted(np.linalg.norm(rows[at] - other) for j, other in enumerate(rows) if j != at)[k - 1]

    def near(point, rows):
        return [np.linalg.norm(point - row) <= reach(rows, at) for at, row in enumerate(rows)]

    inside = [near(y, real) for y in drawn]
    return {
        "precision": np.mean([any(row) for row in inside]),
        "recall": np.mean([any(near(x, drawn)) for x in real]),
        "density": np.sum(inside) / (k * len(drawn)),
        "coverage": np.mean([any(row[at] for row in inside) for at in range(len(real))]),
    }


def test_figures_are_those_of_plain_loops():
    rng = np.random.default_rng(0)
    real, drawn = rng.normal(size=(40, 3)), rng.normal(size=(30, 3)) * 1.3 + 0.3
    found, wanted = precision_recall(real, drawn, 3), plain(real, drawn, 3)
    assert found == pytest.approx(wanted)
    assert 0.0 < min(wanted.values()) < max(wanted.values())


def test_equal_rows_are_near_each_other_whatever_the_rounding():
    """Rows of categories repeat: distances of 0 and ties are no matter of rounding."""
    rng = np.random.default_rng(1)
    real, drawn = (np.eye(4)[rng.integers(0, 4, (200, 2))].reshape(200, 8) / np.sqrt(0.75) + 0.1 for _ in range(2))
    found = precision_recall(real, drawn)
    assert found["precision"] == found["recall"] == found["coverage"] == 1.0
    assert found == precision_recall(real + 1000.0, drawn + 1000.0)


@pytest.fixture(scope="module")
def engine(zoo):
    return zoo["pair"].torch.engine


def test_the_same_rows_are_perfect(engine):
    rows = bivariate(300, seed=1)
    found = fidelity(engine, rows, rows, rows)
    assert found["frechet"] == pytest.approx(0.0, abs=1e-6)
    assert found["precision"] == found["recall"] == found["coverage"] == 1.0
    assert found["variance"] == pytest.approx(1.0)
    assert found["real"]["frechet"] == pytest.approx(0.0, abs=1e-6)
    assert "one-hot" in found["features"]


def test_a_lost_mode_costs_recall_and_odd_rows_cost_precision(engine):
    real = bivariate(400, seed=1)
    half = real.filter(pa.array(np.asarray(real["a"]) > 0))
    lost = pa.concat_tables([half, half]).slice(0, 400)
    found = fidelity(engine, real, lost)
    assert found["precision"] > 0.95
    assert found["recall"] < 0.7
    assert found["coverage"] < 0.7
    assert found["variance"] < 0.6
    odd = pa.concat_tables(
        [bivariate(200, seed=2), pa.table({"a": np.linspace(4, 9, 200), "b": np.linspace(-4, -9, 200)})]
    )
    found = fidelity(engine, real, odd)
    assert found["precision"] == pytest.approx(0.5, abs=0.05)
    assert found["frechet"] > 1.0


def test_rows_of_a_model_are_nearly_as_good_as_real_ones(engine):
    real, other = bivariate(600, seed=3), bivariate(600, seed=4)
    found = fidelity(engine, real, sampled_like(engine, real, 600), other)
    for name in ("precision", "recall", "coverage"):
        assert found[name] > found["real"][name] - 0.1, name
    assert found["frechet"] < found["real"]["frechet"] + 0.1


def test_missing_cells_are_hidden_in_both(zoo):
    kept = zoo["cancer"]
    real = kept.table.slice(0, 150)
    found = fidelity(kept.onnx.engine, real, sampled_like(kept.onnx.engine, real, 150))
    assert found["rows"] == 150
    assert 0.3 < found["variance"] < 1.7
    assert found["least_variance"]["field"] in kept.onnx.contract.names()


def test_random_features_see_shapes_and_are_fixed():
    rng = np.random.default_rng(5)
    flat, edges = rng.random((20, 16, 16, 1)), (np.indices((16, 16))[0] % 2)[None, :, :, None] * np.ones((20, 1, 1, 1))
    one, other = image_features(flat), image_features(edges)
    np.testing.assert_array_equal(one, image_features(flat))
    assert np.linalg.norm(one.mean(0) - other.mean(0)) > 3 * np.linalg.norm(one[:10].mean(0) - one[10:].mean(0))
    assert image_features(rng.random((2, 3, 5, 3))).shape[0] == 2


def test_too_few_rows_are_refused(engine):
    with pytest.raises(ConfigError, match="got 3"):
        fidelity(engine, bivariate(3, seed=1), bivariate(9, seed=1))
