"""A step of Adam in the state of PyTorch's optimiser: by its kernel, and as tensor operations for compiled steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["Adam", "adam_of"]


@dataclass(frozen=True)
class Adam:
    """Weights, and the state that Adam or AdamW keeps of them.

    Args:
        group: Their group of the optimiser.
        steps: Steps of each so far.
        means: Running mean of each gradient.
        squares: Running mean of its square.
        decoupled: Whether weights decay by themselves, and not by the gradient.

    References:
        Kingma & Ba, Adam, 2015, algorithm 1. Loshchilov & Hutter, Decoupled weight decay regularization, 2019.
    """

    group: dict[str, Any]
    steps: list[Tensor]
    means: list[Tensor]
    squares: list[Tensor]
    decoupled: bool

    @property
    def tensors(self) -> list[Tensor]:
        """All of the state."""
        return [*self.steps, *self.means, *self.squares]

    @torch.no_grad()
    def step(self, weights: Sequence[Tensor], scale: Tensor, frozen: Tensor) -> None:
        """Let PyTorch's kernel take a step, without the detour through its optimiser.

        Args:
            weights: The weights, with their gradients; one without a gradient stays as it is.
            scale: What the gradients are divided by.
            frozen: 1 for no step at all.
        """
        places = [index for index, weight in enumerate(weights) if weight.grad is not None]
        moved, steps, means, squares = (
            [tensors[index] for index in places] for tensors in (weights, self.steps, self.means, self.squares)
        )
        kernel = torch._fused_adamw_ if self.decoupled else torch._fused_adam_
        torch._foreach_add_(steps, 1)
        kernel(
            moved,
            [weight.grad for weight in moved if weight.grad is not None],
            means,
            squares,
            [],
            steps,
            lr=self.group["lr"],
            beta1=self.group["betas"][0],
            beta2=self.group["betas"][1],
            weight_decay=self.group["weight_decay"],
            eps=self.group["eps"],
            amsgrad=False,
            maximize=False,
            grad_scale=scale,
            found_inf=frozen,
        )
        torch._foreach_sub_(steps, [frozen] * len(steps))

    def numbers(self) -> list[float]:
        """What the next step is for each weight: its size, and the bias of the root of the mean square."""
        (first, second), rate = self.group["betas"], self.group["lr"]
        done = torch.stack(self.steps).tolist()
        size = {n: rate / (1.0 - first ** (n + 1.0)) for n in set(done)}
        spread = {n: (1.0 - second ** (n + 1.0)) ** 0.5 for n in size}
        return [*map(size.__getitem__, done), *map(spread.__getitem__, done)]

    def move(
        self,
        weights: Sequence[Tensor],
        state: Sequence[Tensor],
        gradient: Sequence[Tensor | None],
        numbers: Tensor,
        rate: Tensor,
        scale: Tensor,
    ) -> None:
        """Take a step, in place.

        Args:
            weights: The weights.
            state: Their state, in the order of `tensors`.
            gradient: The gradient of each weight; one without a gradient stays as it is.
            numbers: What `numbers` said.
            rate: The learning rate.
            scale: What the gradient is multiplied with; not above 0 for no step at all: all stays as it is.
        """
        count = len(weights)
        steps, means, squares = (state[count * part :][:count] for part in range(3))
        (first, second), decay, eps = self.group["betas"], self.group["weight_decay"], self.group["eps"]
        live = scale > 0.0
        for index, (weight, step, mean, square) in enumerate(zip(weights, steps, means, squares, strict=True)):
            if (slope := gradient[index]) is None:
                continue
            slope, kept = slope * scale, weight
            if decay and self.decoupled:
                kept = weight * (1.0 - rate * decay)
            elif decay:
                slope = slope + decay * weight
            new_mean = mean + (1.0 - first) * (slope - mean)
            new_square = second * square + (1.0 - second) * slope * slope
            moved = kept - numbers[index] * new_mean / (torch.sqrt(new_square) / numbers[count + index] + eps)
            for old, new in ((weight, moved), (mean, new_mean), (square, new_square)):
                old.copy_(torch.where(live, new, old))
            step.add_(live.to(step.dtype))


def adam_of(optimizer: torch.optim.Optimizer, parameters: Sequence[Tensor]) -> Adam | None:
    """Some weights of an optimiser, all of one group, with their state; None if it is another optimiser.

    Where there is no state yet, it is what the optimiser itself would begin with.
    """
    defaults, (group, *more) = optimizer.defaults, optimizer.param_groups
    if type(optimizer) not in (torch.optim.Adam, torch.optim.AdamW) or more or not defaults["fused"]:
        return None
    if defaults["amsgrad"] or defaults["maximize"]:
        return None
    for parameter in parameters:
        if not (state := optimizer.state[parameter]):
            state["step"] = torch.zeros((), device=parameter.device)
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
    steps, means, squares = ([optimizer.state[p][key] for p in parameters] for key in ("step", "exp_avg", "exp_avg_sq"))
    return Adam(group, steps, means, squares, isinstance(optimizer, torch.optim.AdamW))
