"""Student's t likelihood: numbers with heavy tails."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vaekit.arrays import BlockSpec
from vaekit.nn.likelihoods.base import Likelihood, Params, floor_of
from vaekit.nn.likelihoods.gaussian import CEILING
from vaekit.nn.special import HALF_LOG_2PI, deviance, soft_bound, stirling_error

__all__ = ["StudentT"]

DF = (2.0, 100.0)  # tails as heavy as 2 keep the mean and a smooth cell; beyond 100 it is a normal


class StudentT(Likelihood):
    """``(y - loc) / scale ~ t(df)``, all three from the decoder per row and field.

    The saddle-point form of the normaliser: with n = df, ``-D(n/2, (n+1)/2) + s((n+1)/2) - s(n/2)`` where D is half the
    Poisson deviance and s the Stirling error; no differences of lgamma. Cells are integrated by quadrature.

    Args:
        spec: A block of numbers.
        width: Width H of the decoder's hidden vector.

    Raises:
        ConfigError: An option is unknown.

    References:
        Loader, Fast and accurate computation of binomial probabilities, 2000, section 6.

    Example:
        >>> spec = BlockSpec(name="n", kind="number", likelihood="student_t", fields=("a",))
        >>> sorted(StudentT(spec, 4)(torch.zeros(1, 3, 4)))
        ['df', 'loc', 'scale']
    """

    low: Tensor
    high: Tensor

    order = 12

    def __init__(self, spec: BlockSpec, width: int) -> None:
        super().__init__(spec, width)
        floor = floor_of(spec, 1 / 2)
        self.register_buffer("low", floor.log(), persistent=False)
        self.register_buffer("high", torch.clamp(10.0 * floor, min=CEILING).log(), persistent=False)

    def domain(self, raw: Tensor) -> dict[str, Tensor]:
        """`loc`, `scale` between the field's floor and 100, `df` between 2 and 100 (10 to begin with)."""
        loc, scale, df = self.split(raw, 3)
        return {
            "loc": loc,
            "scale": torch.exp(soft_bound(scale, self.low, self.high)),
            "df": torch.exp(soft_bound(df + math.log(10.0), *map(math.log, DF))),
        }

    def log_density(self, params: Params, values: Tensor) -> Tensor:
        """Log-density of the scaled and shifted t distribution."""
        scale, n = params["scale"], params["df"]
        z = (values - params["loc"]) / scale
        more = torch.log1p(z * z / n)  # |values| and floor keep z^2 far inside float32
        low, high = 0.5 * n, 0.5 * (n + 1.0)
        above, below = stirling_error(torch.stack([high, low])).unbind()
        normaliser = above - below - deviance(low, high, torch.full_like(n, -0.5))
        return normaliser - 0.5 * (n + 1.0) * more - HALF_LOG_2PI - torch.log(scale)
