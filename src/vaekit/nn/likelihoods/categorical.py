"""Categorical likelihood: all unordered categories of a block in one flat array."""

from __future__ import annotations

import torch
from torch import Tensor

from vaekit.arrays import BlockSpec
from vaekit.nn.likelihoods.base import Likelihood, Params
from vaekit.nn.likelihoods.bernoulli import LOGIT_BOUND
from vaekit.nn.special import soft_bound

__all__ = ["Categorical"]


class Categorical(Likelihood):
    """``P(y = c) = softmax(logits)_c`` per field; the logits of all fields lie one after another, sum C in all.

    Fields are normalised together: ``log(exp(logits) @ S)`` with S (sum C, F) the 0/1 matrix of what belongs to whom.
    Logits are bounded to +-15, so no maximum needs to be taken out first.

    Args:
        spec: A block of categories with `levels`.
        width: Width H of the decoder's hidden vector.

    Raises:
        ConfigError: Levels are missing, or an option is unknown.

    Example:
        >>> spec = BlockSpec(name="c", kind="category", likelihood="categorical", fields=("a", "b"), levels=(2, 3))
        >>> round(Categorical(spec, 4)(torch.zeros(1, 1, 4))["log_probs"].exp().sum().item(), 4)
        2.0
    """

    offsets: Tensor
    member: Tensor

    def __init__(self, spec: BlockSpec, width: int) -> None:
        super().__init__(spec, width)
        levels = torch.tensor(spec.levels)
        segment = torch.repeat_interleave(torch.arange(len(spec.levels)), levels)
        member = torch.zeros(sum(spec.levels), len(spec.levels))
        member[torch.arange(segment.numel()), segment] = 1.0
        self.register_buffer("offsets", levels.cumsum(0) - levels, persistent=False)
        self.register_buffer("member", member, persistent=False)

    @classmethod
    def outputs(cls, spec: BlockSpec) -> int:
        """One logit per category of every field."""
        return sum(spec.levels)

    def domain(self, raw: Tensor) -> dict[str, Tensor]:
        """`log_probs` (K, B, sum C), normalised per field."""
        logits = soft_bound(raw, -LOGIT_BOUND, LOGIT_BOUND)
        with torch.autocast(logits.device.type, enabled=False):  # exp(15) does not fit half precision
            member = self.member.to(logits.dtype)
            norm = torch.log(torch.exp(logits) @ member)  # shape: (K, B, F)
            return {"log_probs": logits - norm @ member.T}  # every sum has one term: as exact as indexing, and faster

    def log_density(self, params: Params, values: Tensor) -> Tensor:
        """The log-probability of each code (B, F)."""
        log_probs = params["log_probs"]
        index = (values + self.offsets).expand(*log_probs.shape[:-1], -1)  # shape: (K, B, F)
        return torch.gather(log_probs, -1, index)
