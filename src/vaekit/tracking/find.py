"""Trackers by name: what is asked for is checked before a run begins, since nothing stops it later."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pkgutil import iter_modules
from typing import Any

from vaekit.errors import ConfigError
from vaekit.tracking.base import Tracker
from vaekit.tracking.lane import Lane

__all__ = ["known_trackers", "make_trackers"]

_LANE: dict[str, Any] = {"allow_rows": bool, "queue": int, "timeout": (int, float), "finish": (int, float)}


def known_trackers() -> dict[str, type[Tracker]]:
    """All trackers: one module each in `vaekit.tracking.trackers`, which imports what it needs when it starts.

    Example:
        >>> sorted(known_trackers())
        ['mlflow', 'tensorboard', 'wandb']
    """
    package = import_module("vaekit.tracking.trackers")
    found = [import_module(f"{package.__name__}.{one.name}").TRACKER for one in iter_modules(package.__path__)]
    return {one.name: one for one in found}


def make_trackers(asked: Mapping[str, Mapping[str, Any]]) -> list[Lane]:
    """The trackers that are asked for, each behind a queue.

    Args:
        asked: Name to options: those of the tracker, ``allow_rows`` (show it rows even if it is hosted), ``queue``
            (calls that wait at most), ``timeout`` (seconds of one call after which it counts as hanging) and ``finish``
            (seconds that the end of a run waits for it at most).

    Raises:
        ConfigError: If there is no such tracker or option, or what it needs is not installed.

    Example:
        >>> make_trackers({"mlfow": {}})
        Traceback (most recent call last):
            ...
        vaekit.errors.ConfigError: unknown tracker 'mlfow'; known: mlflow, tensorboard, wandb
    """
    known = known_trackers() if asked else {}
    found = []
    for name, options in asked.items():
        if name not in known:
            raise ConfigError(f"unknown tracker {name!r}; known: {', '.join(sorted(known))}")
        kind = known[name]
        for option, value in options.items():
            if option in _LANE and (isinstance(value, bool) is not (_LANE[option] is bool) or not _fits(option, value)):
                raise ConfigError(f"track.{name}.{option} cannot be {value!r}; expected {_meant(option)}")
        parameters = inspect.signature(kind).parameters
        own = {option: value for option, value in options.items() if option not in _LANE}
        if unknown := sorted(own.keys() - parameters.keys()):
            raise ConfigError(
                f"tracker {name!r} has no option {', '.join(unknown)}; it has: {', '.join([*parameters, *_LANE])}; "
                "addresses, keys and passwords come from the environment"
            )
        if find_spec(kind.needs) is None:
            raise ConfigError(f"tracker {name!r} needs {kind.needs}, which is not installed; install vaekit[track]")
        found.append(Lane(kind(**own), **{option: value for option, value in options.items() if option in _LANE}))
    return found


def _fits(option: str, value: Any) -> bool:
    return isinstance(value, _LANE[option]) and (isinstance(value, bool) or value > 0)


def _meant(option: str) -> str:
    return "true or false" if option == "allow_rows" else "a number above 0"
