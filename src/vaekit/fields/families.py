"""The torch-free half of every likelihood: data-only constants, quantile functions, point predictions and means.

A draw is ``ppf(params, U)`` with U uniform from Philox, so both backends draw the same rows. Parameters are what the
decode graph returns, after the domain map; their leading dimensions are arbitrary (usually (K, B)) and the last are F
fields and the event. Everything is computed in float64, for all fields of a block at once.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from vaekit.arrays import Array, BlockSpec
from vaekit.errors import ConfigError, QueryError

__all__ = ["FAMILIES", "Family", "family"]

Params = Mapping[str, Array]
Float = NDArray[np.float64]


def _double(array: Array) -> Float:
    return np.asarray(array, dtype=np.float64)


def _sigmoid(x: Array) -> Float:
    from scipy.special import expit

    return _double(expit(_double(x)))


class Family(ABC):
    """What a likelihood is without its network: names, options, constant, quantiles.

    Attributes:
        name: Name in `FAMILIES`, in contracts and in block names.
        kinds: Field kinds that it can model.
        params: Names of the arrays that describe it.
        options: Option name to its allowed values, or to `float` for any positive number.
    """

    name: ClassVar[str]
    kinds: ClassVar[tuple[str, ...]]
    params: ClassVar[tuple[str, ...]]
    options: ClassVar[Mapping[str, tuple[str, ...] | type[float]]] = {}

    def check(self, spec: BlockSpec) -> None:
        """Refuse a block that this family cannot model, and options that it does not know.

        Args:
            spec: The block.

        Raises:
            ConfigError: The kind does not fit, an option is unknown, or its value is not allowed.

        Example:
            >>> FAMILIES["poisson"].check(BlockSpec(name="c", kind="count", likelihood="poisson", fields=("n",)))
        """
        if spec.kind not in self.kinds:
            choice = ", ".join(self.kinds)
            raise ConfigError(
                f"block {spec.name!r}: likelihood {self.name} models fields of kind {choice}; got {spec.kind!r}"
            )
        if spec.kind == "category" and len(spec.levels) != len(spec.fields):
            raise ConfigError(
                f"block {spec.name!r}: expected one number of levels per field; "
                f"got {len(spec.levels)} for {len(spec.fields)} fields"
            )
        for option, value in spec.options.items():
            if option not in self.options:
                choice = ", ".join(self.options) or "none"
                raise ConfigError(
                    f"block {spec.name!r}: likelihood {self.name} has no option {option!r}; its options are: {choice}"
                )
            allowed = self.options[option]
            if isinstance(allowed, tuple):
                if value not in allowed:
                    choice = ", ".join(allowed)
                    raise ConfigError(f"block {spec.name!r}: option {option!r} is one of {choice}; got {value!r}")
            elif isinstance(value, (bool, str)) or not 0.0 < value < math.inf:
                raise ConfigError(f"block {spec.name!r}: option {option!r} is a positive number; got {value!r}")

    def constant(self, values: Array) -> Float:
        """The part of the log-density that depends on data only, in nats; zero for most families.

        Args:
            values: Encoded values (B, F, *event).

        Returns:
            float64 array of the same shape.
        """
        return np.zeros(np.shape(values))

    @abstractmethod
    def ppf(self, params: Params, u: Array, spec: BlockSpec) -> Array:
        """Quantile function: the smallest encoded value whose cumulative probability is at least u.

        Args:
            params: Arrays with broadcastable leading dimensions.
            u: Probabilities strictly between 0 and 1, shape (..., F, *event).
            spec: The block.

        Returns:
            Encoded values (..., F, *event): float64, or int64 codes for categories.
        """

    @abstractmethod
    def mean(self, params: Params, spec: BlockSpec) -> Float:
        """Expectation in encoded units.

        Args:
            params: Arrays with broadcastable leading dimensions.
            spec: The block.

        Returns:
            float64 array (..., F, *event).

        Raises:
            QueryError: The family has no expectation.
        """

    def point(self, params: Params, spec: BlockSpec) -> Array:
        """Point prediction: the median, or the most probable code for categories.

        Args:
            params: Arrays with broadcastable leading dimensions.
            spec: The block.

        Returns:
            Encoded values (..., F, *event).
        """
        shape = np.broadcast_shapes(*(np.shape(params[name]) for name in self.params))
        return self.ppf(params, np.full(shape, 0.5), spec)


class Gaussian(Family):
    """Normal distribution with mean `loc` and standard deviation `scale`.

    Example:
        >>> spec = BlockSpec(name="n", kind="number", likelihood="gaussian", fields=("a",))
        >>> params = {"loc": np.array([[[1.0]]]), "scale": np.array([[[2.0]]])}
        >>> FAMILIES["gaussian"].ppf(params, np.array([[[0.5]]]), spec)
        array([[[1.]]])
    """

    name = "gaussian"
    kinds = ("number", "vector")
    params = ("loc", "scale")
    options: ClassVar[Mapping[str, tuple[str, ...] | type[float]]] = {
        "scale": ("fixed", "learned", "optimal"),
        "sigma": float,
    }

    def check(self, spec: BlockSpec) -> None:
        """As in `Family`, and `sigma` only where it has an effect."""
        super().check(spec)
        if "sigma" in spec.options and spec.options.get("scale") != "fixed":
            raise ConfigError(f"block {spec.name!r}: option 'sigma' needs scale='fixed'; without it, it has no effect")

    def ppf(self, params: Params, u: Array, spec: BlockSpec) -> Float:
        """``loc + scale Phi^-1(u)``."""
        from scipy.special import ndtri

        return _double(params["loc"]) + _double(params["scale"]) * _double(ndtri(_double(u)))

    def point(self, params: Params, spec: BlockSpec) -> Float:
        """The median, which is `loc`."""
        return _double(params["loc"])

    def mean(self, params: Params, spec: BlockSpec) -> Float:
        """The expectation, which is `loc`."""
        return _double(params["loc"])


class StudentT(Family):
    """Student's t with location, scale and `df` degrees of freedom (more than one), for heavy tails."""

    name = "student_t"
    kinds = ("number",)
    params = ("loc", "scale", "df")

    def ppf(self, params: Params, u: Array, spec: BlockSpec) -> Float:
        """``loc + scale t_df^-1(u)``."""
        from scipy.special import stdtrit

        return _double(params["loc"]) + _double(params["scale"]) * _double(stdtrit(_double(params["df"]), _double(u)))

    def point(self, params: Params, spec: BlockSpec) -> Float:
        """The median, which is `loc`."""
        return _double(params["loc"])

    def mean(self, params: Params, spec: BlockSpec) -> Float:
        """The expectation, which is `loc` since df is more than one."""
        return _double(params["loc"])


