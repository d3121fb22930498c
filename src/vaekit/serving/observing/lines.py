"""Lines of the log: what is told of a request, of a row, and of what happens to the service; never a raw value."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from vaekit.monitoring.tally import Masked

__all__ = ["Event", "Line", "RequestLine", "SampleLine", "trouble"]

_FRAMES = 5  # innermost places of an exception that are named


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """What all lines have: when, how bad, and what; see those below."""

    time: datetime
    level: str
    event: str


class Event(Line, frozen=True, omit_defaults=True):
    """Something that happened to the service.

    Args:
        time: When, in UTC.
        level: ``debug``, ``info``, ``warning`` or ``error``.
        event: What, one of the events of docs/observability.md.
        facts: What is worth knowing about it.
    """

    facts: dict[str, Any] = {}


class RequestLine(Line, frozen=True, omit_defaults=True):
    """One request. Fields that say nothing are left out.

    Args:
        time: When it was answered, in UTC.
        level: ``info``, ``warning`` if the caller is to blame, ``error`` if the service is.
        event: ``request``.
        request_id: Its id.
        trace_id: Its trace, if it is traced.
        model: Name of the model; ``other`` if there is none of that name.
        version: Version of the bundle that answered.
        contract: First 12 digits of the hash of its contract.
        data: The same of the data that it was fitted on.
        query: Name of the query.
        protocol: ``http``, ``v2`` or ``grpc``.
        route: The path as a pattern.
        status: HTTP status.
        kind: Why there is no answer.
        field: The field that is to blame.
        row: The row that is to blame.
        rows: Rows that were answered.
        bytes_in: Bytes of the body that came.
        bytes_out: Bytes of the body that went.
        queue_ms: Milliseconds until a worker took it.
        infer_ms: Milliseconds that the model worked on its batch.
        total_ms: Milliseconds in all.
        caller: Id of the key that it came with, never the key.
        batch: Number of the batch.
    """

    request_id: str
    trace_id: str = ""
    model: str = ""
    version: str = ""
    contract: str = ""
    data: str = ""
    query: str = ""
    protocol: str = ""
    route: str = ""
    status: int = 0
    kind: str = ""
    field: str | None = None
    row: int | None = None
    rows: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    queue_ms: float | None = None
    infer_ms: float | None = None
    total_ms: float = 0.0
    caller: str = ""
    batch: int | None = None


class SampleLine(Line, frozen=True, omit_defaults=True):
    """One row, described without its values.

    Args:
        time: When, in UTC.
        level: ``info``.
        event: ``sample``.
        request_id: The request that it came with.
        model: The model that was asked.
        version: Version of its bundle.
        query: The query.
        sample: The description.
    """

    request_id: str
    model: str
    version: str
    query: str
    sample: Masked


def trouble(error: BaseException) -> Mapping[str, Any]:
    """What a log may say of an exception: its type and where it was raised, never its message.

    Example:
        >>> try:
        ...     int("secret")
        ... except ValueError as error:
        ...     facts = trouble(error)
        >>> facts["error"], "secret" in str(facts)
        ('ValueError', False)
    """
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    return {
        "error": type(error).__name__,
        "where": [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in reversed(frames)],
    }
