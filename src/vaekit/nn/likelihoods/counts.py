"""Count likelihoods in Loader's saddle-point form; the part that depends on data only is `Family.constant`."""

from __future__ import annotations

import torch
from torch import Tensor

from vaekit.nn.likelihoods.base import Likelihood, Params
from vaekit.nn.likelihoods.bernoulli import LOGIT_BOUND
from vaekit.nn.special import deviance, soft_bound, softplus, stirling_error

__all__ = ["NegativeBinomial", "Poisson", "ZeroInflatedNegativeBinomial", "ZeroInflatedPoisson"]

LOG_RATE = (-15.0, 15.0)
LOG_DISPERSION = (-5.0, 7.0)


class Counts(Likelihood):
    """Base of the counts: one projection per parameter, each with its own domain map.

    Args:
        spec: A block of counts.
        width: Width H of the decoder's hidden vector.

    Raises:
        ConfigError: An option is unknown.
    """

    def domain(self, raw: Tensor) -> dict[str, Tensor]:
        """Rates within e^-15 ... e^15, dispersions within e^-5 ... e^7, zero logits within +-15."""
        names = self.family.params
        parts = dict(zip(names, self.split(raw, len(names)), strict=True))
        return {name: self._bounded(name, part) for name, part in parts.items()}

    @staticmethod
    def _bounded(name: str, raw: Tensor) -> Tensor:
        if name == "zero_logits":
            return soft_bound(raw, -LOGIT_BOUND, LOGIT_BOUND)
        return torch.exp(soft_bound(raw, *(LOG_DISPERSION if name == "dispersion" else LOG_RATE)))


class Poisson(Counts):
    """``P(x) = rate^x exp(-rate) / x!``: half the deviance in the graph, the Stirling part of x! in the constant.

    References:
        Loader, Fast and accurate computation of binomial probabilities, 2000, section 4.

    Example:
        >>> from vaekit.arrays import BlockSpec
        >>> spec = BlockSpec(name="c", kind="count", likelihood="poisson", fields=("n",))
        >>> Poisson(spec, 4).log_prob({"rate": torch.full((1, 1, 1), 2.0)}, torch.zeros(1, 1))
        tensor([[[-2.]]])
    """

    def log_density(self, params: Params, values: Tensor) -> Tensor:
        """``-D(x, rate)``."""
        return poisson(values, params["rate"])


class NegativeBinomial(Counts):
    """Counts with mean m and variance ``m + m^2 / r``, mean and dispersion r from the decoder per row and field.

    References:
        Loader, Fast and accurate computation of binomial probabilities, 2000, section 5.

    Example:
        >>> from vaekit.arrays import BlockSpec
        >>> spec = BlockSpec(name="c", kind="count", likelihood="negative_binomial", fields=("n",))
        >>> params = {"mean": torch.ones(1, 1, 1), "dispersion": torch.ones(1, 1, 1)}
        >>> NegativeBinomial(spec, 4).log_prob(params, torch.zeros(1, 1)).exp()  # geometric: 1/2, 1/4, ...
        tensor([[[0.5000]]])
    """

    def log_density(self, params: Params, values: Tensor) -> Tensor:
        """See `negative_binomial`."""
        return negative_binomial(values, params["mean"], params["dispersion"])


class ZeroInflatedPoisson(Counts):
    """Zero with probability sigmoid(zero_logits), otherwise Poisson.

    References:
        Lambert, Zero-inflated Poisson regression, 1992, eq. 1.
    """

    def log_density(self, params: Params, values: Tensor) -> Tensor:
        """The mixture at 0, the weighted Poisson elsewhere."""
        return inflate(values, poisson(values, params["rate"]), params["zero_logits"])


class ZeroInflatedNegativeBinomial(Counts):
    """Zero with probability sigmoid(zero_logits), otherwise negative binomial.

    References:
        Lopez et al., Deep generative modeling for single-cell transcriptomics, 2018, methods.
    """

    def log_density(self, params: Params, values: Tensor) -> Tensor:
        """The mixture at 0, the weighted negative binomial elsewhere."""
        log_p = negative_binomial(values, params["mean"], params["dispersion"])
        return inflate(values, log_p, params["zero_logits"])


def poisson(x: Tensor, rate: Tensor) -> Tensor:
    """Poisson log-mass without its data-only part: ``-D(x, rate)``, broadcast shape, nats."""
    return -deviance(x, rate, x - rate)


def negative_binomial(x: Tensor, m: Tensor, r: Tensor) -> Tensor:
    """Negative binomial log-mass without its data-only part, with N = x + r and p = r / (r + m).

    ``-D(r, N p) - D(x, N (1 - p)) + s(N) - s(r) - log(N / r) / 2``; both differences are known without cancellation:
    ``r - N p = -(x - N (1 - p)) = r (m - x) / (r + m)``.

    Args:
        x: Counts, as floating-point numbers.
        m: Means.
        r: Dispersions.

    Returns:
        Broadcast shape, nats.
    """
    x, m, r = torch.broadcast_tensors(x, m, r)
    total, both = x + r, m + r
    difference = r * ((x - m) / both)
    pair = torch.stack([r, x])  # one pass for both deviances, one for both Stirling errors
    spread = deviance(pair, torch.stack([r, m]) * (total / both), torch.stack([-difference, difference])).sum(0)
    upper, lower = stirling_error(torch.stack([total, r])).unbind()
    return upper - lower - 0.5 * torch.log(total / r) - spread


def inflate(x: Tensor, log_p: Tensor, zero_logits: Tensor) -> Tensor:
    """Mix counts with a point mass pi at zero: ``log(pi + (1 - pi) p)`` at 0, ``log(1 - pi) + log p`` elsewhere.

    Args:
        x: Counts.
        log_p: Their log-mass under the count distribution; complete at x = 0.
        zero_logits: Log-odds of the point mass.

    Returns:
        Broadcast shape, nats.
    """
    at_zero = softplus(log_p - zero_logits)
    return torch.where(x == 0.0, at_zero, log_p - zero_logits) - softplus(-zero_logits)
