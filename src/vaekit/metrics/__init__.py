"""Metrics: pure functions of arrays."""

from vaekit.metrics.fidelity import marginal_similarity, pairwise_similarity
from vaekit.metrics.latent import active_units, mutual_information
from vaekit.metrics.likelihood import effective_samples, log_mean_exp, normalized_weights

__all__ = [
    "active_units",
    "effective_samples",
    "log_mean_exp",
    "marginal_similarity",
    "mutual_information",
    "normalized_weights",
    "pairwise_similarity",
]
