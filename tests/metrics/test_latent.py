"""What the latent variables carry, against brute force and closed forms."""

import numpy as np
import pytest
from scipy.stats import norm

from vaekit.metrics import active_units, mutual_information


def test_active_units_are_those_whose_means_vary():
    rng = np.random.default_rng(0)
    means = rng.normal(size=(4000, 4)) * [1.0, 0.11, 0.09, 0.0] + [0, 5, -5, 100]
    assert active_units(means).tolist() == [True, True, False, False]
    assert active_units(means, threshold=0.1).tolist() == [True, False, False, False]
    assert active_units(means, threshold=0.005).tolist() == [True, True, True, False]


def test_mutual_information_by_brute_force():
    rng = np.random.default_rng(1)
    mean, log_std, noise = rng.normal(size=(60, 3)), rng.normal(-1, 0.3, (60, 3)), rng.normal(size=(60, 3))
    z = mean + np.exp(log_std) * noise
    total = 0.0
    for i in range(60):
        each = [norm.logpdf(z[i], mean[j], np.exp(log_std[j])).sum() for j in range(60)]
        total += each[i] - np.log(np.mean(np.exp(each)))
    assert mutual_information(mean, log_std, noise) == pytest.approx(total / 60, rel=1e-10)


@pytest.mark.parametrize("std", [0.1, 0.4, 0.9])
def test_mutual_information_of_a_linear_gaussian_encoder(std):
    """Aggregate N(0, 1) from posteriors of width s: I = -log s in each dimension."""
    rng = np.random.default_rng(2)
    mean = rng.normal(size=(2500, 2)) * np.sqrt(1 - std**2)
    found = mutual_information(mean, np.full((2500, 2), np.log(std)), rng.normal(size=(2500, 2)))
    assert found == pytest.approx(-2 * np.log(std), abs=0.12)


def test_mutual_information_is_at_most_log_n_and_nothing_without_an_encoder():
    rng = np.random.default_rng(3)
    far = 1e3 * np.arange(50.0)[:, None]
    assert mutual_information(far, np.zeros((50, 1)), rng.normal(size=(50, 1))) == pytest.approx(np.log(50))
    same = np.zeros((50, 2))
    assert mutual_information(same, same, rng.normal(size=(50, 2))) == pytest.approx(0.0, abs=1e-12)


def test_mutual_information_does_not_depend_on_how_the_table_is_cut():
    """Each row ten times is the same distribution, and too large a table for one pass."""
    few = np.random.default_rng(4).normal(size=(3, 300, 2))
    many = np.tile(few, (1, 10, 1))
    assert 2**22 // many[0].size < len(many[0])
    assert mutual_information(*many) == pytest.approx(mutual_information(*few), rel=1e-9)
