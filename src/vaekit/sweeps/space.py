"""The space of a sweep: choices and ranges in the layout of a configuration, checked before anything is trained."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from vaekit.arrays import generator
from vaekit.errors import ConfigError

__all__ = ["Chooser", "check", "settings"]

_RANGE = {"low", "high", "log", "step"}
_TRIES = 40  # completions of a choice, one of which has to be a legal configuration
_FIXED = {
    "seed": "all trials have to be judged on the same rows; set it in base",
    "split_seed": "all trials have to be judged on the same rows; set it in base",
    "device": "it is no property of a model; set it in base",
    "track": "it is no property of a model; set it in base",
    "training.valid": "all trials have to be judged on the same rows; set it in base",
    "training.calibration": "all trials have to be judged on the same rows; set it in base",
}


class Chooser(Protocol):
    """What chooses: a trial of Optuna, or another."""

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        """One of some choices."""

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        """A whole number."""

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        """A number."""


def settings(trial: Chooser, space: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration: what all share, and one choice of everything else.

    Args:
        trial: What chooses.
        space: The space.
        base: What all share.

    Example:
        >>> class First:
        ...     def suggest_categorical(self, name, choices): return choices[0]
        ...     def suggest_int(self, name, low, high, **how): return low
        ...     suggest_float = suggest_int
        >>> settings(First(), {"model": {"prior": [{"name": "mixture", "components": {"low": 8, "high": 64}}]}},
        ...          {"seed": 1, "model": {"latent": 4}})
        {'seed': 1, 'model': {'latent': 4, 'prior': {'name': 'mixture', 'components': 8}}}
    """
    found: dict[str, Any] = _chosen(trial, "", space, base)
    return found


def _chosen(trial: Chooser, path: str, asked: Any, below: Any) -> Any:
    if isinstance(asked, list):
        names = _labels(path, asked)
        name = trial.suggest_categorical(path, names)
        one = asked[names.index(name)]
        return _chosen(trial, f"{path}[{name}]", one, None) if isinstance(one, Mapping) else one
    if not isinstance(asked, Mapping):
        return asked
    if path and {"low", "high"} & asked.keys():
        return _number(trial, path, asked)
    shared = dict(below) if isinstance(below, Mapping) else {}
    own = {
        name: _chosen(trial, f"{path}.{name}" if path else name, one, shared.get(name)) for name, one in asked.items()
    }
    return shared | own


def _number(trial: Chooser, path: str, asked: Mapping[str, Any]) -> float:
    """A range, checked."""
    if unknown := sorted(asked.keys() - _RANGE):
        raise ConfigError(f"space.{path}: a range has low, high, log and step, not {', '.join(unknown)}")
    low, high, log, step = asked.get("low"), asked.get("high"), asked.get("log", False), asked.get("step")
    numbers = [one for one in (low, high) if isinstance(one, int | float) and not isinstance(one, bool)]
    if len(numbers) < 2 or not numbers[0] < numbers[1]:
        raise ConfigError(f"space.{path}: a range needs numbers low < high, got low = {low}, high = {high}")
    if log and (numbers[0] <= 0 or step is not None):
        raise ConfigError(
            f"space.{path}: with log, low must be above 0 and there is no step; got low = {low}, step = {step}"
        )
    whole = all(isinstance(one, int) for one in (low, high)) and isinstance(step, int | None)
    if whole:
        return trial.suggest_int(path, low, high, step=step or 1, log=bool(log))  # type: ignore[arg-type]
    return trial.suggest_float(path, float(numbers[0]), float(numbers[1]), step=step, log=bool(log))


def _labels(path: str, choices: list[Any]) -> list[Any]:
    """A name for each choice: itself, the name of a part, or its JSON."""
    if not choices:
        raise ConfigError(f"space.{path}: a choice needs at least one value")
    names = [str(one["name"]) if isinstance(one, Mapping) and "name" in one else _plain(one) for one in choices]
    if len(set(map(repr, names))) < len(names):
        names = [_plain(one) for one in choices]
    if len(set(map(repr, names))) < len(names):
        raise ConfigError(f"space.{path}: names a choice twice: {', '.join(map(str, names))}")
    return names


