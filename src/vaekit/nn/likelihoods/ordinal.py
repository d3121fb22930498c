"""Ordinal likelihood: ordered categories by cumulative logits."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vaekit.arrays import BlockSpec
from vaekit.nn.likelihoods.base import Likelihood, Params
from vaekit.nn.likelihoods.bernoulli import LOGIT_BOUND
from vaekit.nn.special import log_sigmoid_interval, soft_bound, softplus

__all__ = ["Ordinal"]

FAR = 1e4  # stands for infinity
GAP = 1e-3  # smallest distance between neighbouring cutpoints


class Ordinal(Likelihood):
    """``P(y = c) = sigmoid(cut[c+1] - location) - sigmoid(cut[c] - location)``.

    One location per row and field from the decoder; cutpoints are parameters of the field, increasing by construction
    (a first one and positive gaps), and begin at the quantiles of equally probable codes.

    Args:
        spec: A block of ordered categories with `levels`.
        width: Width H of the decoder's hidden vector.

    Raises:
        ConfigError: Levels are missing, or an option is unknown.

    References:
        McCullagh, Regression models for ordinal data, 1980, section 2.

    Example:
        >>> spec = BlockSpec(name="c", kind="category", likelihood="ordinal", fields=("a", "b"), levels=(2, 3))
        >>> Ordinal(spec, 4).cutpoints().round().tolist()
        [[-10000.0, 0.0, 10000.0, 10000.0], [-10000.0, -1.0, 1.0, 10000.0]]
    """

    inner: Tensor

    def __init__(self, spec: BlockSpec, width: int) -> None:
        super().__init__(spec, width)
        most, levels = max(2, *spec.levels), torch.tensor(spec.levels, dtype=torch.float64)[:, None]
        code = torch.arange(1, most, dtype=torch.float64)
        inner = code < levels  # shape: (F, Cmax - 1)
        cut = torch.logit(torch.where(inner, code / levels, 0.5))
        gaps = torch.where(inner[:, 1:], cut.diff(dim=-1), 1.0)
        self.first = nn.Parameter(cut[:, :1].float())
        self.gaps = nn.Parameter(torch.log(torch.expm1(gaps - GAP)).float())
        self.register_buffer("inner", inner, persistent=False)

    @classmethod
    def outputs(cls, spec: BlockSpec) -> int:
        """One location per field."""
        return spec.width

    def cutpoints(self) -> Tensor:
        """Cutpoints (F, Cmax + 1): -1e4, the inner ones, and +1e4 from the number of levels on."""
        steps = torch.cat([self.first, GAP + softplus(self.gaps)], dim=-1)
        inner = torch.where(self.inner, torch.cumsum(steps, dim=-1), FAR)
        edge = torch.full_like(inner[:, :1], FAR)
        return torch.cat([-edge, inner, edge], dim=-1)

    def domain(self, raw: Tensor) -> dict[str, Tensor]:
        """`location` (K, B, F) between -15 and 15, `cutpoints` (1, 1, F, Cmax + 1)."""
        (location,) = self.split(raw, 1)
        cutpoints = self.cutpoints()[None, None].to(location.dtype)
        return {"location": soft_bound(location, -LOGIT_BOUND, LOGIT_BOUND), "cutpoints": cutpoints}

    def log_density(self, params: Params, values: Tensor) -> Tensor:
        """The log-probability of each code (B, F)."""
        location, cutpoints = params["location"], params["cutpoints"][0, 0]
        fields, edges = cutpoints.shape
        index = values + edges * torch.arange(fields, device=values.device)
        flat = cutpoints.reshape(-1)
        return log_sigmoid_interval(flat[index] - location, flat[index + 1] - location)
