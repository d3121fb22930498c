"""Calendar likelihood: points in time as a week, a day of the week and a time of the day."""

from __future__ import annotations

import torch
from torch import Tensor

from vaekit.arrays import BlockSpec
from vaekit.fields.families.calendar import DAYS
from vaekit.nn.likelihoods.base import Likelihood, Params
from vaekit.nn.likelihoods.gaussian import CEILING
from vaekit.nn.special import log_cell_normal, soft_bound

__all__ = ["Calendar"]

_COMPONENTS = 5


class Calendar(Likelihood):
    """``p(week) p(day) p(clock)``: a normal over weeks, seven probabilities, and a mixture of normals over the day.

    Args:
        spec: A block of datetimes with event (3,), or (2,) where nothing is said of the clock.
        width: Width H of the decoder's hidden vector.

    Example:
        >>> spec = BlockSpec(name="t", kind="datetime", likelihood="calendar", fields=("a",), event=(3,))
        >>> Calendar(spec, 4)(torch.zeros(1, 3, 4))["day_log_probs"].shape
        torch.Size([1, 3, 1, 7])
    """

    low: Tensor
    high: Tensor

    order = 0  # cells have a closed form

    def __init__(self, spec: BlockSpec, width: int) -> None:
        super().__init__(spec, width)
        fields = len(spec.fields)
        cell = torch.tensor(spec.cell or (0.0,) * (2 * fields)).reshape(2, fields)  # of weeks, and of the clock
        floor = torch.clamp(cell / 3, min=1e-3)
        self.register_buffer("low", floor.log(), persistent=False)
        self.register_buffer("high", torch.clamp(10.0 * floor, min=CEILING).log(), persistent=False)
        with torch.no_grad():  # components begin apart
            start = self.head.bias.unflatten(0, (fields, -1))[:, 2 + DAYS :].unflatten(-1, (3, _COMPONENTS))
            start[:, 1] += torch.linspace(-1.5, 1.5, _COMPONENTS)

    @classmethod
    def outputs(cls, spec: BlockSpec) -> int:
        """Two for the week, one for each day, three for each component of the clock."""
        return len(spec.fields) * (2 + DAYS + 3 * _COMPONENTS)

    def domain(self, raw: Tensor) -> dict[str, Tensor]:
        """Locations, scales between the field's floor and 100, normalised log-probabilities."""
        week, day, clock = raw.unflatten(-1, (len(self.spec.fields), -1)).split([2, DAYS, 3 * _COMPONENTS], dim=-1)
        weights, loc, scale = clock.unflatten(-1, (3, _COMPONENTS)).unbind(-2)
        return {
            "week_loc": week[..., 0],
            "week_scale": torch.exp(soft_bound(week[..., 1], self.low[0], self.high[0])),
            "day_log_probs": torch.log_softmax(day, dim=-1),
            "clock_log_weights": torch.log_softmax(weights, dim=-1),
            "clock_locs": loc,
            "clock_scales": torch.exp(soft_bound(scale, self.low[1, :, None], self.high[1, :, None])),
        }

    def log_density(self, params: Params, values: Tensor) -> Tensor:
        """Log-density at points, part by part."""
        return self.log_prob(params, values, torch.zeros_like(values))

    def log_prob(self, params: Params, values: Tensor, half: Tensor | None = None) -> Tensor:
        """Log-mass of the week's cell, of the day, and of the clock's cell per unit width.

        Args:
            params: What `forward` returned, leading dimensions (K, B) or (1, 1).
            values: Encoded values (B, F, 2 or 3).
            half: Half widths of the cells, the same shape.

        Returns:
            Nats (K, B, F, 2 or 3).
        """
        half = torch.zeros_like(values) if half is None else half
        scale = params["week_scale"]
        week = log_cell_normal((values[..., 0] - params["week_loc"]) / scale, half[..., 0] / scale) - torch.log(scale)
        days = torch.arange(DAYS, device=values.device, dtype=values.dtype)
        day = (params["day_log_probs"] * (values[..., 1, None] == days).to(values.dtype)).sum(-1)
        parts = [week, day]
        if self.spec.event == (3,):
            scale = params["clock_scales"]
            z = (values[..., 2, None] - params["clock_locs"]) / scale
            each = log_cell_normal(z, half[..., 2, None] / scale) - torch.log(scale)
            parts.append(torch.logsumexp(params["clock_log_weights"] + each, dim=-1))
        return torch.stack(parts, dim=-1)
