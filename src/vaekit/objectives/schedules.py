"""Schedules: a weight as a function of the optimiser step alone, so that its position survives a restart."""

from __future__ import annotations

import math

import msgspec

from vaekit.errors import ConfigError

__all__ = ["Cyclical", "Linear", "Schedule", "Sigmoid"]


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
        _check(self.steps, self.after)

    def __call__(self, step: int) -> float:
        """The value at a step."""
        return self.start + (self.end - self.start) * min(1.0, max(0, step - self.after) / self.steps)


class Sigmoid(msgspec.Struct, frozen=True, tag_field="schedule", tag="sigmoid", forbid_unknown_fields=True):
    """As `Linear`, along a logistic curve: slow at both ends.

    Args:
        start: Value at step 0.
        end: Value from step `steps` on.
        steps: Length of the ramp.
        after: Step at which it begins.

    Raises:
        ConfigError: If steps is below 1, or after is negative.

    References:
        Bowman et al., Generating Sentences from a Continuous Space, 2016, figure 2.

    Example:
        >>> ramp = Sigmoid(0.0, 1.0, 10)
        >>> [round(ramp(step), 3) for step in (0, 2, 5, 8, 10)]
        [0.0, 0.041, 0.5, 0.959, 1.0]
    """

    start: float
    end: float
    steps: int
    after: int = 0

    def __post_init__(self) -> None:
        _check(self.steps, self.after)

    def __call__(self, step: int) -> float:
        """The value at a step."""
        low, share = 1.0 / (1.0 + math.exp(5.0)), min(1.0, max(0, step - self.after) / self.steps)
        curve = (1.0 / (1.0 + math.exp(5.0 - 10.0 * share)) - low) / (1.0 - 2.0 * low)
        return self.start + (self.end - self.start) * curve


class Cyclical(msgspec.Struct, frozen=True, tag_field="schedule", tag="cyclical", forbid_unknown_fields=True):
    """`cycles` linear ramps from `start` to `end` over `steps`, each followed by a time at `end`.

    Args:
        start: Value at the beginning of each cycle.
        end: Value at the end of each cycle, and from step `steps` on.
        steps: Length of all cycles together.
        after: Step at which the first begins.
        cycles: Number of cycles.
        rise: Share of a cycle that is ramp.

    Raises:
        ConfigError: If steps or cycles is below 1, after is negative, or rise is not a share above 0.

    References:
        Fu et al., Cyclical annealing schedule: a simple approach to mitigating KL vanishing, 2019, eq. 6.

    Example:
        >>> [Cyclical(0.0, 1.0, 40, cycles=2)(step) for step in (0, 5, 10, 19, 20, 25, 40, 99)]
        [0.0, 0.5, 1.0, 1.0, 0.0, 0.5, 1.0, 1.0]
    """

    start: float
    end: float
    steps: int
    after: int = 0
    cycles: int = 4
    rise: float = 0.5

    def __post_init__(self) -> None:
        _check(self.steps, self.after)
        if self.cycles < 1 or not 0.0 < self.rise <= 1.0:
            raise ConfigError(
                f"a cyclical schedule needs cycles >= 1 and 0 < rise <= 1, got {self.cycles} and {self.rise}"
            )

    def __call__(self, step: int) -> float:
        """The value at a step."""
        done = max(0, step - self.after) / self.steps
        if done >= 1.0:
            return self.end
        return self.start + (self.end - self.start) * min(1.0, (done * self.cycles % 1.0) / self.rise)


def _check(steps: int, after: int) -> None:
    if steps < 1 or after < 0:
        raise ConfigError(f"a schedule needs steps >= 1 and after >= 0, got {steps} and {after}")


Schedule = Linear | Sigmoid | Cyclical
