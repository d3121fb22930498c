"""Families of codes: Bernoulli, categorical and ordinal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from vaekit.arrays import Array, BlockSpec
from vaekit.errors import ConfigError, QueryError
from vaekit.fields.families.base import Family, Float, Params, double, sigmoid

__all__ = ["Bernoulli", "Categorical", "Ordinal"]

_CELLS = 2**16  # probabilities worked on at a time: 512 KiB stay in the cache


class Bernoulli(Family):
    """Two outcomes: P(1) = sigmoid(logits)."""

    name = "bernoulli"
    kinds = ("category", "vector", "image")
    params = ("logits",)
    options: ClassVar[Mapping[str, tuple[str, ...] | type[float]]] = {"binarise": ("stochastic", "threshold")}

    def check(self, spec: BlockSpec) -> None:
        """As in `Family`, no category with more than two levels, and bits are made of images only."""
        super().check(spec)
        if "binarise" in spec.options and spec.kind != "image":
            raise ConfigError(f"block {spec.name!r}: option 'binarise' makes bits of images; a {spec.kind} has none")
        if any(level > 2 for level in spec.levels):
            raise ConfigError(f"block {spec.name!r}: bernoulli has two levels; got fields with {max(spec.levels)}")

    def ppf(self, params: Params, u: Array, spec: BlockSpec) -> Array:
        """1 where u exceeds P(0)."""
        return (double(u) > sigmoid(-double(params["logits"]))).astype(self._dtype(spec))

    def point(self, params: Params, spec: BlockSpec) -> Array:
        """1 where its probability is at least one half."""
        return (double(params["logits"]) >= 0.0).astype(self._dtype(spec))

    def mean(self, params: Params, spec: BlockSpec) -> Float:
        """P(1)."""
        return sigmoid(params["logits"])

    @staticmethod
    def _dtype(spec: BlockSpec) -> type[np.int64] | type[np.float64]:
        return np.int64 if spec.kind == "category" else np.float64


class Categorical(Family):
    """Unordered categories; `log_probs` (..., sum C) holds the fields of the block one after another.

    Example:
        >>> spec = BlockSpec(name="c", kind="category", likelihood="categorical", fields=("a", "b"), levels=(2, 3))
        >>> params = {"log_probs": np.log([0.9, 0.1, 0.2, 0.2, 0.6])}
        >>> Categorical().ppf(params, np.array([0.95, 0.3]), spec)
        array([1, 1])
    """

    name = "categorical"
    kinds = ("category",)
    params = ("log_probs",)

    def ppf(self, params: Params, u: Array, spec: BlockSpec) -> Array:
        """Number of codes whose cumulative probability is below u."""
        levels, offsets, segment = _segments(spec)
        lead = np.broadcast_shapes(np.shape(params["log_probs"])[:-1], np.shape(u)[:-1])
        log_probs = np.broadcast_to(params["log_probs"], (*lead, segment.size)).reshape(-1, segment.size)
        uniform = np.broadcast_to(double(u), (*lead, levels.size)).reshape(-1, levels.size)
        codes = np.empty(uniform.shape, np.int64)
        step = max(1, _CELLS // segment.size)
        for start in range(0, len(codes), step):
            rows = slice(start, start + step)
            below = np.exp(np.ascontiguousarray(log_probs[rows].T)).astype(np.float64)  # one row per level
            for level in range(1, len(below)):  # cumulative sums; cumsum along this axis takes six times as long
                below[level] += below[level - 1]
            ends = below[offsets + levels - 1]
            starts = np.concatenate([np.zeros_like(ends[:1]), ends[:-1]])
            target = starts + uniform[rows].T * (ends - starts)  # shape: (F, rows)
            under = (below < target[segment]).view(np.uint8)
            codes[rows] = np.add.reduceat(under, offsets, axis=0, dtype=np.int64).T
        drawn: Array = np.minimum(codes, levels - 1).reshape(*lead, levels.size)
        return drawn

    def point(self, params: Params, spec: BlockSpec) -> Array:
        """The most probable code of each field, the first of equals."""
        _, offsets, segment = _segments(spec)
        log_probs = double(params["log_probs"])
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
        return np.asarray(np.sum(double(u)[..., None] > self._cumulative(params), axis=-1, dtype=np.int64))

    def point(self, params: Params, spec: BlockSpec) -> Array:
        """The most probable code, the first of equals."""
        inner = self._cumulative(params)
        return np.asarray(np.argmax(np.diff(inner, axis=-1, prepend=0.0, append=1.0), axis=-1))

    def mean(self, params: Params, spec: BlockSpec) -> Float:
        """The expected code, the sum of P(code >= c) over c >= 1."""
        return double(np.sum(1.0 - self._cumulative(params), axis=-1))

    @staticmethod
    def _cumulative(params: Params) -> Float:
        """P(code < c) for c = 1 ... Cmax - 1, shape (..., F, Cmax - 1)."""
        return sigmoid(double(params["cutpoints"])[..., 1:-1] - double(params["location"])[..., None])
