"""Importance-weighted estimates from log-weights."""

from __future__ import annotations

import numpy as np

from vaekit.arrays import Array

__all__ = ["effective_samples", "log_mean_exp", "normalized_weights", "standard_error"]


def log_mean_exp(log_weight: Array) -> Array:
    """The importance-weighted bound ``log (1/K) Σ_k w_k`` over the first axis.

    Args:
        log_weight: log w = log p(x, z_k) - log q(z_k | x) in nats, shape (K, B).

    Returns:
        The bound per row in nats, shape (B,), float64.

    References:
        Burda, Grosse & Salakhutdinov, Importance Weighted Autoencoders, 2016, eq. 8.

    Example:
        >>> log_mean_exp(np.log([[1.0], [3.0]])).round(6).tolist()
        [0.693147]
    """
    log_weight = np.asarray(log_weight, np.float64)
    top = log_weight.max(0)
    bound: Array = top + np.log(np.exp(log_weight - top).sum(0) / len(log_weight))
    return bound


def normalized_weights(log_weight: Array) -> Array:
    """Self-normalised importance weights over the first axis, shape (K, B), summing to one.

    Example:
        >>> normalized_weights(np.log([[1.0], [3.0]])).ravel().tolist()
        [0.25, 0.75]
    """
    log_weight = np.asarray(log_weight, np.float64)
    weight: Array = np.exp(log_weight - log_weight.max(0))
    weight /= weight.sum(0)
    return weight


def effective_samples(log_weight: Array) -> Array:
    """Effective number of importance samples ``1 / Σ_k ŵ_k²`` per row, shape (B,), between 1 and K.

    Example:
        >>> effective_samples(np.zeros((4, 1))).tolist()
        [4.0]
    """
    effective: Array = 1.0 / np.square(normalized_weights(log_weight)).sum(0)
    return effective


def standard_error(values: Array) -> float:
    """Standard error of the mean of some rows; 0 for a single one, which has no spread to tell it by.

    Example:
        >>> standard_error(np.array([1.0, 3.0]))
        1.0
    """
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0
