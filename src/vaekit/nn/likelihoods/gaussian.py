"""Normal likelihood with a fixed, learned or optimal scale."""

from __future__ import annotations

import torch
from torch import Tensor

from vaekit.arrays import BlockSpec
from vaekit.nn.likelihoods.base import Likelihood, Params, floor_of
from vaekit.nn.special import HALF_LOG_2PI, log_cell_normal, soft_bound

__all__ = ["Gaussian"]

CEILING = 100.0  # encoded numbers have a scale near one


class Gaussian(Likelihood):
    """``y ~ N(loc, scale^2)``; a rounded reading has the exact mass of its cell.

    Options: ``scale`` is ``learned`` (default: from the decoder, per row and field), ``fixed`` (the number ``sigma``,
    default 1), ``optimal`` (per field, the root mean squared error: of the batch in training, running otherwise) or
    ``shared`` (likewise, one for all fields of the block).

    Args:
        spec: A block of numbers or vectors.
        width: Width H of the decoder's hidden vector.

    Raises:
        ConfigError: An option is unknown.

    References:
        Rybkin, Daniilidis and Levine, Simple and effective VAE training with calibrated decoders, 2021, eq. 5.

    Example:
        >>> spec = BlockSpec(name="n", kind="number", likelihood="gaussian", fields=("a", "b"))
        >>> Gaussian(spec, 4)(torch.zeros(1, 3, 4))["scale"].shape
        torch.Size([1, 3, 2])
    """

    floor: Tensor
    low: Tensor
    high: Tensor
    sigma: Tensor
    squares: Tensor
    weight: Tensor

    order = 0  # cells have a closed form
    decay = 0.99
    """Weight that the running mean squared error keeps at each batch, for the optimal scale."""

    def __init__(self, spec: BlockSpec, width: int) -> None:
        super().__init__(spec, width)
        self.scale = str(spec.options.get("scale", "learned"))
        floor = floor_of(spec, 1 / 3)
        self.register_buffer("floor", floor, persistent=False)
        self.register_buffer("low", floor.log(), persistent=False)
        self.register_buffer("high", torch.clamp(10.0 * floor, min=CEILING).log(), persistent=False)
        if self.scale == "fixed":
            sigma = float(spec.options.get("sigma", 1.0))
            self.register_buffer("sigma", torch.full_like(floor, sigma), persistent=False)
        elif self.scale in ("optimal", "shared"):
            # numerator and denominator of the running mean, so that it is unbiased from the first batch on
            self.register_buffer("squares", torch.zeros_like(floor))
            self.register_buffer("weight", torch.zeros_like(floor))

    @classmethod
    def outputs(cls, spec: BlockSpec) -> int:
        """`loc`, and `scale` where it is learned."""
        return spec.width * (2 if spec.options.get("scale", "learned") == "learned" else 1)

    def domain(self, raw: Tensor) -> dict[str, Tensor]:
        """`loc`, and `scale` between the field's floor and 100."""
        if self.scale == "learned":
            loc, scale = self.split(raw, 2)
            return {"loc": loc, "scale": torch.exp(soft_bound(scale, self.low, self.high))}
        (loc,) = self.split(raw, 1)
        scale = self.sigma if self.scale == "fixed" else self.running()
        return {"loc": loc, "scale": scale.to(loc.dtype) * torch.ones_like(loc)}

    def running(self) -> Tensor:
        """The optimal scale of each field outside training; 1 before the first batch. Shape (F,) or (F, 1, ...)."""
        seen = self.weight > 0.0
        mean = torch.where(seen, self.squares / torch.where(seen, self.weight, 1.0), 1.0)
        return torch.maximum(torch.sqrt(mean), self.floor)

    @torch.no_grad()
    def observe(self, params: Params, values: Tensor, observed: Tensor) -> dict[str, Tensor]:
        """With an optimal or shared scale: use the error of this batch, and move the running mean towards it.

        Its gradient is left out because it is zero: the scale minimises the loss that it enters.

        Args:
            params: What `forward` returned; `loc` (K, B, F, *event).
            values: Encoded values (B, F, *event).
            observed: True where a cell was observed, (B, F) or elementwise.

        Returns:
            `loc`, and `scale` of the batch; a field without an observed cell keeps its running scale.
        """
        if self.scale not in ("optimal", "shared"):
            return dict(params)
        loc = params["loc"]
        mask = observed.reshape(*observed.shape, *(1,) * (values.dim() - observed.dim())).expand_as(values)
        error = torch.where(mask, (values - loc) ** 2, 0.0)  # shape: (K, B, F, *event)
        event = range(2, values.dim())
        total = error.sum(0).sum([0, *event]).reshape_as(self.squares)  # shape: (F,) or (F, 1, ...)
        count = (mask.sum([0, *event]) * loc.shape[0]).reshape_as(self.weight)
        if self.scale == "shared":
            total, count = (part.sum().expand_as(part) for part in (total, count))
        seen = count > 0
        batch = total / torch.clamp(count, min=1)
        self.squares.copy_(torch.where(seen, self.decay * self.squares + (1 - self.decay) * batch, self.squares))
        self.weight.copy_(torch.where(seen, self.decay * self.weight + (1 - self.decay), self.weight))
        scale = torch.where(seen, torch.maximum(torch.sqrt(batch), self.floor), self.running())
        return {**params, "scale": scale.to(loc.dtype).expand_as(loc)}

    def log_density(self, params: Params, values: Tensor) -> Tensor:
        """``-z^2 / 2 - log scale - log(2 pi) / 2``."""
        z = (values - params["loc"]) / params["scale"]
        return -0.5 * z * z - torch.log(params["scale"]) - HALF_LOG_2PI

    def log_prob(self, params: Params, values: Tensor, half: Tensor | None = None) -> Tensor:
        """Log-density, or the exact log-mass of the cell per unit width; arguments as in `Likelihood.log_prob`."""
        if half is None or not self.cells:
            return self.log_density(params, values)
        scale = params["scale"]
        return log_cell_normal((values - params["loc"]) / scale, half / scale) - torch.log(scale)
