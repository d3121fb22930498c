"""The cost of batches is learnt from known lines."""

import math

import numpy as np
import pytest

from vaekit.serving.batching.cost import Cost


@pytest.mark.parametrize(("a", "b"), [(1e-4, 2e-3), (5e-3, 1e-3), (1e-6, 0.5)])
def test_a_line_is_found_under_noise(a, b):
    rng = np.random.default_rng(0)
    cost = Cost()
    for rows in rng.integers(1, 200, 300):
        cost.learn(int(rows), (b + a * rows) * rng.normal(1.0, 0.02))
    for rows in (1, 50, 200):
        assert cost.seconds(rows) == pytest.approx(b + a * rows, rel=0.05, abs=0.02 * (b + a * 200))
    assert cost.rows(cost.seconds(120)) == 120


def test_one_size_of_batches_promises_little_of_larger_ones():
    cost = Cost()
    assert (cost.seconds(100), cost.rows(0.01)) == (0.0, math.inf)
    for _ in range(20):
        cost.learn(4, 0.008)
    assert cost.seconds(4) == pytest.approx(0.008)
    assert cost.rows(0.016) == 20  # a few times as many are tried, not any number
    cost.learn(20, 0.009)
    assert cost.rows(0.016) > 40


def test_neither_part_is_ever_negative():
    falling, steep = Cost(), Cost()
    for rows in (1, 2, 4, 8, 16):
        falling.learn(rows, 0.1 / rows)
        steep.learn(rows, 0.001 * rows**2)
    assert falling.a == 0.0
    assert falling.b > 0.0
    assert steep.b == 0.0
    assert steep.a > 0.0
    assert falling.rows(0.0) == 0


def test_old_batches_are_forgotten():
    cost = Cost()
    for rows in (1, 10, 100) * 50:
        cost.learn(rows, 0.01 + 0.001 * rows)
    for rows in (1, 10, 100) * 50:
        cost.learn(rows, 0.1 + 0.01 * rows)
    assert cost.seconds(50) == pytest.approx(0.6, rel=0.05)
    for rows in (1, 10, 100):
        cost.learn(rows, 0.001 + 0.0001 * rows)
    assert cost.seconds(50) < 0.06  # what is faster now is believed at once


def test_a_batch_that_was_held_up_counts_little():
    first, later = Cost(), Cost()
    first.learn(1, 5.0)
    for _ in range(3):
        first.learn(1, 0.001)
        later.learn(1, 0.001)
    later.learn(1, 5.0)
    assert first.seconds(1) < 0.003
    assert later.seconds(1) < 0.003
