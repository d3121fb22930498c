"""Maps of attributes: normals go to normals, readings change by what they should and others not at all."""

import numpy as np
import pytest
from scipy import linalg

from vaekit.metrics.attributes import Classes, Quantities

L = 4


def clouds(rows=4000):
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(L, L)), rng.normal(size=(L, L))
    z = np.concatenate([rng.normal(size=(rows, L)) @ first + 2.0, rng.normal(size=(rows, L)) @ second - 1.0])
    labels = np.array(["a"] * rows + ["b"] * rows, object)
    return z, labels


def test_a_class_moved_to_another_has_its_mean_and_covariance_and_moves_no_further_than_needed():
    z, labels = clouds()
    classes = Classes.fit(z, labels)
    here = z[labels == "a"]
    moved = classes.moved(here, labels[labels == "a"], "b")
    there = z[labels == "b"]
    np.testing.assert_allclose(moved.mean(0), there.mean(0), atol=0.02)
    np.testing.assert_allclose(np.cov(moved.T), np.cov(there.T), rtol=0.02, atol=0.05)
    one, other = classes.covariances["a"], classes.covariances["b"]
    root = linalg.sqrtm(one)
    gap = np.square(classes.means["a"] - classes.means["b"]).sum()
    least = gap + np.trace(one + other - 2 * linalg.sqrtm(root @ other @ root)).real
    assert np.square(moved - here).sum(1).mean() == pytest.approx(least, rel=0.02)  # the Wasserstein distance
    np.testing.assert_allclose(classes.moved(moved, np.array(["b"] * len(moved), object), "a"), here, atol=1e-6)
    assert (classes.moved(there, labels[labels == "b"], "b") == there).all()


def test_the_likeliest_class_is_bayes():
    z, labels = clouds()
    assert (Classes.fit(z, labels).likeliest(z) == labels).mean() > 0.9


def test_a_quantity_is_read_at_its_new_value_and_others_stay():
    z, labels = clouds()
    rng = np.random.default_rng(1)
    weights = rng.normal(size=(L, 2))
    read = z @ weights + 0.1 * rng.normal(size=(len(z), 2))
    shift = np.where(labels == "a", 30.0, 0.0)  # a class that would mislead who does not look within classes
    values = {"size": read[:, 0] + shift, "slant": read[:, 1]}
    quantities = Quantities.fit(z, values, [labels])
    np.testing.assert_allclose(quantities.slope, weights, atol=0.02)
    moved = quantities.moved(z, "size", 5.0)
    found = quantities.read(moved)
    np.testing.assert_allclose(found[:, 0], 5.0, atol=1e-6)
    np.testing.assert_allclose(found[:, 1], quantities.read(z)[:, 1], atol=1e-6)
    metric = np.linalg.inv(quantities.covariance)
    step = moved - z
    far = np.einsum("bi,ij,bj->b", step, metric, step)
    for _ in range(20):  # no other step with the same readings is shorter
        along = linalg.null_space(quantities.slope.T) @ rng.normal(size=L - 2)
        more = step + 0.1 * along
        assert (np.einsum("bi,ij,bj->b", more, metric, more) >= far - 1e-9).all()


def test_classes_of_several_kinds_are_looked_through_together():
    """Though every row has a combination of its own: within each nothing would be left to learn from."""
    z, _ = clouds(200)
    rng = np.random.default_rng(2)
    kinds = [rng.integers(0, 20, len(z)).astype(object) for _ in range(3)]
    weights = rng.normal(size=L)
    shift = 10.0 * kinds[0].astype(float) - 7.0 * kinds[2].astype(float)
    found = Quantities.fit(z, {"size": z @ weights + shift}, kinds)
    np.testing.assert_allclose(found.slope[:, 0], weights, atol=0.02)


def test_of_more_quantities_than_dimensions_the_asked_one_is_reached_and_others_move_least():
    z, _ = clouds(500)
    rng = np.random.default_rng(3)
    weights = rng.normal(size=(L, 7))
    quantities = Quantities.fit(z, {f"q{i}": z @ weights[:, i] for i in range(7)})
    moved = quantities.moved(z, "q0", 5.0)
    np.testing.assert_allclose(quantities.read(moved)[:, 0], 5.0, atol=1e-6)
    root = linalg.sqrtm(quantities.covariance)
    sizes = np.linalg.norm(root @ quantities.slope[:, 1:], axis=0)

    def cost(step):
        return np.square(step @ quantities.slope[:, 1:] / sizes).sum(1)

    step = moved - z
    for _ in range(20):  # no other step that reaches it changes the others less
        along = linalg.null_space(quantities.slope[:, :1].T) @ rng.normal(size=L - 1)
        assert (cost(step + 0.1 * along) >= cost(step) - 1e-6).all()
