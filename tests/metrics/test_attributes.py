"""Maps of attributes: normals go to normals, readings change by what they should and others not at all."""

import numpy as np
import pytest
from scipy import linalg

from vaekit.metrics.attributes import Classes, Quantities, combined

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
    shift = np.where(labels == "a", 30.0, 0.0)  # a class that would mislead who does not look within classes
    values = z @ weights + 0.1 * rng.normal(size=(len(z), 2)) + np.stack([shift, 0.0 * shift], 1)
    quantities, groups = Quantities.fit(z, values, [labels]), combined([labels], len(z))
    reading = quantities.of(("a",))
    np.testing.assert_allclose(reading.slope, weights, atol=0.05)
    seen = quantities.read(z, groups)
    assert np.abs(seen - values).mean() < 0.1
    wish = np.stack([5.0 - seen[:, 0], np.zeros(len(z))], 1)
    found = quantities.read(quantities.moved(z, groups, wish, np.array([True, False])), groups)
    assert np.abs(found[:, 0] - 5.0).mean() < 0.1
    assert np.abs(found[:, 1] - seen[:, 1]).mean() < 0.02 * values[:, 1].std()
    step = reading.moved(z, wish, np.array([True, True])) - z
    metric = np.linalg.inv(reading.covariance)
    far = np.einsum("bi,ij,bj->b", step, metric, step)
    for _ in range(20):  # no other step with the same readings is shorter
        along = linalg.null_space(reading.slope.T) @ rng.normal(size=L - 2)
        more = step + along
        assert (np.einsum("bi,ij,bj->b", more, metric, more) >= far).mean() > 0.99


def test_a_quantity_is_read_in_each_class_in_its_own_way_and_the_less_so_the_fewer_examples_it_has():
    z, labels = clouds()
    labels[:3] = "c"
    weights = np.random.default_rng(1).normal(size=L)
    values = z @ weights * np.where(labels == "b", -1.0, 1.0)
    quantities = Quantities.fit(z, values[:, None], [labels])
    for one, sign in (("a", 1.0), ("b", -1.0)):
        np.testing.assert_allclose(quantities.of((one,)).slope[:, 0], sign * weights, atol=0.05)
    pooled = quantities.of(("nowhere seen",)).slope
    own = np.linalg.norm(quantities.of(("c",)).slope - pooled)
    assert own < 0.7 * np.linalg.norm(quantities.of(("a",)).slope - pooled)
    groups = combined([labels], len(z))
    shift = np.ones((len(z), 1))
    found = quantities.moved(z, groups, shift, np.array([True])) @ weights * np.where(labels == "b", -1.0, 1.0)
    np.testing.assert_allclose((found - values)[3:], 1.0, atol=0.05)


def test_a_reading_bends_where_examples_show_it_and_is_straight_where_they_are_noise():
    rng = np.random.default_rng(4)
    z, fresh = rng.normal(size=(1000, L)), rng.normal(size=(1000, L))

    def bent(z):
        return np.stack([z[:, 0] + np.square(z[:, 1]), z[:, 0]], 1)

    values = bent(z)
    values[:, 1] += 3.0 * rng.normal(size=len(z))
    reading = Quantities.fit(z, values).of(())
    error = np.square(reading.read(fresh) - bent(fresh)).mean(0)
    assert error[0] < 0.1  # 2 for a straight one
    assert error[1] < 0.1
    np.testing.assert_allclose(reading.noise, [0.0, 9.0], atol=1.0)
    shift = np.tile([0.5, 0.0], (len(z), 1))
    moved = reading.moved(fresh, shift, np.array([True, False]))
    assert np.median(np.abs(bent(moved)[:, 0] - bent(fresh)[:, 0] - 0.5)) < 0.1


def test_what_codes_do_not_tell_does_not_move_them():
    z, _ = clouds(500)
    rng = np.random.default_rng(5)
    reading = Quantities.fit(z, rng.normal(size=(len(z), 1))).of(())
    step = reading.moved(z, np.full((len(z), 1), 5.0), np.array([False])) - z
    assert np.linalg.norm(step / z.std(0), axis=1).mean() < 0.5


