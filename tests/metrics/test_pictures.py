"""Disentanglement of codes whose quality is known, and distances between samples whose distance is known."""

import numpy as np
import pytest
from scipy import linalg

from vaekit.metrics.disentanglement import dci, factor_vae_score, mig, sap
from vaekit.metrics.frechet import frechet_distance, precision_recall

SIZES = (1, 3, 6, 8, 8)


def factors(rows=2500):
    rng = np.random.default_rng(0)
    return np.stack([rng.integers(0, size, rows) for size in SIZES], 1)


def aligned(found):
    """One dimension per factor, in another order and on other scales, with a little noise and a dead dimension."""
    noise = 0.05 * np.random.default_rng(1).normal(size=(len(found), 5))
    return np.stack(
        [found[:, 4] * 2.0, 1.0 - found[:, 2], found[:, 1] / 3, found[:, 3] * 5.0, 0.0 * found[:, 1]], 1
    ) + (noise * [1, 1, 0.2, 1, 0.01])


def turned(found):
    """The same, turned so that every dimension has an equal part of each factor."""
    q = linalg.hadamard(4) / 2.0
    codes = aligned(found)
    return np.concatenate([(codes[:, :4] / codes[:, :4].std(0)) @ q, codes[:, 4:]], 1)


def test_aligned_codes_score_high_and_turned_ones_low():
    known = factors()
    used = known[:, 1:]
    good, bad = aligned(known), turned(known)
    assert mig(good, used) > 0.7
    assert mig(bad, used) < 0.5 * mig(good, used)
    assert sap(good, used) > 0.9
    assert sap(bad, used) < 0.6
    high, low = dci(good, used), dci(bad, used)
    assert high["disentanglement"] > 0.9
    assert high["completeness"] > 0.9
    assert high["informativeness"] > 0.95
    assert low["disentanglement"] < 0.6
    assert factor_vae_score(aligned, SIZES, train=300, test=150) == 1.0
    assert factor_vae_score(turned, SIZES, train=300, test=150) < 0.9


def test_frechet_is_the_distance_of_normals():
    rng = np.random.default_rng(3)
    one, other = rng.normal(size=(3, 3)), rng.normal(size=(3, 3))
    x, y = rng.normal(size=(200_000, 3)) @ one, rng.normal(size=(200_000, 3)) @ other + 1.0
    first, second = one.T @ one, other.T @ other
    wanted = 3.0 + np.trace(first + second - 2 * linalg.sqrtm(first @ second)).real
    assert frechet_distance(x, y) == pytest.approx(wanted, rel=0.02)


def test_precision_and_recall_tell_odd_draws_from_lost_modes():
    rng = np.random.default_rng(4)
    real = rng.normal(size=(1000, 2)) + np.where(np.arange(1000) % 2, 10.0, 0.0)[:, None]
    lost, odd = rng.normal(size=(500, 2)), np.concatenate([real[:500], rng.normal(size=(500, 2)) + 100.0])
    found = precision_recall(real, lost)
    assert found["precision"] > 0.9
    assert found["recall"] == pytest.approx(0.5, abs=0.05)
    assert found["coverage"] == pytest.approx(0.5, abs=0.05)
    found = precision_recall(real, odd)
    assert found["precision"] == pytest.approx(0.5, abs=0.05)