class Bernoulli(Family):
    """Two outcomes: P(1) = sigmoid(logits)."""

    name = "bernoulli"
    kinds = ("category", "vector")
    params = ("logits",)

    def check(self, spec: BlockSpec) -> None:
        """As in `Family`, and no category with more than two levels."""
        super().check(spec)
        if any(level > 2 for level in spec.levels):
            raise ConfigError(f"block {spec.name!r}: bernoulli has two levels; got fields with {max(spec.levels)}")

    def ppf(self, params: Params, u: Array, spec: BlockSpec) -> Array:
        """1 where u exceeds P(0)."""
        return (_double(u) > _sigmoid(-_double(params["logits"]))).astype(self._dtype(spec))

    def point(self, params: Params, spec: BlockSpec) -> Array:
        """1 where its probability is at least one half."""
        return (_double(params["logits"]) >= 0.0).astype(self._dtype(spec))

    def mean(self, params: Params, spec: BlockSpec) -> Float:
        """P(1)."""
        return _sigmoid(params["logits"])

    @staticmethod
    def _dtype(spec: BlockSpec) -> type[np.int64] | type[np.float64]:
        return np.int64 if spec.kind == "category" else np.float64


class Categorical(Family):
    """Unordered categories; `log_probs` (..., sum C) holds the fields of the block one after another.

    Example:
        >>> spec = BlockSpec(name="c", kind="category", likelihood="categorical", fields=("a", "b"), levels=(2, 3))
        >>> params = {"log_probs": np.log([0.9, 0.1, 0.2, 0.2, 0.6])}
        >>> FAMILIES["categorical"].ppf(params, np.array([0.95, 0.3]), spec)
        array([1, 1])
    """

    name = "categorical"
    kinds = ("category",)
    params = ("log_probs",)

    def ppf(self, params: Params, u: Array, spec: BlockSpec) -> Array:
        """Number of codes whose cumulative probability is below u; segments by one cumulative sum."""
        levels, offsets, segment = _segments(spec)
        probs = np.exp(_double(params["log_probs"]))
        total = np.add.reduceat(probs, offsets, axis=-1)
        before = np.cumsum(total, axis=-1) - total
        target = before + _double(u) * total  # shape: (..., F)
        below = np.cumsum(probs, axis=-1) < target[..., segment]
        codes = np.add.reduceat(below, offsets, axis=-1, dtype=np.int64)
        return np.asarray(np.minimum(codes, levels - 1))

    def point(self, params: Params, spec: BlockSpec) -> Array:
        """The most probable code of each field, the first of equals."""
        _, offsets, segment = _segments(spec)
        log_probs = _double(params["log_probs"])
        best = np.maximum.reduceat(log_probs, offsets, axis=-1)[..., segment]
        index = np.where(log_probs == best, np.arange(segment.size), segment.size)
        return np.asarray(np.minimum.reduceat(index, offsets, axis=-1) - offsets)

    def mean(self, params: Params, spec: BlockSpec) -> Float:
        """Not defined.

        Raises:
            QueryError: Always.
        """
        raise QueryError(f"block {spec.name!r}: unordered categories have no expectation; ask for point or draws")


