"""OpenTelemetry traces: from the caller's span through the queue and the batch to the model.

The worker knows nothing of traces: its part is put together here from the times that it tells. Off unless an endpoint
is given, and OpenTelemetry is imported only then. Sampling, resource and exporter follow the standard ``OTEL_*``
variables.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from vaekit.errors import ConfigError
from vaekit.version import __version__

if TYPE_CHECKING:
    from opentelemetry.trace import Span

__all__ = ["Traces", "trace_of"]

_VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PATH = "/v1/traces"
_FAILED = 500  # statuses from here on are the service's fault

Attributes = Mapping[str, str | int | float | bool]


class Traces:
    """Makes spans and sends them to an OTLP receiver over HTTP.

    Args:
        endpoint: URL of the receiver, such as ``http://localhost:4318``; the standard variables say it if not given.

    Raises:
        ConfigError: If OpenTelemetry is not installed.
    """

    def __init__(self, endpoint: str | None = None) -> None:
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ImportError as error:
            raise ConfigError("traces need OpenTelemetry: pip install 'vaekit[trace]'") from error
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        name = os.environ.get("OTEL_SERVICE_NAME", "vaekit")
        resource = Resource.create({"service.name": name, "service.version": __version__})
        exporter = OTLPSpanExporter(f"{endpoint.rstrip('/').removesuffix(_PATH)}{_PATH}" if endpoint else None)
        self._exporter = _Counting(exporter)
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))  # type: ignore[arg-type]
        self._tracer = self._provider.get_tracer("vaekit", __version__)
        self._propagator = TraceContextTextMapPropagator()
        self._offset = time.time_ns() - time.monotonic_ns()

    @classmethod
    def asked(cls, endpoint: str | None = None) -> Traces | None:
        """Traces if an endpoint is given, here or by the standard variables; None otherwise."""
        disabled = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
        if disabled or not (endpoint or any(os.environ.get(name) for name in _VARIABLES)):
            return None
        return cls(endpoint)

    @property
    def lost(self) -> int:
        """Spans that no receiver took."""
        return self._exporter.lost

    def request(self, name: str, started: float, traceparent: str, tracestate: str, attributes: Attributes) -> Span:
        """The span of a request, which goes on with the caller's trace if it has one.

        Args:
            name: The route, bounded in number.
            started: When it came, of `time.monotonic`.
            traceparent: The W3C header, or nothing.
            tracestate: The W3C header, or nothing.
            attributes: What is known of it.
        """
        from opentelemetry.context import Context
        from opentelemetry.trace import SpanKind

        carrier = {"traceparent": traceparent, "tracestate": tracestate} if traceparent else {}
        return self._tracer.start_span(
            name,
            self._propagator.extract(carrier, Context()),
            SpanKind.SERVER,
            attributes,
            start_time=self._at(started),
        )

    def batch(
        self,
        spans: Iterable[tuple[Span, float]],
        times: tuple[float, float],
        parts: Mapping[str, float],
        attributes: Attributes,
    ) -> None:
        """The spans of a batch: the wait of each request, the batch, and its parts inside the worker.

        The batch belongs to the trace of the first of its requests, and is linked with all of them in both directions.

        Args:
            spans: Spans of its sampled requests with the time since which each waited.
            times: When the batch was given to a worker, and when its answers came, of `time.monotonic`.
            parts: Seconds of each part of the work, in their order.
            attributes: What is known of the batch.
        """
        from opentelemetry.trace import Link, set_span_in_context

        sent, came = times
        members = list(spans)
        for span, since in members:
            self._inside(span, "queue", since, sent)
        first = set_span_in_context(members[0][0])
        links = [Link(span.get_span_context()) for span, _ in members]
        batch = self._tracer.start_span("batch", first, attributes=attributes, links=links, start_time=self._at(sent))
        start = sent
        for name, seconds in parts.items():
            self._inside(batch, name, start, start + seconds)
            start += seconds
        batch.end(self._at(came))
        for span, _ in members:
            span.add_link(batch.get_span_context())

    def end(self, span: Span, ended: float, status: int, kind: str, attributes: Attributes) -> None:
        """End the span of a request.

        Args:
            span: The span.
            ended: When, of `time.monotonic`.
            status: HTTP status.
            kind: Why there is no answer, or nothing.
            attributes: What became known of it.
        """
        from opentelemetry.trace import Status, StatusCode

        span.set_attributes(dict(attributes))
        if kind:
            span.set_attribute("error.type", kind)
        if status >= _FAILED:
            span.set_status(Status(StatusCode.ERROR))
        span.end(self._at(ended))

    def close(self, timeout: float = 2.0) -> None:
        """Send what waits, and stop.

        Args:
            timeout: Most seconds to wait for the receiver.
        """
        closing = threading.Thread(target=self._provider.shutdown, name="vaekit-traces", daemon=True)
        closing.start()
        closing.join(timeout)

    def _inside(self, parent: Span, name: str, start: float, end: float) -> None:
        from opentelemetry.trace import set_span_in_context

        span = self._tracer.start_span(name, set_span_in_context(parent), start_time=self._at(start))
        span.end(self._at(max(start, end)))

    def _at(self, moment: float) -> int:
        """Nanoseconds since the epoch of a moment of `time.monotonic`."""
        return int(moment * 1e9) + self._offset


class _Counting:
    """An exporter that counts what its receiver did not take.

    Args:
        inner: The exporter.
    """

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.lost = 0

    def export(self, spans: Any) -> Any:
        """Send spans."""
        result = self._inner.export(spans)
        if result.name != "SUCCESS":
            self.lost += len(spans)
        return result

    def shutdown(self) -> None:
        """Stop."""
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Send what waits."""
        return bool(self._inner.force_flush(timeout_millis))


def trace_of(span: Span) -> str:
    """The id of the trace that a span belongs to, as it is written in headers and logs."""
    return f"{span.get_span_context().trace_id:032x}"
