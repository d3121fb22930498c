"""Schedules: a weight as a function of the optimiser step alone, so that its position survives a restart."""

from __future__ import annotations

import msgspec

from vaekit.errors import ConfigError

__all__ = ["Linear", "Schedule"]


class Linear(msgspec.Struct, frozen=True, tag_field="schedule", tag="linear", forbid_unknown_fields=True):
    """Linear ramp from `start` to `end` over `steps` optimiser steps, constant afterwards.

    Args:
        start: Value at step 0.
        end: Value from step `steps` on.
        steps: Length of the ramp.

    Raises:
        ConfigError: If steps is below 1.

    References:
        Bowman et al., Generating Sentences from a Continuous Space, 2016, section 3.1.

    Example:
        >>> ramp = Linear(0.0, 1.0, 10)
        >>> [ramp(step) for step in (0, 5, 10, 99)]
        [0.0, 0.5, 1.0, 1.0]
    """

    start: float
    end: float
    steps: int

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ConfigError(f"a linear schedule needs steps >= 1, got {self.steps}")

    def __call__(self, step: int) -> float:
        """The value at a step."""
        return self.start + (self.end - self.start) * min(1.0, step / self.steps)


Schedule = Linear
