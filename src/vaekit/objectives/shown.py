"""Rows as a critic sees them: real values, and differentiable stand-ins for drawn ones, side by side in one layout."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from vaekit.arrays import Block, BlockSpec
from vaekit.fields.families.calendar import DAYS
from vaekit.fields.families.levels import SCALE

__all__ = ["SHOWN", "Shown", "mask_of"]

Params = Mapping[str, Tensor]


@dataclass(frozen=True)
class Shown:
    """How a likelihood is shown to a critic.

    Args:
        real: Values (B, F, *event) of a block to (B, ·).
        point: Parameters, without the axis of draws, to the same layout: gradients go through it.
        widths: Columns that each field takes; None where it is one per element.
    """

    real: Callable[[Tensor, BlockSpec], Tensor]
    point: Callable[[Params, BlockSpec], Tensor]
    widths: Callable[[BlockSpec], list[int]] | None = None


def mask_of(block: Block, spec: BlockSpec) -> Tensor:
    """1 where a cell was observed, in the layout that `spec` is shown in, (B, ·)."""
    widths = SHOWN[spec.likelihood].widths
    if widths is None:
        return block.observed.expand_as(block.values).flatten(1).float()
    whole = block.observed.flatten(2).all(-1) if block.observed.dim() > 2 else block.observed  # shape: (B, F)
    return whole.repeat_interleave(torch.tensor(widths(spec), device=whole.device), dim=1).float()


def _flat(values: Tensor, spec: BlockSpec) -> Tensor:
    return values.flatten(1)


def _logs(values: Tensor, spec: BlockSpec) -> Tensor:
    """Counts on the scale of their logarithm."""
    return torch.log1p(values.float()).flatten(1)


def _one_hot(values: Tensor, spec: BlockSpec) -> Tensor:
    return torch.cat([F.one_hot(c, n) for c, n in zip(values.unbind(1), spec.levels, strict=True)], -1).float()


def _codes(values: Tensor, spec: BlockSpec) -> Tensor:
    """Ordered categories from 0 to 1."""
    return values.float() / (torch.tensor(spec.levels, device=values.device) - 1).clamp(min=1)


def _expected_codes(params: Params, spec: BlockSpec) -> Tensor:
    """``E[code] = Σ_c P(code > c)``, from 0 to 1."""
    inner = params["cutpoints"][0, ..., 1:-1]  # shape: (F, Cmax - 1); beyond the levels +1e4, where nothing is above
    above = torch.sigmoid(params["location"][..., None] - inner)
    return above.sum(-1) / (torch.tensor(spec.levels, device=above.device) - 1).clamp(min=1)


def _times(values: Tensor, spec: BlockSpec) -> Tensor:
    """Week, day as a one-hot code, and time of the day where there is one."""
    parts = [values[..., :1], F.one_hot(values[..., 1].long(), DAYS).to(values.dtype), values[..., 2:]]
    return torch.cat(parts, -1).flatten(1)


def _expected_times(params: Params, spec: BlockSpec) -> Tensor:
    clock = (params["clock_log_weights"].exp() * params["clock_locs"]).sum(-1, keepdim=True)
    parts = [params["week_loc"][..., None], params["day_log_probs"].exp(), clock[..., : spec.event[0] - 2]]
    return torch.cat(parts, -1).flatten(1)


def _located(params: Params, spec: BlockSpec) -> Tensor:
    return params["loc"].flatten(1)


def _levels(values: Tensor, spec: BlockSpec) -> Tensor:
    """Levels of an image from -1 to 1."""
    return (values.float() / SCALE - 1.0).flatten(1)


def _mean_levels(params: Params, spec: BlockSpec) -> Tensor:
    """Weighted locations; in colours green leans on the mean of red, and blue on both."""
    weights, locs, leans = params["log_weights"].exp(), params["locs"], params["leans"]
    means: list[Tensor] = []
    for channel in range(locs.shape[-2]):
        loc, first = locs[..., channel, :], channel * (channel - 1) // 2
        for before, mean in enumerate(means):
            loc = loc + leans[..., first + before, :] * mean[..., None]
        means.append((weights * loc).sum(-1))
    return torch.stack(means, -1).flatten(1)


def _counted(name: str, inflated: bool) -> Callable[[Params, BlockSpec], Tensor]:
    def point(params: Params, spec: BlockSpec) -> Tensor:
        share = torch.sigmoid(-params["zero_logits"]) if inflated else 1.0
        return torch.log1p(share * params[name]).flatten(1)

    return point


SHOWN: dict[str, Shown] = {
    "gaussian": Shown(_flat, _located),
    "student_t": Shown(_flat, _located),
    "mixture": Shown(_flat, lambda params, spec: (params["log_weights"].exp() * params["locs"]).sum(-1).flatten(1)),
    "bernoulli": Shown(_flat, lambda params, spec: torch.sigmoid(params["logits"]).flatten(1)),
    "categorical": Shown(_one_hot, lambda params, spec: params["log_probs"].exp(), lambda spec: list(spec.levels)),
    "ordinal": Shown(_codes, _expected_codes),
    "poisson": Shown(_logs, _counted("rate", False)),
    "negative_binomial": Shown(_logs, _counted("mean", False)),
    "zero_inflated_poisson": Shown(_logs, _counted("rate", True)),
    "zero_inflated_negative_binomial": Shown(_logs, _counted("mean", True)),
    "discretised_gaussian": Shown(_levels, _located),
    "logistic_mixture": Shown(_levels, _mean_levels),
    "calendar": Shown(_times, _expected_times, lambda spec: [DAYS + spec.event[0] - 1] * len(spec.fields)),
}
"""Locations, expected counts on the scale of their logarithm, probabilities of categories, mean levels of pixels."""