def _plain(one: Any) -> Any:
    return json.dumps(one, sort_keys=True) if isinstance(one, Mapping | list) else one


def check(space: Mapping[str, Any], base: Mapping[str, Any]) -> None:
    """Refuse what no configuration has, and choices that no configuration allows.

    Args:
        space: The space.
        base: What all trials share.

    Raises:
        ConfigError: With the name of the setting.

    Example:
        >>> check({"training": {"beeta": {"low": 0.5, "high": 2.0}}}, {})
        Traceback (most recent call last):
            ...
        vaekit.errors.ConfigError: space.training.beeta: there is no such setting; did you mean training.beta?
    """
    from vaekit.training import load_config

    if not space:
        raise ConfigError("space is empty: name at least one setting to try, as [space.training] beta = [1.0, 4.0]")
    _known(space)
    load_config(dict(base)).architecture(1_000, 8)
    waiting: list[tuple[str, Any]] = [("", None)]
    seen = set[str]()
    while waiting:
        name, value = waiting.pop(0)
        found = _legal(space, base, name, value)
        for new, values in found.items():
            if new not in seen:
                seen.add(new)
                waiting += [(new, one) for one in values]
    if not seen:
        raise ConfigError("space holds no choice and no range, so all trials would be the same")


def _legal(space: Mapping[str, Any], base: Mapping[str, Any], name: str, value: Any) -> dict[str, list[Any]]:
    """Names and extreme values of what was chosen in a legal configuration in which one setting has a value."""
    from vaekit.training import load_config

    last: ConfigError | None = None
    for attempt in range(_TRIES):
        picks = _Picks({name: value}, attempt)
        config = settings(picks, space, base)
        if name and name not in picks.found:
            continue  # it hangs on another choice
        try:
            load_config(config).architecture(1_000, 8)
        except ConfigError as error:
            last = error
            continue
        return picks.found
    if last is None:
        return {}
    where = f"space.{name} = {value!r}" if name else "space"
    raise ConfigError(f"{where}: {last}")


def _known(space: Mapping[str, Any]) -> None:
    from vaekit.nn.build import ModelConfig
    from vaekit.training import Config, TrainConfig

    homes: dict[str, tuple[str, ...]] = {
        "model": ModelConfig.__struct_fields__,
        "training": TrainConfig.__struct_fields__,
    }
    every = [name for name in Config.__struct_fields__ if name not in homes]
    every += [f"{home}.{name}" for home, names in homes.items() for name in names]
    for top, inside in space.items():
        if top in homes and not isinstance(inside, Mapping):
            raise ConfigError(f"space.{top}: is a table of settings, got {inside!r}")
        for name in [f"{top}.{one}" for one in inside] if top in homes else [top]:
            if name in _FIXED:
                raise ConfigError(f"space.{name}: cannot be tried: {_FIXED[name]}")
            if name not in every:
                raise ConfigError(f"space.{name}: there is no such setting{_near(name, every)}")


def _near(name: str, every: list[str]) -> str:
    from difflib import get_close_matches

    last = name.rpartition(".")[2]
    near = [one for one in every if one.rpartition(".")[2] == last] or get_close_matches(name, every, 1)
    return f"; did you mean {near[0]}?" if near else f"; known: {', '.join(every)}"


class _Picks:
    """Chooses at random, but for what is wanted; remembers what could have been chosen."""

    def __init__(self, wanted: Mapping[str, Any], seed: int) -> None:
        self.wanted, self.found = wanted, dict[str, list[Any]]()
        self.rng = generator(seed, "picks")

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        self.found[name] = list(choices)
        return self.wanted.get(name, choices[int(self.rng.integers(len(choices)))])

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        self.found[name] = [low, high]
        return int(self.wanted.get(name, self.rng.integers(low, high + 1)))

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        self.found[name] = [low, high]
        return float(self.wanted.get(name, np.exp(self.rng.uniform(np.log(low), np.log(high))) if log else low))
