"""Families of real values: Gaussian and Student-t."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from vaekit.arrays import Array, BlockSpec
from vaekit.errors import ConfigError
from vaekit.fields.families.base import Family, Float, Params, double

__all__ = ["Gaussian", "StudentT"]


class Gaussian(Family):
    """Normal distribution with mean `loc` and standard deviation `scale`.

    Example:
        >>> spec = BlockSpec(name="n", kind="number", likelihood="gaussian", fields=("a",))
        >>> import numpy as np
        >>> params = {"loc": np.array([[[1.0]]]), "scale": np.array([[[2.0]]])}
        >>> Gaussian().ppf(params, np.array([[[0.5]]]), spec)
        array([[[1.]]])
    """

    name = "gaussian"
    kinds = ("number", "vector", "datetime")
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

        return double(params["loc"]) + double(params["scale"]) * double(ndtri(double(u)))

    def point(self, params: Params, spec: BlockSpec) -> Float:
        """The median, which is `loc`."""
        return double(params["loc"])

    def mean(self, params: Params, spec: BlockSpec) -> Float:
        """The expectation, which is `loc`."""
        return double(params["loc"])


class StudentT(Family):
    """Student's t with location, scale and `df` degrees of freedom (more than one), for heavy tails."""

    name = "student_t"
    kinds = ("number", "datetime")
    params = ("loc", "scale", "df")

    def ppf(self, params: Params, u: Array, spec: BlockSpec) -> Float:
        """``loc + scale t_df^-1(u)``."""
        from scipy.special import stdtrit

        return double(params["loc"]) + double(params["scale"]) * double(stdtrit(double(params["df"]), double(u)))

    def point(self, params: Params, spec: BlockSpec) -> Float:
        """The median, which is `loc`."""
        return double(params["loc"])

    def mean(self, params: Params, spec: BlockSpec) -> Float:
        """The expectation, which is `loc` since df is more than one."""
        return double(params["loc"])
