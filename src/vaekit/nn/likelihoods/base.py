"""A likelihood is a projection, a domain map and a log-density in one object, for all fields of a block at once."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from vaekit.arrays import BlockSpec
from vaekit.fields.families import family
from vaekit.nn.special import gauss_legendre

__all__ = ["Likelihood", "floor_of"]

Params = Mapping[str, Tensor]


class Likelihood(nn.Module):
    """Base class: a subclass maps the projection to parameters and gives the log-density of a point.

    ``log p(x | h)`` is `log_prob` plus the block's ``constant``, which the VAE adds before it masks and sums.

    Args:
        spec: The block.
        width: Width H of the decoder's hidden vector.

    Raises:
        ConfigError: The family cannot model the block, or an option is unknown.
    """

    nodes: Tensor
    log_weights: Tensor

    order = 8
    """Nodes of the quadrature over cells; 0 for likelihoods with a closed form."""

    def __init__(self, spec: BlockSpec, width: int) -> None:
        super().__init__()
        self.spec, self.family = spec, family(spec)
        # A block whose cells are all known to be zero is continuous, and its graph needs no cells.
        self.cells = "half" in spec.inputs and (not spec.cell or any(cell > 0.0 for cell in spec.cell))
        self.head = nn.Linear(width, self.outputs(spec))
        if self.cells and self.order:
            nodes, weights = gauss_legendre(self.order)
            self.register_buffer("nodes", nodes.float().reshape(-1, 1, 1, 1), persistent=False)
            self.register_buffer("log_weights", weights.log().float().reshape(-1, 1, 1, 1), persistent=False)

    @classmethod
    def outputs(cls, spec: BlockSpec) -> int:
        """Width of the projection: by default one value per parameter and element."""
        return spec.width * len(family(spec).params)

    def forward(self, h: Tensor) -> dict[str, Tensor]:
        """Parameters of the distribution of every field.

        Args:
            h: Hidden vector of the decoder (K, B, H).

        Returns:
            Arrays by the names of `Family.params`, in float32 or float64 also where h is in half precision.
        """
        raw = self.head(h)
        return self.domain(raw.float() if raw.dtype in (torch.float16, torch.bfloat16) else raw)

    @abstractmethod
    def domain(self, raw: Tensor) -> dict[str, Tensor]:
        """Map the projection (K, B, outputs) to parameters."""

    @abstractmethod
    def log_density(self, params: Params, values: Tensor) -> Tensor:
        """Log-density at points; every leading dimension broadcasts.

        Args:
            params: What `forward` returned.
            values: Encoded values (..., F, *event).

        Returns:
            Nats, elementwise, without the data-only constant.
        """

    def log_prob(self, params: Params, values: Tensor, half: Tensor | None = None) -> Tensor:
        """Log of the average density over the cell of each reading; the log-density itself where its half width is 0.

        ``log (1 / 2h) int_{y-h}^{y+h} p(t) dt``, here by Gauss-Legendre quadrature.

        Args:
            params: What `forward` returned, leading dimensions (K, B) or (1, 1).
            values: Encoded values (B, F, *event); masked cells hold 0.
            half: Half widths of the cells (B, F), numbers only.

        Returns:
            Nats (K, B, F, *event), elementwise, without the data-only constant.

        References:
            Salimans et al., PixelCNN++, 2017, eq. 2 (rounded readings as cells of a density).
        """
        if half is None or not self.cells:
            return self.log_density(params, values)
        points = values + half * self.nodes  # shape: (order, 1, B, F)
        return torch.logsumexp(self.log_density(params, points) + self.log_weights, dim=0)

    def observe(self, params: Params, values: Tensor, observed: Tensor) -> dict[str, Tensor]:
        """Let the likelihood learn from a training batch outside the gradient; most do not.

        Args:
            params: What `forward` returned.
            values: Encoded values (B, F, *event).
            observed: True where a cell was observed, (B, F) or elementwise.

        Returns:
            The parameters to use for this batch.
        """
        return dict(params)

    def split(self, raw: Tensor, parts: int) -> tuple[Tensor, ...]:
        """Cut the projection into `parts` arrays of shape (K, B, F, *event)."""
        return tuple(part.unflatten(-1, self.spec.shape) for part in raw.chunk(parts, dim=-1))


def floor_of(spec: BlockSpec, fraction: float) -> Tensor:
    """Smallest scale of each field: `fraction` of its narrowest half cell, and at least 1e-3.

    A scale far below the cell that readings are rounded to cannot be told from any other such scale.

    Args:
        spec: A block of numbers or vectors.
        fraction: Fraction of the half cell.

    Returns:
        float32 tensor (F,), or (F, 1, ...) with an event shape.

    Example:
        >>> floor_of(BlockSpec(name="n", kind="number", fields=("a", "b"), cell=(0.0, 3.0)), 0.5)
        tensor([1.0000e-03, 1.5000e+00])
    """
    cell = torch.tensor(spec.cell if spec.cell else (0.0,) * len(spec.fields))
    return torch.clamp(cell * fraction, min=1e-3).reshape(-1, *(1,) * len(spec.event))
