"""Importance-weighted estimates against SciPy and exact values."""

import numpy as np
import pytest
from scipy.special import logsumexp, softmax

from vaekit.metrics import effective_samples, log_mean_exp, normalized_weights


@pytest.mark.parametrize("shift", [0.0, -800.0, 800.0, 1e6])
@pytest.mark.parametrize("samples", [1, 2, 50])
def test_against_scipy_at_any_level(samples, shift):
    log_weight = np.random.default_rng(0).normal(0, 30, (samples, 40)) + shift
    np.testing.assert_allclose(log_mean_exp(log_weight), logsumexp(log_weight, axis=0) - np.log(samples), rtol=1e-12)
    np.testing.assert_allclose(normalized_weights(log_weight), softmax(log_weight, axis=0), rtol=1e-9, atol=1e-300)


def test_float32_weights_are_added_in_double():
    log_weight = np.full((3_000_000, 1), 20.0, np.float32)
    log_weight[0] = 20.5
    assert log_mean_exp(log_weight).dtype == np.float64
    assert log_mean_exp(log_weight)[0] == pytest.approx(20.0 + (np.exp(0.5) - 1) / 3e6, abs=1e-9)


def test_one_sample_is_the_elbo_and_more_never_lower_it_on_average():
    rng = np.random.default_rng(1)
    log_weight = rng.normal(size=(64, 5000))
    assert np.array_equal(log_mean_exp(log_weight[:1]), log_weight[0])
    bounds = [log_mean_exp(log_weight[:k]).mean() for k in (1, 2, 8, 64)]
    assert bounds == sorted(bounds)
    assert bounds[-1] == pytest.approx(0.5, abs=0.03)  # log E exp(N(0, 1))


def test_effective_samples():
    assert effective_samples(np.zeros((7, 2))).tolist() == pytest.approx([7, 7])
    assert effective_samples(np.array([[0.0], [-50.0], [-50.0]]))[0] == pytest.approx(1.0)
    half = np.log([[0.5, 0.25], [0.5, 0.75]])
    assert effective_samples(half + 300).tolist() == pytest.approx([2.0, 1 / (1 / 16 + 9 / 16)])
