"""Marginal and pairwise similarity of binned columns, by counting."""

from collections import Counter

import numpy as np
import pytest

from vaekit.metrics import marginal_similarity, pairwise_similarity


def overlap(one, two):
    """Shared probability of two lists."""
    a, b = Counter(one), Counter(two)
    return sum(min(a[x] / len(one), b[x] / len(two)) for x in a | b)


@pytest.fixture
def tables():
    rng = np.random.default_rng(0)
    real = np.stack([rng.integers(0, 5, 400), rng.binomial(7, 0.3, 400), rng.integers(0, 2, 400)], axis=1)
    drawn = np.stack([rng.integers(0, 6, 700), rng.binomial(7, 0.5, 700), np.ones(700, int)], axis=1)
    real[:, 2] = real[:, 0] > 2
    return real, drawn


def test_marginals_by_counting(tables):
    real, drawn = tables
    expected = [overlap(real[:, f].tolist(), drawn[:, f].tolist()) for f in range(3)]
    np.testing.assert_allclose(marginal_similarity(real, drawn), expected, rtol=1e-12)
    np.testing.assert_allclose(marginal_similarity(drawn, real), expected, rtol=1e-12)
    np.testing.assert_allclose(marginal_similarity(real, real), 1.0)


def test_pairs_by_counting(tables):
    real, drawn = tables
    found = pairwise_similarity(real, drawn)
    for i in range(3):
        for j in range(3):
            pairs = [list(zip(t[:, i].tolist(), t[:, j].tolist(), strict=True)) for t in (real, drawn)]
            assert found[i, j] == pytest.approx(1.0 if i == j else overlap(*pairs)), (i, j)


def test_pairs_see_what_marginals_do_not(tables):
    real, _ = tables
    shuffled = real.copy()
    shuffled[:, 2] = np.random.default_rng(1).permutation(real[:, 2])
    np.testing.assert_allclose(marginal_similarity(real, shuffled), 1.0)
    assert pairwise_similarity(real, shuffled)[0, 2] < 0.7
