"""The plan of a sweep: what is tried, how often, and what counts."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from vaekit.errors import ConfigError

__all__ = ["Plan", "load_plan"]


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A sweep.

    Args:
        space: What is tried, in the layout of a configuration: a list is a choice, ``{low = , high = }`` a range (of
            whole numbers if both are; ``log`` and ``step`` are optional). A choice may be a table that holds choices
            and ranges itself, as the options of a part do.
        base: What all trials share, as in a configuration file.
        trials: Trials in all, those that were pruned or failed included.
        max_seconds: No trial begins after so many seconds; those that run come to their end.
        workers: Processes.
        seed: Seed of the sampler. The fits share the seed of `base`, so that all are judged on the same rows.
        objectives: What is to be small: ``nats`` (-log p per early-stopping row, a bound of 64 samples), ``latency``
            (milliseconds of a question about one row) and ``size`` (bytes of the bundle). With more than one the result
            is a front, and nothing is pruned.
        sampler: How settings are chosen: ``tpe`` or ``random``.
        pruner: When a trial is ended early by its validation ELBO: ``median``, ``hyperband`` or ``none``; ``median`` if
            there is one objective and it is ``nats``, else ``none``, if not given.
        storage: Where Optuna keeps the trials: ``journal``, a file in the folder of the sweep, or the address of a
            database. ``VAEKIT_SWEEP_STORAGE`` in the environment goes before it: addresses hold passwords.
        name: Name of the study.
        graphs: Export the graphs of the winner; without them its bundle needs torch to answer.
    """

    space: dict[str, Any]
    base: dict[str, Any] = {}
    trials: int = 20
    max_seconds: float | None = None
    workers: int = 1
    seed: int = 0
    objectives: tuple[Literal["nats", "latency", "size"], ...] = ("nats",)
    sampler: Literal["tpe", "random"] = "tpe"
    pruner: Literal["median", "hyperband", "none"] | None = None
    storage: str = "journal"
    name: str = "sweep"
    graphs: bool = True

    def __post_init__(self) -> None:
        for name in ("trials", "workers"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.max_seconds is not None and not self.max_seconds > 0:
            raise ConfigError(f"max_seconds must be above 0, got {self.max_seconds}")
        if not self.objectives or len(set(self.objectives)) < len(self.objectives):
            raise ConfigError(f"objectives must be named once each, at least one; got {list(self.objectives)}")
        if self.pruner not in (None, "none") and self.objectives != ("nats",):
            raise ConfigError(
                f"pruner {self.pruner!r} ends trials by their nats, and objectives are {', '.join(self.objectives)}; "
                "take nats alone, or pruner = 'none'"
            )

    @property
    def prunes(self) -> str:
        """The pruner that is meant."""
        return self.pruner or ("median" if self.objectives == ("nats",) else "none")


def load_plan(source: str | Path | Mapping[str, Any] | Plan, **changes: Any) -> Plan:
    """A plan from a TOML file or a mapping.

    Args:
        source: Where it comes from.
        changes: Settings that go before those of the source; None leaves one as it is.

    Raises:
        ConfigError: If it cannot be read, or holds a setting that is unknown or out of range.

    Example:
        >>> load_plan({"space": {"training": {"beta": {"low": 0.5, "high": 2.0}}}}, trials=5).trials
        5
    """
    where, plain = "sweep", source
    if isinstance(source, str | Path):
        where = str(source)
        try:
            plain = tomllib.loads(Path(source).read_text())
        except OSError as error:
            raise ConfigError(f"{source}: cannot be read ({error.strerror})") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{source}: not valid TOML: {error}") from error
    if isinstance(plain, Plan):
        plain = msgspec.to_builtins(plain)
    asked = {name: value for name, value in changes.items() if value is not None}
    try:
        return msgspec.convert({**plain, **asked}, Plan)  # type: ignore[dict-item]
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {error}") from error
