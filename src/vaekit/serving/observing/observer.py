"""The front's eyes: metrics, log lines and traces of every request, batch and worker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from vaekit.monitoring.metrics import CONTENT_TYPE, INFER, NONE, OTHER, Metrics
from vaekit.monitoring.processes import Usage, usage
from vaekit.monitoring.series import Gauge, Labels
from vaekit.serving.access.guard import FREE
from vaekit.serving.batching.batcher import Batcher
from vaekit.serving.batching.records import BatchRecord, WorkerEvent
from vaekit.serving.observing.logs import Log, RequestLine, SampleLine
from vaekit.serving.observing.traces import Traces, trace_of
from vaekit.serving.request import Handler, Request
from vaekit.serving.wire.asking import Fault, Told
from vaekit.serving.wire.messages import Noted

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from vaekit.serving.feedback.ledger import Ledger
    from vaekit.serving.http.host import HttpHost

__all__ = ["Observing"]

_GONE = Told(fault=Fault(status=499, kind="gone", message="the caller has gone"))
_DEFECT = Told(fault=Fault(status=500, kind="internal", message="the server failed"))
_PROBES = FREE | {"/metrics"}  # asked again and again by machines: not logged
_FEEDBACK = "/v1/feedback"
_DENIED = (401, 403)
_DIGITS = 12  # of hashes in log lines
_SERIOUS = {"lost": "error", "stuck": "error", "failed": "error"}


class _Kind:
    """Requests that are alike: one route, model and query."""

    __slots__ = ("counts", "model", "probe", "protocol", "query")

    def __init__(self, request: Request, labels: tuple[str, str], metrics: Metrics) -> None:
        self.model, self.query = labels
        grpc = request.host == "grpc"
        self.protocol = "grpc" if grpc else "v2" if request.route.startswith("/v2") else "http"
        self.probe = request.route in _PROBES
        self.counts = metrics.asked(self.model, self.query, self.protocol)


class _Open:
    """A request on its way, and what its batch told of it."""

    __slots__ = ("batch", "infer", "queue", "span")

    def __init__(self, span: Span | None) -> None:
        self.span = span
        self.batch: int | None = None
        self.queue = self.infer = 0.0


class Observing:
    """Watches one server.

    Args:
        log: Its log.
        traces: Its traces, if there are any.
    """

    def __init__(self, log: Log, traces: Traces | None = None) -> None:
        self.metrics, self.log, self.traces = Metrics(), log, traces
        self._open: dict[int, _Open] = {}
        self._running = 0
        self._kinds: dict[tuple[str, str, str, str], _Kind] = {}
        self._models: Callable[[], Mapping[str, Any]] = dict
        gauge = self.metrics.gauge
        gauge(Gauge("vaekit_requests_in_flight", "Requests that are being handled", lambda: {(): self._running}))
        gauge(_total("vaekit_log_records_dropped", "Log records that were dropped", lambda: log.dropped))
        if traces is not None:
            gauge(_total("vaekit_spans_lost", "Spans that no receiver took", lambda: traces.lost))

    def attach(self, batcher: Batcher) -> None:
        """Watch a batcher and its workers."""
        batcher.observers.append(self.batch)
        batcher.watchers.append(self.worker)
        batcher.listeners.append(self.noted)
        self._models = lambda: batcher.models
        self.metrics.serves({name: () for name in batcher.config.bundles})
        gauge = self.metrics.gauge
        gauge(Gauge("vaekit_ready", "Whether questions are answered", lambda: {(): float(batcher.ready)}))
        gauge(Gauge("vaekit_queue_requests", "Requests that wait for a worker", lambda: {(): batcher.queued}))
        gauge(Gauge("vaekit_queue_bytes", "Bytes of their bodies", lambda: {(): batcher.queued_bytes}))
        gauge(Gauge("vaekit_workers", "Workers that are ready", lambda: {(): len(batcher.workers)}))
        gauge(Gauge("vaekit_workers_configured", "Workers that there should be", lambda: {(): batcher.config.workers}))
        gauge(
            Gauge(
                "vaekit_model_info",
                "What is served: version of the bundle, hashes of contract and data",
                lambda: {(one.name, one.version, one.contract, one.data): 1.0 for one in batcher.models.values()},
                ("model", "version", "contract", "data"),
            )
        )
        memory, cpu = "Memory that a worker holds", "Processor time that a worker has had"
        name = "vaekit_worker_resident_memory_bytes"
        gauge(Gauge(name, memory, lambda: {n: one.resident for n, one in _workers(batcher)}, ("worker",)))
        name = "vaekit_worker_cpu_seconds"
        gauge(Gauge(name, cpu, lambda: {n: one.cpu for n, one in _workers(batcher)}, ("worker",), growing=True))

    def attach_host(self, host: HttpHost) -> None:
        """Watch the connections of the HTTP host."""
        gauge = self.metrics.gauge
        gauge(Gauge("vaekit_http_connections", "Connections that are open", lambda: {(): len(host.state.connections)}))
        gauge(
            Gauge(
                "vaekit_http_refusals",
                "Connections and heads that were refused before they were requests, by reason",
                lambda: {(kind,): float(count) for kind, count in host.refusals.items()},
                ("reason",),
                growing=True,
            )
        )

    def attach_ledger(self, ledger: Ledger) -> None:
        """Watch what is remembered of answers."""
        text = "Answers that could not be remembered, and cannot get feedback"
        self.metrics.gauge(_total("vaekit_ledger_lost_answers", text, lambda: ledger.lost))

    async def scrape(self, accept: str = "") -> tuple[bytes, str]:
        """All metrics, and their media type."""
        return await self.metrics.render(), CONTENT_TYPE

    # ---------------------------------------------------------------- requests

    async def around(self, request: Request, handle: Handler) -> Told:
        """Watch one request, from before anything is known of it to its answer."""
        state = _Open(None if self.traces is None else self._span(self.traces, request))
        self._open[request.number] = state
        self._running += 1
        told = _DEFECT  # unless it comes otherwise
        try:
            told = await handle(request)
        except asyncio.CancelledError:
            told = _GONE
            raise
        finally:
            self._running -= 1
            del self._open[request.number]
            self._done(request, told, state)
        return told

    def _done(self, request: Request, told: Told, state: _Open) -> None:
        """Count, log and trace a request that was answered."""
        now = time.monotonic()
        fault, seconds = told.fault, now - request.started
        status, reason = (200, "") if fault is None else (fault.status, fault.kind)
        kind = self._kind(request, told.query or request.query)
        kind.counts.add(status, seconds, request.size, len(told.body), told.rows)
        if reason:
            self.metrics.failures.of(kind.model, kind.query, reason).add()
            if status in _DENIED:
                self.metrics.denied.of(reason).add()
        elif request.route == _FEEDBACK:
            self.metrics.feedback.of(kind.model).add()
        if state.span is not None and self.traces is not None:
            self.traces.end(state.span, now, status, reason, _outcome(request, kind, told, status))
        if self.log.wants(status, kind.probe):
            self._log(request, kind, told, state, status, seconds)

    def _kind(self, request: Request, query: str) -> _Kind:
        """What is alike for all requests of one kind."""
        key = request.model, query, request.route, request.host
        found = self._kinds.get(key)
        if found is None:
            labels = self.metrics.labels(request.model, query)
            found = _Kind(request, labels, self.metrics)
            if OTHER not in labels:  # names that nobody serves are not kept
                self._kinds[key] = found
        return found

    def _log(self, request: Request, kind: _Kind, told: Told, state: _Open, status: int, seconds: float) -> None:
        answered, fault = request.answered, told.fault
        self.log.put(
            RequestLine,
            "debug" if kind.probe else "info" if status < 400 else "warning" if status < 500 else "error",
            "request",
            request.id,
            "" if state.span is None else trace_of(state.span),
            kind.model if kind.model != NONE else "",
            "" if answered is None else answered.version,
            "" if answered is None else answered.contract[:_DIGITS],
            "" if answered is None else answered.data[:_DIGITS],
            kind.query if kind.query != NONE else "",
            kind.protocol,
            request.route,
            status,
            "" if fault is None else fault.kind,
            None if fault is None else fault.field,
            None if fault is None else fault.row,
            told.rows,
            request.size,
            len(told.body),
            None if state.batch is None else int(1e6 * state.queue) / 1e3,
            None if state.batch is None else int(1e6 * state.infer) / 1e3,
            int(1e6 * seconds) / 1e3,
            request.caller,
            state.batch,
        )

    def _span(self, traces: Traces, request: Request) -> Span:
        attributes = {"vaekit.request_id": request.id}
        if request.host == "grpc":
            service, _, method = request.route.strip("/").rpartition("/")
            name = f"{service}/{method}"
            attributes |= {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method}
        else:
            name = f"{request.method} {request.route}".strip()
            attributes |= {"http.request.method": request.method, "http.route": request.route}
        parent, state = request.header("traceparent"), request.header("tracestate")
        return traces.request(name, request.started, parent, state, attributes)

    # ---------------------------------------------------------------- batches and workers

    def batch(self, record: BatchRecord) -> None:
        """Take in what is told of a batch."""
        metrics, seen, model = self.metrics, record.seen, record.model
        metrics.batches.of(record.reason).add()
        metrics.batch_requests.of().observe(len(record.numbers))
        metrics.batch_rows.of().observe(seen.rows)
        waits = metrics.waits.of(*metrics.labels(model, record.query))
        sampled: list[tuple[Span, float]] = []
        for number, wait in zip(record.numbers, record.waits, strict=True):
            waits.observe(wait)
            if (state := self._open.get(number)) is not None:
                state.batch, state.queue, state.infer = record.number, wait, seen.infer
                if state.span is not None and state.span.is_recording():
                    sampled.append((state.span, record.started - wait))
        work = seen.infer + seen.write
        for group in seen.groups:
            held = record.seconds * ((group.infer + group.write) / work if work else 1.0 / len(seen.groups))
            metrics.group(model, group.query, group.requests, group.infer, held)
        if sampled and self.traces is not None:
            self.traces.batch(
                sampled,
                (record.started, record.started + record.seconds),
                {"read": seen.parse, "infer": seen.infer, "write": seen.write},
                {
                    "vaekit.batch": record.number,
                    "vaekit.batch.requests": len(record.numbers),
                    "vaekit.batch.rows": seen.rows,
                    "vaekit.batch.reason": record.reason,
                    "vaekit.model": model,
                    "vaekit.worker": record.worker,
                },
            )

    def worker(self, event: WorkerEvent) -> None:
        """Take in what happened to a worker."""
        if event.kind == "ready":
            self.metrics.cold_starts.of().add()
            self.metrics.start_seconds.of().observe(event.seconds)
            self.metrics.serves({name: (*facts.queries, INFER) for name, facts in self._models().items()})
            self._kinds.clear()
        elif event.kind in _SERIOUS:
            self.metrics.restarts.of(event.kind).add()
        facts = {"worker": event.worker, "message": event.message, "seconds": round(event.seconds, 3)}
        told = {name: value for name, value in facts.items() if value}
        self.log.event(f"worker_{event.kind}", _SERIOUS.get(event.kind, "info"), **told)

    def noted(self, noted: Noted) -> None:
        """Take in what a worker noticed of rows."""
        for model, tally in noted.tallies.items():
            self.metrics.tallied(model, tally)
        models = self._models()
        for sample in noted.samples:
            self.log.put(
                SampleLine,
                "info",
                "sample",
                sample.id,
                sample.model,
                models[sample.model].version if sample.model in models else "",
                sample.query,
                sample.masked,
            )

    def close(self) -> None:
        """Send and write what waits."""
        if self.traces is not None:
            self.traces.close()
        self.log.close()


def _outcome(request: Request, kind: _Kind, told: Told, status: int) -> dict[str, str | int]:
    """What a span says of the end of a request."""
    facts: dict[str, str | int] = {"vaekit.model": kind.model, "vaekit.query": kind.query, "vaekit.rows": told.rows}
    if request.answered is not None:
        facts |= {"vaekit.version": request.answered.version, "vaekit.contract": request.answered.contract}
    if request.host != "grpc":
        return facts | {"http.response.status_code": status}
    from vaekit.serving.rpc.status import code_of  # loaded with the host that the request came through

    return facts | {"rpc.grpc.status_code": 0 if told.fault is None else code_of(told.fault).value[0]}


def _workers(batcher: Batcher) -> Iterator[tuple[Labels, Usage]]:
    """What each worker uses, under its place among those that live: numbers of processes would go on for ever."""
    for place, worker in enumerate(list(batcher.workers.values())):
        if (used := usage(worker.pid)) is not None:
            yield (str(place),), used


def _total(name: str, text: str, read: Callable[[], int]) -> Gauge:
    return Gauge(name, text, lambda: {(): float(read())}, growing=True)