def test_classes_of_several_kinds_are_looked_through_together():
    """Though every row has a combination of its own: within each nothing would be left to learn from."""
    z, _ = clouds(200)
    rng = np.random.default_rng(2)
    kinds = [rng.integers(0, 20, len(z)).astype(object) for _ in range(3)]
    weights = rng.normal(size=L)
    shift = 10.0 * kinds[0].astype(float) - 7.0 * kinds[2].astype(float)
    quantities = Quantities.fit(z, (z @ weights + shift)[:, None], kinds)
    groups = combined(kinds, len(z))
    np.testing.assert_allclose(quantities.of(groups[0]).slope[:, 0], weights, atol=0.02)
    np.testing.assert_allclose(quantities.read(z, groups)[:, 0], z @ weights + shift, atol=0.5)


def test_of_more_quantities_than_dimensions_the_asked_one_is_reached_and_others_move_least():
    z, _ = clouds(500)
    rng = np.random.default_rng(3)
    reading = Quantities.fit(z, z @ rng.normal(size=(L, 7))).of(())
    shift = np.zeros((len(z), 7))
    shift[:, 0] = 5.0 - reading.read(z)[:, 0]
    step = reading.moved(z, shift, np.arange(7) == 0) - z
    np.testing.assert_allclose(step @ reading.slope[:, 0], shift[:, 0], rtol=0.02, atol=0.02)
    root = linalg.sqrtm(reading.covariance)
    slack = np.maximum(reading.noise, 1e-8 * np.square(np.linalg.norm(root @ reading.slope, axis=0)))[1:]

    def cost(step):
        return (np.square(step @ reading.slope[:, 1:]) / slack).sum(1)

    for _ in range(20):  # no other step that reaches it changes the others less
        along = linalg.null_space(reading.slope[:, :1].T) @ rng.normal(size=L - 1)
        assert (cost(step + along) >= cost(step)).mean() > 0.99


def test_no_code_is_thrown_far_where_a_reading_turns_round():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(3000, 2))
    quantities = Quantities.fit(z, np.square(z[:, :1]) + 0.1 * rng.normal(size=(3000, 1)))
    groups = [()] * len(z)
    found = z
    for share in (1.0, 0.5, 0.5):
        gap = 1.0 - quantities.read(found, groups)
        found = quantities.moved(found, groups, share * gap, np.array([True]))
    assert np.abs(found - z).max() < 20.0
    assert np.median(np.abs(quantities.read(found, groups) - 1.0)) < 0.2


def test_what_classes_decide_alone_moves_no_code():
    z, labels = clouds(500)
    price = np.where(labels == "a", 1.5, 4.0)[:, None]
    quantities, groups = Quantities.fit(z, price, [labels]), combined([labels], len(z))
    assert quantities.told(0)
    for exact in (True, False):
        moved = quantities.moved(z, groups, np.full((len(z), 1), 2.5), np.array([exact]))
        np.testing.assert_allclose(moved, z, atol=0.02)


def test_a_combination_that_no_example_has_is_the_sum_of_its_effects():
    rng = np.random.default_rng(0)
    pairs = [("a", "x"), ("a", "y"), ("b", "x")]
    codes = rng.integers(0, 3, 6000)
    first, second = (np.array([pairs[code][side] for code in codes], object) for side in (0, 1))
    z = rng.normal(size=(6000, 3)) + np.outer(first == "b", [4.0, 0.0, 0.0]) + np.outer(second == "y", [0.0, 2.0, 0.0])
    values = (z[:, :1] + np.where(second == "y", 10.0, 0.0)[:, None]) + 0.1 * rng.normal(size=(6000, 1))
    reading = Quantities.fit(z, values, [first, second]).of(("b", "y"))
    np.testing.assert_allclose(reading.mean, [4.0, 2.0, 0.0], atol=0.2)
    assert reading.read(np.array([[4.0, 2.0, 0.0]])) == pytest.approx(14.0, abs=0.2)


def test_one_noisy_example_of_a_group_bends_nothing():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(2001, 2))
    labels = np.array(["a"] * 2000 + ["b"], object)
    values = z[:, :1] + 0.1 * rng.normal(size=(2001, 1))
    values[-1] += 3.0
    quantities = Quantities.fit(z, values, [labels])
    assert np.abs(quantities.of(("b",)).weights).max() < 1e-6
