"""All settings of `vae serve`: those of the models and workers, and those of the hosts."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

import msgspec

from vaekit.errors import ConfigError
from vaekit.serving.access.settings import AccessSettings

__all__ = ["Settings"]

_MIB = 1 << 20


class Settings(AccessSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of the service; those of `ServeConfig` and `AccessSettings` come before.

    Args:
        host: Address to listen on.
        port: Port for HTTP; 0 takes any that is free.
        grpc_port: Port for gRPC; None: no gRPC.
        state: Folder of what survives a restart; None: it is kept in memory.
        longest_timeout: Seconds that a request may ask for.
        max_body: Bytes of a body.
        max_head: Bytes of a request line with all headers.
        max_connections: HTTP connections at a time.
        head_timeout: Seconds for a request line and its headers.
        body_timeout: Seconds for a body.
        idle_timeout: Seconds for which a connection is kept between requests.
        write_timeout: Seconds that a caller has to take an answer in.
        drain_delay: Seconds between being told to stop and taking no more connections; readiness is false meanwhile.
        drain_timeout: Seconds that requests may still take after that.
        log_file: File that the log is appended to; None: standard error.
        log_level: Least level of events that are logged: ``debug``, ``info``, ``warning`` or ``error``.
        access_log: Requests that are logged: ``all``, ``failures`` or ``none``.
        trace_endpoint: OTLP receiver that traces are sent to, over HTTP; None: what the ``OTEL_*`` variables say.
        feedback_days: Days for which answers and feedback are remembered.
        feedback_answers: Answers, and pieces of feedback, that are remembered.

    Raises:
        ConfigError: If a setting makes no sense.

    Example:
        >>> Settings(bundles={"flights": "run/bundle"}, port=0).host
        '127.0.0.1'
    """

    host: str = "127.0.0.1"
    port: int = 8000
    grpc_port: int | None = None
    state: str | None = None
    longest_timeout: float = 300.0
    max_body: int = 32 * _MIB
    max_head: int = 32 * 1024
    max_connections: int = 12_000
    head_timeout: float = 10.0
    body_timeout: float = 30.0
    idle_timeout: float = 75.0
    write_timeout: float = 30.0
    drain_delay: float = 1.0
    drain_timeout: float = 30.0
    log_file: str | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    access_log: Literal["all", "failures", "none"] = "all"
    trace_endpoint: str | None = None
    feedback_days: float = 90.0
    feedback_answers: int = 1_000_000

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("port", "grpc_port"):
            port = getattr(self, name)
            if port is not None and not 0 <= port <= 65535:
                raise ConfigError(f"{name} is a number from 0 to 65535, got {port}")
        for name in ("max_body", "max_head", "max_connections", "feedback_answers"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}")
        spans = ("longest_timeout", "head_timeout", "body_timeout", "idle_timeout", "write_timeout", "feedback_days")
        for name in spans:
            if not getattr(self, name) > 0:
                raise ConfigError(f"{name} must be above 0, got {getattr(self, name)}")
        for name in ("drain_delay", "drain_timeout"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} must be at least 0, got {getattr(self, name)}")

    @classmethod
    def read(cls, path: Path | None, **flags: object) -> Self:
        """Settings from a TOML file, where flags win.

        Args:
            path: The file; None: there are only flags.
            flags: Settings that were given otherwise.

        Raises:
            ConfigError: If the file cannot be read, or a setting is unknown or makes no sense.
        """
        if path is None:
            return cls._of_plain(flags, "settings")
        try:
            plain = msgspec.toml.decode(path.read_bytes())
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: not TOML that can be read: {error}") from error
        return cls._of_plain({**plain, **flags}, str(path))

    @classmethod
    def _of_plain(cls, plain: Mapping[str, object], source: str) -> Self:
        if "bundles" not in plain:
            raise ConfigError("which model? give a bundle: vae serve run, or bundles in a table [bundles] of --config")
        if unknown := sorted(set(plain) - set(cls.__struct_fields__)):
            close = difflib.get_close_matches(unknown[0], cls.__struct_fields__, n=1)
            hint = f"; did you mean {close[0]}?" if close else "; docs/service.md lists them"
            raise ConfigError(f"{source}: there is no setting {unknown[0]!r}{hint}")
        try:
            return msgspec.convert(plain, cls)
        except msgspec.ValidationError as error:
            raise ConfigError(f"{source}: {error}") from error
