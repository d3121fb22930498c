"""Mixture likelihood: numbers with several modes."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vaekit.arrays import BlockSpec
from vaekit.fields.families.continuous import Mixture as Family
from vaekit.nn.likelihoods.base import Likelihood, Params, floor_of
from vaekit.nn.likelihoods.gaussian import CEILING
from vaekit.nn.special import HALF_LOG_2PI, log_cell_normal, soft_bound

__all__ = ["Mixture"]

WEIGHT_BOUND = 8.0  # logits of the weights: no component is ever lost beyond return


class Mixture(Likelihood):
    """``p(y) = sum_c w_c N(y; loc_c, scale_c^2)``, all from the decoder; a rounded reading has the mass of its cell.

    Components start apart, at the quantiles of a standard normal, each as wide as their distance: the encoded column
    itself. Option ``components``: their number C, 5 by default.

    Args:
        spec: A block of numbers.
        width: Width H of the decoder's hidden vector.

    Raises:
        ConfigError: An option is unknown.

    References:
        Bishop, Mixture density networks, 1994, eq. 5.

    Example:
        >>> spec = BlockSpec(name="n", kind="number", likelihood="mixture", fields=("a", "b"))
        >>> Mixture(spec, 4)(torch.zeros(1, 3, 4))["locs"].shape
        torch.Size([1, 3, 2, 5])
    """

    low: Tensor
    high: Tensor
    start: Tensor

    order = 0  # cells have a closed form

    def __init__(self, spec: BlockSpec, width: int) -> None:
        super().__init__(spec, width)
        self.components = Family.components(spec)
        floor = floor_of(spec, 1 / 3)[:, None]  # shape: (F, 1)
        self.register_buffer("low", floor.log(), persistent=False)
        self.register_buffer("high", torch.clamp(10.0 * floor, min=CEILING).log(), persistent=False)
        share = (torch.arange(self.components, dtype=torch.float64) + 0.5) / self.components
        self.register_buffer("start", torch.special.ndtri(share).float(), persistent=False)

    @classmethod
    def outputs(cls, spec: BlockSpec) -> int:
        """Weight, location and scale of each component."""
        return 3 * spec.width * Family.components(spec)

    def domain(self, raw: Tensor) -> dict[str, Tensor]:
        """`log_weights` (K, B, F, C), normalised; `locs`; `scales` between the field's floor and 100."""
        weight, loc, scale = (
            part.unflatten(-1, (len(self.spec.fields), self.components)) for part in raw.chunk(3, dim=-1)
        )
        weight = soft_bound(weight, -WEIGHT_BOUND, WEIGHT_BOUND)
        return {
            "log_weights": weight - torch.logsumexp(weight, dim=-1, keepdim=True),
            "locs": loc + self.start.to(loc.dtype),
            "scales": torch.exp(soft_bound(scale - math.log(self.components) / 2, self.low, self.high)),
        }

    def log_density(self, params: Params, values: Tensor) -> Tensor:
        """``log sum_c exp(log w_c - z_c^2 / 2 - log scale_c) - log(2 pi) / 2``."""
        z = (values[..., None] - params["locs"]) / params["scales"]
        return self._mixed(params, -0.5 * z * z - HALF_LOG_2PI)

    def log_prob(self, params: Params, values: Tensor, half: Tensor | None = None) -> Tensor:
        """Log-density, or the exact log-mass of the cell per unit width; arguments as in `Likelihood.log_prob`."""
        if half is None or not self.cells:
            return self.log_density(params, values)
        scales = params["scales"]
        z = (values[..., None] - params["locs"]) / scales
        return self._mixed(params, log_cell_normal(z, half[..., None] / scales))

    def _mixed(self, params: Params, log_standard: Tensor) -> Tensor:
        return torch.logsumexp(params["log_weights"] - torch.log(params["scales"]) + log_standard, dim=-1)
