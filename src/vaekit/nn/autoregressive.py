"""A masked network whose outputs for position i depend on the positions before i."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Autoregressive"]


class Autoregressive(nn.Module):
    """Position i of the output depends on inputs of the positions before i, and on the context.

    Args:
        size: Number of positions N.
        outputs: Outputs per position.
        hidden: Width of the two hidden layers.
        context: Width of a context vector; 0 for none.
        inputs: Inputs per position.

    References:
        Germain et al., MADE: masked autoencoder for distribution estimation, 2015, eq. 12 and 13.

    Example:
        >>> Autoregressive(3, 2, 8)(torch.zeros(5, 3)).shape
        torch.Size([5, 3, 2])
    """

    first: Tensor
    middle: Tensor
    last: Tensor

    def __init__(self, size: int, outputs: int, hidden: int, context: int = 0, inputs: int = 1) -> None:
        super().__init__()
        self.size, self.outputs = size, outputs
        # a unit of degree d sees positions below d; every degree from 0 to N - 1 is there
        position = torch.arange(size)
        degree = torch.arange(hidden) % size
        self.register_buffer("first", (position.repeat_interleave(inputs) < degree[:, None]).float(), persistent=False)
        self.register_buffer("middle", (degree <= degree[:, None]).float(), persistent=False)
        last = degree <= position.repeat_interleave(outputs)[:, None]
        self.register_buffer("last", last.float(), persistent=False)
        self.enter = nn.Linear(size * inputs, hidden)
        self.hidden = nn.Linear(hidden, hidden)
        self.leave = nn.Linear(hidden, size * outputs)
        self.context = nn.Linear(context, hidden, bias=False) if context else None
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Map (..., N · inputs) to (..., N, outputs)."""
        h = F.linear(x, self.enter.weight * self.first, self.enter.bias)
        if self.context is not None and context is not None:
            h = h + self.context(context)
        h = F.silu(h)
        h = h + F.silu(F.linear(h, self.hidden.weight * self.middle, self.hidden.bias))
        return F.linear(h, self.leave.weight * self.last, self.leave.bias).unflatten(-1, (self.size, self.outputs))
