"""All options of the service in one place, checked when they are given."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import msgspec

from vaekit.errors import ConfigError

__all__ = ["ServeConfig"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_BACKENDS = ("auto", "onnx", "torch", "litert")
_MIB = 1 << 20


class ServeConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of the service.

    Args:
        bundles: Name under which a model is served, to the folder of its bundle.
        backend: ``onnx``, ``litert``, ``torch``, or ``auto``.
        require_signature: Files with public keys, one of which must have signed each bundle; none: that is not checked.
        queries: Queries that are answered; all that a bundle can answer if empty.
        workers: Number of worker processes; each holds every model.
        threads: Threads of the runtime in one worker; 0 divides the cores among the workers.
        max_batch_rows: Most rows that a worker is given at a time.
        max_batch_bytes: Most bytes of bodies that a worker is given at a time.
        latency_target: Seconds within which a request should be answered once a worker is free: a batch grows no
            further than its measured cost allows.
        max_queue: Most requests that wait.
        max_queue_bytes: Most bytes of bodies that wait.
        max_wait: Longest time in seconds that a request may be expected to wait; beyond it requests are refused.
        max_rows: Most rows of one request and of its answer.
        max_samples: Most importance samples that a request may ask for.
        max_pixels: Most pixels of an uploaded image.
        max_memory: Most bytes of memory that a worker may use; a request that needs more is refused.
        log_samples: Share of the rows that are described in the log without their values.
        timeout: Seconds after which a request without a deadline of its own is given up.
        stuck_after: Seconds after which a worker that is busy with one batch is taken for stuck.
        stuck_after_query: The same for single queries.
        heartbeat_timeout: Seconds of silence after which a worker is taken for stopped.
        start_timeout: Seconds that a worker has to load and warm its models.

    Raises:
        ConfigError: If an option makes no sense.

    Example:
        >>> ServeConfig(bundles={"flights": "run/bundle"}, workers=2).workers
        2
    """

    bundles: dict[str, str]
    backend: str = "auto"
    require_signature: tuple[str, ...] = ()
    queries: tuple[str, ...] = ()
    workers: int = 1
    threads: int = 0
    max_batch_rows: int = 1024
    max_batch_bytes: int = 16 * _MIB
    latency_target: float = 0.05
    max_queue: int = 4096
    max_queue_bytes: int = 256 * _MIB
    max_wait: float = 1.0
    max_rows: int = 10_000
    max_samples: int = 1024
    max_pixels: int = 16 * _MIB
    max_memory: int = 4096 * _MIB
    log_samples: float = 0.0
    timeout: float = 30.0
    stuck_after: float = 30.0
    stuck_after_query: dict[str, float] = {}
    heartbeat_timeout: float = 2.0
    start_timeout: float = 60.0

    def __post_init__(self) -> None:
        if not self.bundles:
            raise ConfigError("a service needs at least one bundle")
        for name in self.bundles:
            if not _NAME.fullmatch(name):
                raise ConfigError(
                    f"a model is served under a name of letters, digits, '.', '_' and '-', got {name!r}; "
                    "give one with NAME=PATH"
                )
        if self.backend not in _BACKENDS:
            raise ConfigError(f"backend is one of {', '.join(_BACKENDS)}, got {self.backend!r}")
        for name in ("workers", "max_batch_rows", "max_batch_bytes", "max_queue", "max_queue_bytes", "max_rows"):
            self._at_least(name, 1)
        for name in ("max_samples", "max_pixels", "max_memory"):
            self._at_least(name, 1)
        self._at_least("threads", 0)
        times = ("latency_target", "max_wait", "timeout", "stuck_after", "heartbeat_timeout", "start_timeout")
        for name in times:
            _check_seconds(name, getattr(self, name))
        if not 0.0 <= self.log_samples <= 1.0:
            raise ConfigError(f"log_samples is a share from 0 to 1, got {self.log_samples!r}")
        for query, seconds in self.stuck_after_query.items():
            _check_seconds(f"stuck_after_query[{query!r}]", seconds)

    @classmethod
    def of(cls, paths: Sequence[str | Path], **options: Any) -> Self:
        """The options for some bundles, each named ``NAME=PATH`` or after its folder.

        Args:
            paths: Bundles, or run folders that hold one as ``bundle``.
            options: Other options.

        Raises:
            ConfigError: If two bundles have the same name, or an option makes no sense.

        Example:
            >>> list(ServeConfig.of(["runs/flights", "old=archive/v1"]).bundles)
            ['flights', 'old']
        """
        return cls(bundles=cls.named(paths), **options)

    @staticmethod
    def named(paths: Sequence[str | Path]) -> dict[str, str]:
        """Bundles by the name under which they are served: ``NAME=PATH``, or a path, and then that of the folder.

        Raises:
            ConfigError: If two bundles have the same name.
        """
        bundles: dict[str, str] = {}
        for text in map(str, paths):
            name, equals, path = text.partition("=")
            if not equals or Path(text).exists():  # a path may have '=' in it
                name, path = "", text
            if not name:
                folder = Path(path).resolve()
                name = folder.parent.name if folder.name == "bundle" else folder.name
            if name in bundles:
                raise ConfigError(f"two bundles would be served as {name!r}; give one another name with NAME=PATH")
            bundles[name] = path
        return bundles

    @property
    def threads_each(self) -> int:
        """Threads of the runtime in one worker."""
        return self.threads or max(1, len(os.sched_getaffinity(0)) // self.workers)

    def stuck(self, query: str) -> float:
        """Seconds after which a worker that is busy with a query is taken for stuck."""
        return self.stuck_after_query.get(query, self.stuck_after)

    def _at_least(self, name: str, least: int) -> None:
        value = getattr(self, name)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ConfigError(f"{name} must be a whole number of at least {least}, got {value!r}")


def _check_seconds(name: str, value: float) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0.0 < value < math.inf:
        raise ConfigError(f"{name} is a number of seconds above 0, got {value!r}")
