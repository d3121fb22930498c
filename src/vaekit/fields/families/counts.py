"""Families of counts: Poisson and negative binomial, also zero-inflated."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from vaekit.arrays import Array, BlockSpec
from vaekit.fields.families.base import Family, Float, Params, double, sigmoid

__all__ = ["NegativeBinomial", "Poisson", "ZeroInflatedNegativeBinomial", "ZeroInflatedPoisson"]


_EXACT = 15  # up to which factorials are looked up
_LOG_FACTORIAL = np.array([math.lgamma(count + 1.0) for count in range(_EXACT + 1)])


class Counts(Family):
    """Counts 0, 1, 2, ... in Loader's saddle-point form, whose data-only part is `constant`."""

    kinds = ("count",)

    def constant(self, values: Array) -> Float:
        """``-stirling_error(x) - log(2 pi x) / 2``, which is ``x log x - x - log x!``; 0 at x = 0.

        Args:
            values: Counts (B, F).

        Returns:
            float64 array of the same shape, nats.

        References:
            Loader, Fast and accurate computation of binomial probabilities, 2000.

        Example:
            >>> Poisson().constant(np.array([0.0, 1.0]))
            array([ 0., -1.])
        """
        x = double(values)
        large = x > _EXACT
        r = 1.0 / np.where(large, x, 16.0)
        series = r * (1 / 12 - r**2 * (1 / 360 - r**2 * (1 / 1260 - r**2 * (1 / 1680 - r**2 / 1188))))
        exact = -series - 0.5 * np.log(2.0 * np.pi / r)
        small = np.where(large | (x == 0.0), 1.0, x)
        direct = small * np.log(small) - small - _LOG_FACTORIAL[small.astype(np.int64)]
        return np.where(x == 0.0, 0.0, np.where(large, exact, direct))


class Poisson(Counts):
    """Poisson distribution with mean `rate`."""

    name = "poisson"
    params = ("rate",)

    def ppf(self, params: Params, u: Array, spec: BlockSpec) -> Float:
        """Poisson quantile."""
        from scipy.stats import poisson

        return np.maximum(double(poisson.ppf(double(u), double(params["rate"]))), 0.0)

    def mean(self, params: Params, spec: BlockSpec) -> Float:
        """The rate."""
        return double(params["rate"])


class NegativeBinomial(Counts):
    """Negative binomial with mean m and dispersion r: variance ``m + m^2 / r``."""

    name = "negative_binomial"
    params = ("mean", "dispersion")

    def ppf(self, params: Params, u: Array, spec: BlockSpec) -> Float:
        """Negative binomial quantile."""
        from scipy.stats import nbinom

        mean, dispersion = double(params["mean"]), double(params["dispersion"])
        return np.maximum(double(nbinom.ppf(double(u), dispersion, dispersion / (dispersion + mean))), 0.0)

    def mean(self, params: Params, spec: BlockSpec) -> Float:
        """The mean m."""
        return double(params["mean"])


class ZeroInflated(Counts):
    """A count that is zero with probability sigmoid(zero_logits), and otherwise follows the family it is built on."""

    base: ClassVar[Family]

    def ppf(self, params: Params, u: Array, spec: BlockSpec) -> Array:
        """Quantile of the base at ``(u - pi) / (1 - pi)``; 0 where u is at most the zero inflation pi."""
        # 1 - (1 - u) / (1 - pi) keeps digits where pi is close to one
        rest = 1.0 - (1.0 - double(u)) / sigmoid(-double(params["zero_logits"]))
        drawn = self.base.ppf(params, np.where(rest > 0.0, rest, 0.5), spec)
        return np.where(rest > 0.0, drawn, 0.0)

    def mean(self, params: Params, spec: BlockSpec) -> Float:
        """``(1 - pi)`` times the mean of the base."""
        return sigmoid(-double(params["zero_logits"])) * self.base.mean(params, spec)


class ZeroInflatedPoisson(ZeroInflated):
    """Poisson with excess zeros."""

    name = "zero_inflated_poisson"
    params = ("rate", "zero_logits")
    base = Poisson()


class ZeroInflatedNegativeBinomial(ZeroInflated):
    """Negative binomial with excess zeros."""

    name = "zero_inflated_negative_binomial"
    params = ("mean", "dispersion", "zero_logits")
    base = NegativeBinomial()