def _segments(spec: BlockSpec) -> tuple[Array, Array, Array]:
    """Levels (F,), first position (F,) and field number of each position (sum C,)."""
    levels = np.asarray(spec.levels, dtype=np.int64)
    return levels, np.cumsum(levels) - levels, np.repeat(np.arange(levels.size), levels)


class Ordinal(Family):
    """Ordered categories by cumulative logits: ``P(code < c) = sigmoid(cut[c] - location)``.

    `cutpoints` (..., F, Cmax + 1) start at -1e4 and are padded with +1e4 from the number of levels on.

    References:
        McCullagh, Regression models for ordinal data, 1980, section 2.
    """

    name = "ordinal"
    kinds = ("category",)
    params = ("location", "cutpoints")

    def ppf(self, params: Params, u: Array, spec: BlockSpec) -> Array:
        """Number of inner cutpoints whose cumulative probability is below u."""
        return np.asarray(np.sum(_double(u)[..., None] > self._cumulative(params), axis=-1, dtype=np.int64))

    def point(self, params: Params, spec: BlockSpec) -> Array:
        """The most probable code, the first of equals."""
        inner = self._cumulative(params)
        return np.asarray(np.argmax(np.diff(inner, axis=-1, prepend=0.0, append=1.0), axis=-1))

    def mean(self, params: Params, spec: BlockSpec) -> Float:
        """The expected code, the sum of P(code >= c) over c >= 1."""
        return _double(np.sum(1.0 - self._cumulative(params), axis=-1))

    @staticmethod
    def _cumulative(params: Params) -> Float:
        """P(code < c) for c = 1 ... Cmax - 1, shape (..., F, Cmax - 1)."""
        return _sigmoid(_double(params["cutpoints"])[..., 1:-1] - _double(params["location"])[..., None])


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
            >>> FAMILIES["poisson"].constant(np.array([0.0, 1.0]))
            array([ 0., -1.])
        """
        from scipy.special import gammaln

        x = _double(values)
        large = x > 15.0
        r = 1.0 / np.where(large, x, 16.0)
        series = r * (1 / 12 - r**2 * (1 / 360 - r**2 * (1 / 1260 - r**2 * (1 / 1680 - r**2 / 1188))))
        exact = -series - 0.5 * np.log(2.0 * np.pi / r)
        small = np.where(large | (x == 0.0), 1.0, x)
        direct = small * np.log(small) - small - gammaln(small + 1.0)
        return np.where(x == 0.0, 0.0, np.where(large, exact, direct))


class Poisson(Counts):
    """Poisson distribution with mean `rate`."""

    name = "poisson"
    params = ("rate",)

    def ppf(self, params: Params, u: Array, spec: BlockSpec) -> Float:
        """Poisson quantile."""
        from scipy.stats import poisson

        return np.maximum(_double(poisson.ppf(_double(u), _double(params["rate"]))), 0.0)

    def mean(self, params: Params, spec: BlockSpec) -> Float:
        """The rate."""
        return _double(params["rate"])


class NegativeBinomial(Counts):
    """Negative binomial with mean m and dispersion r: variance ``m + m^2 / r``."""

    name = "negative_binomial"
    params = ("mean", "dispersion")

    def ppf(self, params: Params, u: Array, spec: BlockSpec) -> Float:
        """Negative binomial quantile."""
        from scipy.stats import nbinom

        mean, dispersion = _double(params["mean"]), _double(params["dispersion"])
        return np.maximum(_double(nbinom.ppf(_double(u), dispersion, dispersion / (dispersion + mean))), 0.0)

    def mean(self, params: Params, spec: BlockSpec) -> Float:
        """The mean m."""
        return _double(params["mean"])


class ZeroInflated(Counts):
    """A count that is zero with probability sigmoid(zero_logits), and otherwise follows the family it is built on."""

    base: ClassVar[Family]

    def ppf(self, params: Params, u: Array, spec: BlockSpec) -> Array:
        """Quantile of the base at ``(u - pi) / (1 - pi)``; 0 where u is at most the zero inflation pi."""
        # 1 - (1 - u) / (1 - pi) keeps digits where pi is close to one
        rest = 1.0 - (1.0 - _double(u)) / _sigmoid(-_double(params["zero_logits"]))
        drawn = self.base.ppf(params, np.where(rest > 0.0, rest, 0.5), spec)
        return np.where(rest > 0.0, drawn, 0.0)

    def mean(self, params: Params, spec: BlockSpec) -> Float:
        """``(1 - pi)`` times the mean of the base."""
        return _sigmoid(-_double(params["zero_logits"])) * self.base.mean(params, spec)


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


FAMILIES: dict[str, Family] = {
    entry.name: entry
    for entry in (
        Gaussian(),
        StudentT(),
        Bernoulli(),
        Categorical(),
        Ordinal(),
        Poisson(),
        NegativeBinomial(),
        ZeroInflatedPoisson(),
        ZeroInflatedNegativeBinomial(),
    )
}


def family(spec: BlockSpec) -> Family:
    """The family of a block, checked against it.

    Args:
        spec: The block.

    Returns:
        The entry of `FAMILIES`.

    Raises:
        ConfigError: There is no such family, or it cannot model the block with these options.

    Example:
        >>> family(BlockSpec(name="n", kind="number", likelihood="gaussian", fields=("a",))).params
        ('loc', 'scale')
    """
    if spec.likelihood not in FAMILIES:
        choice = ", ".join(FAMILIES)
        raise ConfigError(f"block {spec.name!r}: expected a likelihood of {choice}; got {spec.likelihood!r}")
    found = FAMILIES[spec.likelihood]
    found.check(spec)
    return found
