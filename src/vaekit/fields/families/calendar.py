"""The family of points in time: a week, a day of the week, and a time of the day."""

from __future__ import annotations

import numpy as np

from vaekit.arrays import Array, BlockSpec
from vaekit.fields.families.base import Family, Float, Params, double
from vaekit.fields.families.continuous import Mixture

__all__ = ["DAYS", "Calendar"]

DAYS = 7


class Calendar(Family):
    """``p(week) p(day of the week) p(clock)``: a normal, seven probabilities, and a mixture of normals.

    Encoded values (..., F, 3) are the week and the clock in encoded units, with the number of the day between them;
    (..., F, 2) without a clock. `day_log_probs` (..., F, 7); `clock_log_weights`, `clock_locs` and `clock_scales`
    (..., F, C), C components.
    """

    name = "calendar"
    kinds = ("datetime",)
    params = ("week_loc", "week_scale", "day_log_probs", "clock_log_weights", "clock_locs", "clock_scales")

    def ppf(self, params: Params, u: Array, spec: BlockSpec) -> Float:
        """The quantile function of each part."""
        from scipy.special import ndtri

        u = double(u)
        week = double(params["week_loc"]) + double(params["week_scale"]) * double(ndtri(u[..., 0]))
        below = np.cumsum(np.exp(double(params["day_log_probs"])), axis=-1)
        day = np.minimum((u[..., 1, None] * below[..., -1:] > below).sum(-1), DAYS - 1)
        parts = [week, day.astype(np.float64)]
        if u.shape[-1] > len(parts):
            parts.append(Mixture().ppf(_clock(params), u[..., 2], spec))
        return np.stack(np.broadcast_arrays(*parts), axis=-1)

    def point(self, params: Params, spec: BlockSpec) -> Float:
        """The median of the week, the most probable day, the median of the clock."""
        half = np.full((*np.shape(params["week_loc"]), *spec.event), 0.5)
        point = self.ppf(params, half, spec)
        point[..., 1] = np.argmax(params["day_log_probs"], axis=-1)
        return point

    def mean(self, params: Params, spec: BlockSpec) -> Float:
        """The expectation of the week and of the clock, and of the number of the day."""
        days = np.exp(double(params["day_log_probs"])) @ np.arange(DAYS)
        parts = [double(params["week_loc"]), days]
        if spec.event[0] > len(parts):
            parts.append(Mixture().mean(_clock(params), spec))
        return np.stack(parts, axis=-1)


def _clock(params: Params) -> Params:
    """The mixture over the time of the day."""
    return {name: params[f"clock_{name}"] for name in Mixture.params}
