"""Likelihoods over the 256 levels of an image: mixtures of discretised logistics, and discretised normals."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vaekit.arrays import BlockSpec
from vaekit.fields.families.levels import HALF, SCALE
from vaekit.fields.families.levels import LogisticMixture as Family
from vaekit.nn.likelihoods.base import Likelihood, Params
from vaekit.nn.special import log_cell_normal, log_ndtr, log_sigmoid_interval, soft_bound

__all__ = ["DiscretisedGaussian", "LogisticMixture"]

_FAR = 1e4  # scales beyond which a tail holds everything
_LOW = math.log(HALF / 4)  # of log scales: a scale far below a level cannot be told from any other
_START = -1.0  # log scale of a component before training
_WEIGHT_BOUND = 8.0
_REACH = 3.0  # of locations, so that no distance in scales comes near what stands for infinity


class LogisticMixture(Likelihood):
    """``P(x) = sum_m w_m prod_c [s((x_c + h - l_mc) / s_mc) - s((x_c - h - l_mc) / s_mc)]``, with s the logistic.

    Levels lie on a scale from -1 to 1, h = 1/255; black and white take the tails. With three channels the location of
    green leans on red, and that of blue on both. Option ``components``: their number M, 5 by default.

    Args:
        spec: A block of one image.
        width: Width H of the decoder's hidden vector.

    Raises:
        ConfigError: An option is unknown.

    References:
        Salimans et al., PixelCNN++, 2017, eq. 2 and 3.

    Example:
        >>> spec = BlockSpec(name="x", kind="image", likelihood="logistic_mixture", fields=("x",), event=(2, 2, 1))
        >>> LogisticMixture(spec, 4)(torch.zeros(1, 3, 4))["locs"].shape
        torch.Size([1, 3, 1, 2, 2, 1, 5])
    """

    order = 0
    start: Tensor

    def __init__(self, spec: BlockSpec, width: int) -> None:
        super().__init__(spec, width)
        self.components, self.channels = Family.components(spec), spec.event[2]
        apart = torch.linspace(-0.8, 0.8, self.components) if self.components > 1 else torch.zeros(1)
        self.register_buffer("start", apart, persistent=False)

    @classmethod
    def outputs(cls, spec: BlockSpec) -> int:
        """Weight, and for each channel location, scale and, with three of them, lean of each component, per pixel."""
        height, width, channels = spec.event
        return height * width * Family.components(spec) * (1 + channels * (3 if channels == 3 else 2))

    def domain(self, raw: Tensor) -> dict[str, Tensor]:
        """`log_weights` (K, B, F, H, W, M), `locs`, `scales` and `leans` (K, B, F, H, W, C, M)."""
        height, width, channels = self.spec.event
        raw = raw.unflatten(-1, (1, height, width, -1, self.components))  # shape: (K, B, F, H, W, 1 + 2 C or 3 C, M)
        weight, loc, scale = raw[..., 0, :], raw[..., 1 : 1 + channels, :], raw[..., 1 + channels : 1 + 2 * channels, :]
        weight = soft_bound(weight, -_WEIGHT_BOUND, _WEIGHT_BOUND)
        leans = torch.tanh(raw[..., 1 + 2 * channels :, :]) if channels == 3 else torch.zeros_like(loc)
        return {
            "log_weights": weight - torch.logsumexp(weight, dim=-1, keepdim=True),
            "locs": soft_bound(loc + self.start.to(loc.dtype), -_REACH, _REACH),
            "scales": torch.exp(soft_bound(scale + _START, _LOW, 2.0)),
            "leans": leans,
        }

    def log_density(self, params: Params, values: Tensor) -> Tensor:
        """Log-mass of the pixels, told with the first channel; the others hold 0, for all of them share a component."""
        dtype = params["locs"].dtype
        levels = values.to(dtype)
        y = (levels / SCALE - 1.0)[..., None]  # shape: (..., F, H, W, C, 1)
        locs, leans = params["locs"], params["leans"]
        if self.channels == 3:
            red, green = y[..., 0:1, :], y[..., 1:2, :]
            moved = [
                torch.zeros_like(leans[..., 0:1, :] * red),
                leans[..., 0:1, :] * red,
                leans[..., 1:2, :] * red + leans[..., 2:3, :] * green,
            ]
            locs = locs + torch.cat(moved, dim=-2)
        scales = params["scales"]
        low = torch.where(levels[..., None] <= 0.0, -_FAR, (y - HALF - locs) / scales)
        high = torch.where(levels[..., None] >= 255.0, _FAR, (y + HALF - locs) / scales)
        mass = log_sigmoid_interval(low, high).sum(-2)  # shape: (..., F, H, W, M)
        pixel = torch.logsumexp(params["log_weights"] + mass, dim=-1, keepdim=True)
        return torch.nn.functional.pad(pixel, (0, self.channels - 1))


class DiscretisedGaussian(Likelihood):
    """Each pixel and channel ``N(loc, scale^2)`` cut into levels on a scale from -1 to 1; its ends take the tails.

    Option ``scale``: ``learned`` (default: from the decoder), ``fixed`` (the number ``sigma``, default 1), or
    ``optimal``: one for the image, the root mean squared error of the batch in training and of many batches otherwise.

    Args:
        spec: A block of one image.
        width: Width H of the decoder's hidden vector.

    Raises:
        ConfigError: An option is unknown.

    References:
        Rybkin, Daniilidis and Levine, Simple and effective VAE training with calibrated decoders, 2021, eq. 5.
    """

    order = 0
    sigma: Tensor
    squares: Tensor
    weight: Tensor
    decay = 0.99
    """Weight that the running mean squared error keeps at each batch, for the optimal scale."""

    def __init__(self, spec: BlockSpec, width: int) -> None:
        super().__init__(spec, width)
        self.scale = str(spec.options.get("scale", "learned"))
        if self.scale == "fixed":
            self.register_buffer("sigma", torch.tensor(float(spec.options.get("sigma", 1.0))), persistent=False)
        elif self.scale == "optimal":
            self.register_buffer("squares", torch.zeros(()))
            self.register_buffer("weight", torch.zeros(()))

    @classmethod
    def outputs(cls, spec: BlockSpec) -> int:
        """`loc`, and `scale` where it is learned."""
        return spec.width * (2 if spec.options.get("scale", "learned") == "learned" else 1)

    def domain(self, raw: Tensor) -> dict[str, Tensor]:
        """`loc` and `scale` (K, B, F, H, W, C)."""
        height, width, channels = self.spec.event
        raw = raw.unflatten(-1, (1, height, width, -1))
        loc = raw[..., :channels]
        if self.scale == "learned":
            return {"loc": loc, "scale": torch.exp(soft_bound(raw[..., channels:] + _START, _LOW, 2.0))}
        scale = self.sigma if self.scale == "fixed" else self.running()
        return {"loc": loc, "scale": scale.to(loc.dtype) * torch.ones_like(loc)}

    def running(self) -> Tensor:
        """The optimal scale outside training; 1 before the first batch."""
        seen = self.weight > 0.0
        mean = torch.where(seen, self.squares / torch.where(seen, self.weight, 1.0), 1.0)
        return torch.clamp(torch.sqrt(mean), min=math.exp(_LOW))

    @torch.no_grad()
    def observe(self, params: Params, values: Tensor, observed: Tensor) -> dict[str, Tensor]:
        """With an optimal scale: use the error of this batch, and move the running mean towards it.

        Args:
            params: What `forward` returned; `loc` (K, B, F, H, W, C).
            values: Levels (B, F, H, W, C).
            observed: True where an image was observed, broadcastable to values.

        Returns:
            `loc`, and `scale` of the batch; without an observed image the running scale.
        """
        if self.scale != "optimal":
            return dict(params)
        loc = params["loc"]
        mask = observed.expand_as(values)
        error = torch.where(mask, (values.to(loc.dtype) / SCALE - 1.0 - loc) ** 2, 0.0).sum()
        count = mask.sum() * loc.shape[0]
        seen = count > 0
        batch = error / torch.clamp(count, min=1)
        self.squares.copy_(torch.where(seen, self.decay * self.squares + (1 - self.decay) * batch, self.squares))
        self.weight.copy_(torch.where(seen, self.decay * self.weight + (1 - self.decay), self.weight))
        scale = torch.where(seen, torch.clamp(torch.sqrt(batch), min=math.exp(_LOW)), self.running())
        return {**params, "scale": scale.to(loc.dtype).expand_as(loc)}

    def log_density(self, params: Params, values: Tensor) -> Tensor:
        """Log-mass of each level."""
        loc, scale = params["loc"], params["scale"]
        levels = values.to(loc.dtype)
        z = (levels / SCALE - 1.0 - loc) / scale
        half = HALF / scale
        inside = log_cell_normal(z, half) + torch.log(2.0 * half)
        tails = torch.where(levels <= 0.0, log_ndtr(z + half), log_ndtr(half - z))
        return torch.where((levels <= 0.0) | (levels >= 255.0), tails, inside)
