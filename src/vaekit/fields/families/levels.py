"""Families over the 256 levels of an image: mixtures of discretised logistics, and discretised normals.

Levels are seen on a scale from -1 (black) to 1 (white), on which a level is a cell of width 2/255. The cells at both
ends take the tails, so the masses of all levels add up to one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from vaekit.arrays import Array, BlockSpec
from vaekit.errors import ConfigError
from vaekit.fields.families.base import Components, Family, Float, Params, double, sigmoid

__all__ = ["HALF", "SCALE", "DiscretisedGaussian", "LogisticMixture"]

SCALE = 127.5
"""Levels per unit of the scale."""
HALF = 0.5 / SCALE
_CELLS = 2**20  # values worked on at a time


class DiscretisedGaussian(Family):
    """Each pixel and channel ``N(loc, scale^2)`` on the scale from -1 to 1, cut into levels.

    Example:
        >>> spec = BlockSpec(name="x", kind="image", likelihood="discretised_gaussian", fields=("x",), event=(1, 1, 1))
        >>> one = np.zeros((1, 1, 1, 1, 1))
        >>> DiscretisedGaussian().ppf({"loc": one, "scale": one + 0.1}, one + 0.5, spec).ravel()
        array([127.])
    """

    name = "discretised_gaussian"
    kinds = ("image",)
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
        """The level in whose cell ``loc + scale Phi^-1(u)`` lies."""
        from scipy.special import ndtri

        at = double(params["loc"]) + double(params["scale"]) * ndtri(double(u))
        return double(np.clip(np.ceil((at + 1.0) * SCALE - 0.5), 0, 255))

    def point(self, params: Params, spec: BlockSpec) -> Float:
        """The median: the level in whose cell `loc` lies."""
        return double(np.clip(np.ceil((double(params["loc"]) + 1.0) * SCALE - 0.5), 0, 255))

    def mean(self, params: Params, spec: BlockSpec) -> Float:
        """Mean in levels, up to rounding: of the normal cut at black and white."""
        from scipy.special import ndtr

        loc, scale = double(params["loc"]), double(params["scale"])
        low, high = (-1.0 - loc) / scale, (1.0 - loc) / scale
        density = (np.exp(-0.5 * low**2) - np.exp(-0.5 * high**2)) / np.sqrt(2.0 * np.pi)
        mean = loc * (ndtr(high) - ndtr(low)) + scale * density - ndtr(low) + ndtr(-high)
        return double((mean + 1.0) * SCALE)


class LogisticMixture(Components):
    """Mixture of M discretised logistics per pixel; in colours, green leans on red, and blue on both.

    Parameters: `log_weights` (..., F, H, W, M), `locs`, `scales` and `leans` (..., F, H, W, C, M). With all three
    colours the locations of green and blue move by ``leans[0] r`` and ``leans[1] r + leans[2] g``.

    References:
        Salimans et al., PixelCNN++, 2017, eq. 2 and 3.
    """

    name = "logistic_mixture"
    kinds = ("image",)
    params = ("log_weights", "locs", "scales", "leans")
    least = 1

    def ppf(self, params: Params, u: Array, spec: BlockSpec) -> Float:
        """Channel after channel, the smallest level whose probability, given the channels before, is at least u."""
        u = double(u)
        pixel, parts = u.shape[-1:], self.components(spec)
        lead = np.broadcast_shapes(u.shape[:-1], params["log_weights"].shape[:-1])
        flat_u = np.broadcast_to(u, (*lead, *pixel)).reshape(-1, pixel[0])
        weights = np.broadcast_to(params["log_weights"], (*lead, parts)).reshape(-1, parts)
        rest = {
            name: np.broadcast_to(params[name], (*lead, *pixel, parts)).reshape(-1, pixel[0], parts)
            for name in ("locs", "scales", "leans")
        }
        drawn = np.empty(flat_u.shape)
        step = max(1, _CELLS // (pixel[0] * parts))
        for start in range(0, len(drawn), step):
            some = slice(start, start + step)
            drawn[some] = _levels(weights[some], {name: value[some] for name, value in rest.items()}, flat_u[some])
        return drawn.reshape(*lead, *pixel)

    def point(self, params: Params, spec: BlockSpec) -> Float:
        """The median of each channel, given those of the channels before."""
        return self.ppf(params, np.full(np.shape(params["locs"])[:-1], 0.5), spec)

    def mean(self, params: Params, spec: BlockSpec) -> Float:
        """Weighted mean of the components' means in levels, up to rounding; channels lean on the means before them.

        A component, cut at black and white, has the mean ``s softplus((l + 1) / s) - s softplus((l - 1) / s) - 1``.
        """
        weights = np.exp(double(params["log_weights"]))
        leans, means = double(params["leans"]), list[Float]()
        for channel in range(np.shape(params["locs"])[-2]):
            loc, scale = double(params["locs"])[..., channel, :], double(params["scales"])[..., channel, :]
            first = channel * (channel - 1) // 2
            for before, mean in enumerate(means):
                loc = loc + leans[..., first + before, :] * mean
            upper, lower = (scale * np.logaddexp(0.0, (loc - end) / scale) for end in (-1.0, 1.0))
            means.append(upper - lower - 1.0)
        mean = (weights[..., None, :] * np.stack(means, -2)).sum(-1) / weights.sum(-1)[..., None]
        return double((mean + 1.0) * SCALE)


def _levels(log_weights: Array, params: Params, u: Float) -> Float:
    """Levels (N, C) of some pixels; each channel's cumulative masses are inverted by bisection."""
    shares = np.exp(double(log_weights))
    shares = shares / shares.sum(-1, keepdims=True)  # shape: (N, M)
    found = np.empty_like(u)
    seen: list[Float] = []
    for channel in range(u.shape[1]):
        loc, scale = double(params["locs"][:, channel]), double(params["scales"][:, channel])
        leans = double(params["leans"])
        first = channel * (channel - 1) // 2
        for before, value in enumerate(seen):
            loc = loc + leans[:, first + before] * value[:, None]
        low, high = np.full(len(u), -1.0), np.full(len(u), 255.0)
        for _ in range(8):
            middle = np.floor((low + high) / 2)
            enough = (shares * _below(middle[:, None], loc, scale)).sum(-1) >= u[:, channel]
            low, high = np.where(enough, low, middle), np.where(enough, middle, high)
        found[:, channel] = high
        seen.append(high / SCALE - 1.0)
        mass = _below(high[:, None], loc, scale) - _below(high[:, None] - 1.0, loc, scale)
        shares = shares * np.maximum(mass, 1e-300)
        shares = shares / shares.sum(-1, keepdims=True)
    return found


def _below(level: Float, loc: Float, scale: Float) -> Float:
    """Probability of a level or a lower one."""
    inside = sigmoid((level / SCALE - 1.0 + HALF - loc) / scale)
    return double(np.where(level < 0, 0.0, np.where(level >= 255, 1.0, inside)))
