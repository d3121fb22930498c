"""Bernoulli likelihood: two-valued categories and binary vectors."""

from __future__ import annotations

import torch
from torch import Tensor

from vaekit.nn.likelihoods.base import Likelihood, Params
from vaekit.nn.special import soft_bound

__all__ = ["LOGIT_BOUND", "Bernoulli"]

LOGIT_BOUND = 15.0  # a probability of 3e-7 is as good as zero, and keeps one surprising row from a loss of thousands


class Bernoulli(Likelihood):
    """``P(y = 1) = sigmoid(logits)``, logits bounded to +-15.

    Args:
        spec: A block of two-valued categories or of binary vectors.
        width: Width H of the decoder's hidden vector.

    Raises:
        ConfigError: A field has more than two levels, or an option is unknown.

    Example:
        >>> import torch
        >>> from vaekit.arrays import BlockSpec
        >>> spec = BlockSpec(name="c", kind="category", likelihood="bernoulli", fields=("a",), levels=(2,))
        >>> head = Bernoulli(spec, 4)
        >>> head.log_prob({"logits": torch.zeros(1, 1, 1)}, torch.tensor([[1]]))
        tensor([[[-0.6931]]])
    """

    def domain(self, raw: Tensor) -> dict[str, Tensor]:
        """`logits` (K, B, F, *event)."""
        (logits,) = self.split(raw, 1)
        return {"logits": soft_bound(logits, -LOGIT_BOUND, LOGIT_BOUND)}

    def log_density(self, params: Params, values: Tensor) -> Tensor:
        """``y logits - log(1 + exp(logits))`` for values y of 0 and 1."""
        logits = params["logits"]
        return values.to(logits.dtype) * logits - torch.log(1.0 + torch.exp(logits))  # which cannot overflow
