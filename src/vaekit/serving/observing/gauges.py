"""Numbers that are read when somebody asks for metrics: of the queue and its workers, of connections, of what runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from vaekit.monitoring.processes import Usage, usage
from vaekit.monitoring.series import Gauge, Labels
from vaekit.serving.batching.batcher import Batcher

if TYPE_CHECKING:
    from vaekit.serving.http.host import HttpHost

__all__ = ["of_batcher", "of_host", "total"]


def total(name: str, text: str, read: Callable[[], int]) -> Gauge:
    """A number without labels that only grows."""
    return Gauge(name, text, lambda: {(): float(read())}, growing=True)


def of_batcher(batcher: Batcher) -> Iterator[Gauge]:
    """Whether questions are answered, what waits, which models are served, and what workers use."""
    yield Gauge("vaekit_ready", "Whether questions are answered", lambda: {(): float(batcher.ready)})
    yield Gauge("vaekit_queue_requests", "Requests that wait for a worker", lambda: {(): batcher.queued})
    yield Gauge("vaekit_queue_bytes", "Bytes of their bodies", lambda: {(): batcher.queued_bytes})
    yield Gauge("vaekit_workers", "Workers that are ready", lambda: {(): len(batcher.workers)})
    yield Gauge("vaekit_workers_configured", "Workers that there should be", lambda: {(): batcher.config.workers})
    yield Gauge(
        "vaekit_model_info",
        "What is served: version of the bundle, hashes of contract and data",
        lambda: {(one.name, one.version, one.contract, one.data): 1.0 for one in batcher.models.values()},
        ("model", "version", "contract", "data"),
    )
    yield Gauge(
        "vaekit_worker_resident_memory_bytes",
        "Memory that a worker holds",
        lambda: {place: one.resident for place, one in _workers(batcher)},
        ("worker",),
    )
    yield Gauge(
        "vaekit_worker_cpu_seconds",
        "Processor time that a worker has had",
        lambda: {place: one.cpu for place, one in _workers(batcher)},
        ("worker",),
        growing=True,
    )


def of_host(host: HttpHost) -> Iterator[Gauge]:
    """Connections, and what was refused before it was a request."""
    yield Gauge("vaekit_http_connections", "Connections that are open", lambda: {(): len(host.state.connections)})
    yield Gauge(
        "vaekit_http_refusals",
        "Connections and heads that were refused before they were requests, by reason",
        lambda: {(kind,): float(count) for kind, count in host.refusals.items()},
        ("reason",),
        growing=True,
    )


def _workers(batcher: Batcher) -> Iterator[tuple[Labels, Usage]]:
    """What each worker uses, under its place among those that live: numbers of processes would go on for ever."""
    for place, worker in enumerate(list(batcher.workers.values())):
        if (used := usage(worker.pid)) is not None:
            yield (str(place),), used
