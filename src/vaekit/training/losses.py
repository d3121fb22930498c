"""From a configuration to an objective: a bound, and the terms that are added to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal

import msgspec

from vaekit.errors import ConfigError
from vaekit.nn.own import is_own
from vaekit.nn.parts import make, named
from vaekit.objectives import ELBO, TERMS, Capacity, Cyclical, ImportanceWeighted, Linear, Objective, Schedule, Sigmoid

if TYPE_CHECKING:
    from vaekit.nn.build import ModelConfig
    from vaekit.training.config import TrainConfig

__all__ = ["BOUNDS", "Ramp", "objective_of", "require_commitment"]


class Ramp(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A schedule in shares of the steps of the first stage.

    Args:
        kind: ``linear``, ``sigmoid`` or ``cyclical``.
        start: Value at the beginning.
        end: Value at the end.
        share: Share of the steps that it takes.
        after: Share of the steps before it begins.
        cycles: Number of cycles, 4 if not given; cyclical only.
        rise: Share of a cycle that is ramp, 0.5 if not given; cyclical only.
    """

    kind: Literal["linear", "sigmoid", "cyclical"] = "linear"
    start: float = 0.0
    end: float = 1.0
    share: float = 1.0
    after: float = 0.0
    cycles: int | None = None
    rise: float | None = None

    def __post_init__(self) -> None:
        if not (0 < self.share <= 1 and 0 <= self.after < 1 and self.share + self.after <= 1):
            raise ConfigError(f"share and after are shares of one training, got {self.share} and {self.after}")
        if self.kind != "cyclical" and (self.cycles is not None or self.rise is not None):
            raise ConfigError(f"cycles and rise belong to schedules of kind cyclical; got them with {self.kind!r}")
        self.over(100)

    def over(self, total: int) -> Schedule:
        """The schedule for a number of steps."""
        steps, after = max(1, round(self.share * total)), round(self.after * total)
        if self.kind == "cyclical":
            cycles, rise = self.cycles or 4, 0.5 if self.rise is None else self.rise
            return Cyclical(self.start, self.end, steps, after, cycles, rise)
        return (Sigmoid if self.kind == "sigmoid" else Linear)(self.start, self.end, steps, after)


def _elbo(config: TrainConfig, *, groups: Mapping[str, float] | None = None) -> Objective:
    return ELBO(config.beta, config.free_bits, config.samples, groups)


def _iwae(config: TrainConfig) -> Objective:
    return _weighted(config, "plain")


def _stl(config: TrainConfig) -> Objective:
    return _weighted(config, "stl")


def _dreg(config: TrainConfig) -> Objective:
    return _weighted(config, "dreg")


def _weighted(config: TrainConfig, gradient: str) -> Objective:
    least = 1 if gradient == "stl" else 2
    if config.free_bits or config.samples < least:
        raise ConfigError(
            f"objective {named(config.objective)!r} needs samples of at least {least} and has no free bits; got "
            f"samples={config.samples}, free_bits={config.free_bits}"
        )
    return ImportanceWeighted(config.samples, config.beta, gradient)


def _capacity(config: TrainConfig, *, capacity: float = 10.0, gamma: float = 10.0) -> Objective:
    if config.free_bits or config.beta != 1.0:
        raise ConfigError("objective 'capacity' weighs the KL by its gamma; leave beta and free_bits at their defaults")
    return Capacity(config.samples, capacity=capacity, gamma=gamma)


BOUNDS: dict[str, Callable[..., Objective]] = {
    "elbo": _elbo,
    "iwae": _iwae,
    "stl": _stl,
    "dreg": _dreg,
    "capacity": _capacity,
}


def objective_of(config: TrainConfig) -> Objective:
    """The objective of a configuration.

    Raises:
        ConfigError: If a part is unknown, or the parts cannot be added.
    """
    own = is_own(named(config.objective))
    found: Objective = make("objective", config.objective, BOUNDS, *(() if own else (config,)))
    for name, options in config.terms.items():
        if "name" in options:
            raise ConfigError(f"a term is named by its key; leave 'name' out of the options of {name!r}")
        found = found + make("term", {"name": name, **options}, TERMS)
    return found


def require_commitment(model: ModelConfig, training: TrainConfig) -> None:
    """Check that a structure with codes is trained with the term that holds rows close to them.

    Raises:
        ConfigError: If the term is missing.
    """
    if named(model.structure) == "quantised" and "commitment" not in training.terms:
        raise ConfigError(
            "structure 'quantised' learns nothing stable unless rows are held close to their codes; add "
            "terms={'commitment': {'weight': 0.25}}, or take recipe 'vq-vae'"
        )
