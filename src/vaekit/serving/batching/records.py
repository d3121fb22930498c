"""What the batcher tells its observers: one record per batch, and events in the life of workers."""

from __future__ import annotations

from typing import Literal

import msgspec

from vaekit.serving.wire.asking import Seen

__all__ = ["BatchRecord", "EventKind", "Reason", "WorkerEvent"]

EventKind = Literal["started", "ready", "lost", "stuck", "failed", "stopped"]
Reason = Literal["idle", "full_rows", "full_bytes", "cost", "deadline"]


class BatchRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One batch that was answered.

    Args:
        number: Number of the batch.
        started: When it was given to a worker, of `time.monotonic`.
        model: Name of the model.
        query: Name of the query; ``infer`` where bodies say which.
        reason: Why it was no larger: ``idle`` (nothing else waited), ``full_rows``, ``full_bytes``, ``cost`` (more
            would have taken longer than the latency target allows) or ``deadline`` (more would have missed one).
        numbers: Numbers of its requests.
        waits: Seconds that each request waited.
        kinds: Kind of the fault of each request, empty for an answer.
        seen: What the worker noticed.
        seconds: Seconds from dispatch to answer.
        worker: Number of the worker.
    """

    number: int
    started: float
    model: str
    query: str
    reason: Reason
    numbers: list[int]
    waits: list[float]
    kinds: list[str]
    seen: Seen
    seconds: float
    worker: int


class WorkerEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened to a worker.

    Args:
        kind: ``started``, ``ready``, ``lost`` (it died, or went silent), ``stuck``, ``failed`` (it never got ready)
            or ``stopped`` (on request).
        worker: Number of the worker; each process has its own.
        message: What happened.
        seconds: Time that it had lived, or of ``ready``, that it took to load and warm its models.
    """

    kind: EventKind
    worker: int
    message: str = ""
    seconds: float = 0.0
