"""Schedules: a weight as a function of the optimiser step alone, so that its position survives a restart."""

from __future__ import annotations

import msgspec

from vaekit.errors import ConfigError

__all__ = ["Linear", "Schedule"]


class Linear(msgspec.Struct, frozen=True, tag_field="schedule", tag="linear", forbid_unknown_fields=True):
    """Linear ramp from `start` to `end` over `steps` optimiser steps, constant before and afterwards.

    Args:
        start: Value at step 0.
        end: Value from step `steps` on.
        steps: Length of the ramp.
        after: Step at which it begins.

    Raises:
        ConfigError: If steps is below 1, or after is negative.

    References:
        Bowman et al., Generating Sentences from a Continuous Space, 2016, section 3.1.

    Example:
        >>> ramp = Linear(0.0, 1.0, 10)
        >>> [ramp(step) for step in (0, 5, 10, 99)]
        [0.0, 0.5, 1.0, 1.0]
        >>> [Linear(1.0, 0.0, 10, after=10)(step) for step in (5, 15, 20)]
        [1.0, 0.5, 0.0]
    """

    start: float
    end: float
    steps: int
    after: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.after < 0:
            raise ConfigError(f"a linear schedule needs steps >= 1 and after >= 0, got {self.steps} and {self.after}")

    def __call__(self, step: int) -> float:
        """The value at a step."""
        return self.start + (self.end - self.start) * min(1.0, max(0, step - self.after) / self.steps)


Schedule = Linear
