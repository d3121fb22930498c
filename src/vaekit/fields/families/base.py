"""What a likelihood is without its network."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from vaekit.arrays import Array, BlockSpec
from vaekit.errors import ConfigError

__all__ = ["Components", "Family", "Float", "Params", "double", "sigmoid"]

Params = Mapping[str, Array]
Float = NDArray[np.float64]
_COMPONENTS, _MOST = 5, 64  # of a mixture, if nothing is said, and at most


def double(array: Array) -> Float:
    """An array in double precision."""
    return np.asarray(array, dtype=np.float64)


def sigmoid(x: Array) -> Float:
    """``1 / (1 + exp(-x))`` in double precision."""
    from scipy.special import expit

    return double(expit(double(x)))


class Family(ABC):
    """What a likelihood is without its network: names, options, constant, quantiles.

    Attributes:
        name: Name in `FAMILIES`, in contracts and in block names.
        kinds: Field kinds that it can model.
        params: Names of the arrays that describe it.
        options: Option name to its allowed values, or to `float` for any positive number.
        transforms: Transforms of numbers that it goes with, the one that it gets by default first.
        robust: Whether its ``standard`` transform goes by median and quartiles in place of mean and deviation.
    """

    name: ClassVar[str]
    kinds: ClassVar[tuple[str, ...]]
    params: ClassVar[tuple[str, ...]]
    options: ClassVar[Mapping[str, tuple[str, ...] | type[float]]] = {}
    transforms: ClassVar[tuple[str, ...]] = ("quantile", "standard")
    robust: ClassVar[bool] = False

    def check(self, spec: BlockSpec) -> None:
        """Refuse a block that this family cannot model, and options that it does not know.

        Args:
            spec: The block.

        Raises:
            ConfigError: The kind does not fit, an option is unknown, or its value is not allowed.

        Example:
            >>> from vaekit.fields.families import FAMILIES
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


class Components(Family):
    """A mixture of M components, whose number is an option.

    Attributes:
        least: Fewest components.
    """

    options: ClassVar[Mapping[str, tuple[str, ...] | type[float]]] = {"components": float}
    least: ClassVar[int] = 2

    def check(self, spec: BlockSpec) -> None:
        """As in `Family`, and a whole number of components up to 64."""
        super().check(spec)
        count = spec.options.get("components", _COMPONENTS)
        if count != int(count) or not self.least <= int(count) <= _MOST:
            raise ConfigError(
                f"block {spec.name!r}: option 'components' is a whole number from {self.least} to {_MOST}; "
                f"got {count!r}"
            )

    @staticmethod
    def components(spec: BlockSpec) -> int:
        """Number of components M of a block."""
        return int(spec.options.get("components", _COMPONENTS))
