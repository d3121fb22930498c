"""Trunks: the fully connected body of encoders and decoders."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["MLP"]


class MLP(nn.Module):
    """A first activation, then pre-normalised residual layers: ``h <- h + dropout(act(W norm(h)))``.

    With depth 1 it is the activation alone, so stem → MLP → head is the classical one-hidden-layer network, with depth
    0 nothing at all, so stem → MLP → head is linear. The norm
    is a LayerNorm (per row), which keeps scoring independent of the rest of the batch.

    Args:
        width: Hidden width H.
        depth: Number of hidden layers, the stem's included.
        dropout: Dropout rate.

    Example:
        >>> import torch
        >>> MLP(8, depth=2)(torch.zeros(3, 8)).shape
        torch.Size([3, 8])
    """

    def __init__(self, width: int, depth: int = 2, dropout: float = 0.0) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(width) for _ in range(max(depth - 1, 0))])
        self.layers = nn.ModuleList([nn.Linear(width, width) for _ in range(max(depth - 1, 0))])
        self.dropout = nn.Dropout(dropout)
        self.linear = depth == 0

    def forward(self, h: Tensor) -> Tensor:
        """Map (..., H) to (..., H)."""
        if self.linear:
            return h
        h = self.dropout(torch.nn.functional.silu(h))
        for norm, layer in zip(self.norms, self.layers, strict=True):
            h = h + self.dropout(torch.nn.functional.silu(layer(norm(h))))
        return h
