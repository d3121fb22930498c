"""A running mean of the weights, which is steadier than the weights themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

__all__ = ["Average"]


class Average(nn.Module):
    """``mean <- d mean + (1 - d) weights``, with ``d = min(decay, (1 + t) / (10 + t))``, so that the start soon fades.

    Args:
        model: The model.
        decay: The decay; 0 keeps no mean.

    References:
        Polyak & Juditsky, Acceleration of stochastic approximation by averaging, 1992.

    Example:
        >>> layer = nn.Linear(1, 1, bias=False)
        >>> _ = nn.init.constant_(layer.weight, 1.0)
        >>> average = Average(layer, 0.9)
        >>> _ = nn.init.constant_(layer.weight, 2.0)
        >>> average.update()
        >>> with average.instead():
        ...     print(round(layer.weight.item(), 3))
        1.9
    """

    steps: Tensor

    def __init__(self, model: nn.Module, decay: float) -> None:
        super().__init__()
        self._model, self.decay = [model], decay  # in a list, so that it is no part of this module
        self.register_buffer("steps", torch.zeros(()))
        for index, weight in enumerate(self._weights()):
            self.register_buffer(f"mean_{index}", weight.detach().clone())

    @torch.no_grad()
    def update(self) -> None:
        """Take the weights of the model after a step."""
        if self.decay:
            decay = min(self.decay, (1.0 + float(self.steps)) / (10.0 + float(self.steps)))
            self.steps += 1
            torch._foreach_lerp_(self._means(), self._weights(), 1.0 - decay)

    @contextmanager
    def instead(self) -> Iterator[None]:
        """Put the mean into the model for a while."""
        if not self.decay:
            yield
            return
        weights, means = self._weights(), self._means()
        kept = [weight.detach().clone() for weight in weights]
        with torch.no_grad():
            for weight, mean in zip(weights, means, strict=True):
                weight.copy_(mean)
        try:
            yield
        finally:
            with torch.no_grad():
                for weight, value in zip(weights, kept, strict=True):
                    weight.copy_(value)

    def _weights(self) -> list[Tensor]:
        return list(self._model[0].parameters()) if self.decay else []

    def _means(self) -> list[Tensor]:
        return [getattr(self, f"mean_{index}") for index in range(len(self._weights()))]
