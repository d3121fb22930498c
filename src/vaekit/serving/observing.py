"""The front's eyes: metrics, log lines and traces of every request, batch and worker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from vaekit.monitoring.metrics import CONTENT_TYPE, INFER, NONE, Metrics
from vaekit.monitoring.processes import Usage, usage
from vaekit.monitoring.series import Gauge, Labels
from vaekit.serving.asking import Fault, Told
from vaekit.serving.batcher import Batcher
from vaekit.serving.logs import Log, RequestLine, SampleLine
from vaekit.serving.messages import Noted
from vaekit.serving.records import BatchRecord, WorkerEvent
from vaekit.serving.request import Handler, Request
from vaekit.serving.traces import Traces, trace_of

if TYPE_CHECKING:
    from opentelemetry.trace import Span

__all__ = ["Observing"]

_GONE = Told(fault=Fault(status=499, kind="gone", message="the caller has gone"))
_DEFECT = Told(fault=Fault(status=500, kind="internal", message="the server failed"))
_PROBES = frozenset({"/startupz", "/livez", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready"})
_FEEDBACK = "/v1/feedback"
_DENIED = (401, 403)
_SERIOUS = {"lost": "error", "stuck": "error", "failed": "error"}


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
        self._open: dict[str, _Open] = {}
        self._running = 0
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

    async def scrape(self, accept: str = "") -> tuple[bytes, str]:
        """All metrics, and their media type."""
        return await self.metrics.render(), CONTENT_TYPE

    # ---------------------------------------------------------------- requests

    async def around(self, request: Request, handle: Handler) -> Told:
        """Watch one request, from before anything is known of it to its answer."""
        state = _Open(None if self.traces is None else self._span(self.traces, request))
        self._open[request.id] = state  # callers choose ids: of two at a time with one id the second is told of batches
        self._running += 1
        told = _DEFECT  # unless it comes otherwise
        try:
            told = await handle(request)
        except asyncio.CancelledError:
            told = _GONE
            raise
        finally:
            self._running -= 1
            if self._open.get(request.id) is state:
                del self._open[request.id]
            self._done(request, told, state)
        return told

    def _done(self, request: Request, told: Told, state: _Open) -> None:
        """Count, log and trace a request that was answered."""
        now = time.monotonic()
        seconds, fault, query = now - request.started, told.fault, told.query or request.query
        status, kind = (200, "") if fault is None else (fault.status, fault.kind)
        protocol = _protocol(request)
        model, query = self.metrics.request(
            request.model,
            query,
            protocol,
            status,
            kind,
            seconds,
            came=request.size,
            went=len(told.body),
            rows=told.rows,
        )
        if status in _DENIED:
            self.metrics.denied.of(kind).add()
        elif request.route == _FEEDBACK and fault is None:
            self.metrics.feedback.of(model).add()
        if state.span is not None and self.traces is not None:
            facts: dict[str, str | int | float | bool] = {"vaekit.model": model, "vaekit.query": query}
            facts["vaekit.rows"] = told.rows
            if request.answered is not None:
                facts |= {"vaekit.version": request.answered.version, "vaekit.contract": request.answered.contract}
            self.traces.end(state.span, now, status, kind, _outcome(request, status) | facts)
        if status >= 400 or request.route not in _PROBES:
            self._log(request, told, state, (model, query, protocol), (status, kind), seconds)

    def _log(
        self,
        request: Request,
        told: Told,
        state: _Open,
        labels: tuple[str, str, str],
        outcome: tuple[int, str],
        seconds: float,
    ) -> None:
        if not self.log.wants(status := outcome[0]):
            return
        model, query, protocol = labels
        answered, fault = request.answered, told.fault
        self.log.put(
            RequestLine(
                time=datetime.now(UTC),
                level="info" if status < 400 else "warning" if status < 500 else "error",
                event="request",
                request_id=request.id,
                trace_id="" if state.span is None else trace_of(state.span),
                model=model if model != NONE else "",
                version="" if answered is None else answered.version,
                contract="" if answered is None else answered.contract,
                data="" if answered is None else answered.data,
                query=query if query != NONE else "",
                protocol=protocol,
                route=request.route,
                status=status,
                kind=outcome[1],
                field=None if fault is None else fault.field,
                row=None if fault is None else fault.row,
                rows=told.rows,
                bytes_in=request.size,
                bytes_out=len(told.body),
                queue_ms=round(1e3 * state.queue, 3),
                infer_ms=round(1e3 * state.infer, 3),
                total_ms=round(1e3 * seconds, 3),
                caller=request.caller,
                batch=state.batch,
            )
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
        metrics.batch_requests.of().observe(len(record.ids))
        metrics.batch_rows.of().observe(seen.rows)
        waits = metrics.waits.of(*metrics.labels(model, record.query))
        sampled: list[tuple[Span, float]] = []
        for request, wait in zip(record.ids, record.waits, strict=True):
            waits.observe(wait)
            if (state := self._open.get(request)) is not None:
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
                    "vaekit.batch.requests": len(record.ids),
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
                SampleLine(
                    time=datetime.now(UTC),
                    level="info",
                    event="sample",
                    request_id=sample.id,
                    model=sample.model,
                    version=models[sample.model].version if sample.model in models else "",
                    query=sample.query,
                    sample=sample.masked,
                )
            )

    def close(self) -> None:
        """Send and write what waits."""
        if self.traces is not None:
            self.traces.close()
        self.log.close()


def _protocol(request: Request) -> str:
    """How a request came: ``grpc``, ``v2`` (Open Inference Protocol over REST) or ``http``."""
    return "grpc" if request.host == "grpc" else "v2" if request.route.startswith("/v2") else "http"


def _outcome(request: Request, status: int) -> dict[str, str | int | float | bool]:
    if request.host == "grpc":
        return {}
    return {"http.response.status_code": status}


def _workers(batcher: Batcher) -> Iterator[tuple[Labels, Usage]]:
    """What each worker uses, under its place among those that live: numbers of processes would go on for ever."""
    for place, worker in enumerate(list(batcher.workers.values())):
        if (used := usage(worker.pid)) is not None:
            yield (str(place),), used


def _total(name: str, text: str, read: Callable[[], int]) -> Gauge:
    return Gauge(name, text, lambda: {(): float(read())}, growing=True)
