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
    quantities = Quantities.fit(z, values, labels)
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
