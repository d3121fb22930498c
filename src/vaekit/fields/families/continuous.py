"""Families of real values: Gaussian, Student-t and mixtures of Gaussians."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from vaekit.arrays import Array, BlockSpec
from vaekit.errors import ConfigError
from vaekit.fields.families.base import Components, Family, Float, Params, double

__all__ = ["Gaussian", "Mixture", "StudentT"]

_HALVINGS = 64  # of the bracket of a quantile: to the last digit


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
        "scale": ("fixed", "learned", "optimal", "shared"),
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
    transforms = ("standard",)  # a quantile map would take away the tails that it is for
    robust = True

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


class Mixture(Components):
    """Mixture of C normal distributions, for several modes; parameters have shape (..., F, C).

    Example:
        >>> spec = BlockSpec(name="n", kind="number", likelihood="mixture", fields=("a",), options={"components": 2})
        >>> params = {"log_weights": np.log([[[[0.5, 0.5]]]]), "locs": np.array([[[[-3.0, 3.0]]]])}
        >>> Mixture().ppf(params | {"scales": np.ones((1, 1, 1, 2))}, np.array([[[0.25]]]), spec).round(2)
        array([[[-3.]]])
    """

    name = "mixture"
    kinds = ("number", "datetime")
    params = ("log_weights", "locs", "scales")

    def ppf(self, params: Params, u: Array, spec: BlockSpec) -> Float:
        """The root of ``sum_c w_c Phi((x - loc_c) / scale_c) = u``, bisected between the components' own quantiles."""
        from scipy.special import ndtr, ndtri

        weights = np.exp(double(params["log_weights"]))
        weights = weights / weights.sum(-1, keepdims=True)  # single precision leaves them short of one
        locs, scales, u = double(params["locs"]), double(params["scales"]), double(u)
        ends = locs + scales * ndtri(u)[..., None]
        low, high = ends.min(-1), ends.max(-1)
        for _ in range(_HALVINGS):
            middle = 0.5 * (low + high)
            above = (weights * ndtr((middle[..., None] - locs) / scales)).sum(-1) >= u
            low, high = np.where(above, low, middle), np.where(above, middle, high)
        return double(high)

    def point(self, params: Params, spec: BlockSpec) -> Float:
        """The median."""
        return self.ppf(params, np.full(np.shape(params["locs"])[:-1], 0.5), spec)

    def mean(self, params: Params, spec: BlockSpec) -> Float:
        """``sum_c w_c loc_c``."""
        weights = np.exp(double(params["log_weights"]))
        return double((weights * double(params["locs"])).sum(-1) / weights.sum(-1))
