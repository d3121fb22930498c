"""The floor of a step: the time that its bare matrix products and convolutions take, forward and backward."""

from __future__ import annotations

import copy
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from vaekit.training.ranks import Ranks

if TYPE_CHECKING:
    from vaekit.training.loop import Loop
    from vaekit.training.stages import Stage

__all__ = ["floor_seconds"]

_SECONDS, _SHARE = 0.2, 0.05  # most seconds of measuring, and of those of the training that it is about
_PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "convolution", "convolution_backward")


class _Products(TorchDispatchMode):
    """Notes every product, with operands of the same sizes, layouts and types."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Callable[[], Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        if func.overloadpacket.__name__ in _PRODUCTS:
            same, named = tree_map_only(Tensor, _like, (args, kwargs or {}))
            self.calls.append(lambda: func(*same, **named))
        return found


def _like(value: Tensor) -> Tensor:
    return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=value.device).fill_(0.5)


def floor_seconds(loop: Loop, stage: Stage, trained: float = math.inf) -> float:
    """Seconds of the bare products of one step of the model, in its precision, on as many threads as are in use.

    Args:
        loop: A run; nothing of it is changed.
        stage: The stage whose step is meant.
        trained: Seconds that the training took; measuring takes a small part of them.
    """
    trial = replace(loop, vae=copy.deepcopy(loop.vae), saver=None, ranks=Ranks())
    step = trial.ready(replace(stage, objective=copy.deepcopy(stage.objective), lagging=0))
    rng = torch.Generator(device=step.device).manual_seed(0)
    rows = loop.train.take(loop.train.draw(loop.config.batch_size or len(loop.train), rng))
    drawn = step.draw(rows, rng)
    with _Products() as products:
        step.gradient(step.phases["model"], drawn)
    taken, most = list[float](), min(_SECONDS, _SHARE * trained)
    while len(taken) < 3 or sum(taken) < most:
        began = time.perf_counter()
        for call in products.calls:
            call()
        if step.device.type == "cuda":
            torch.cuda.synchronize(step.device)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)
