"""A small OTLP receiver: keeps the spans that are sent to it over HTTP."""

import contextlib
import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Span:
    """A span as it was received."""

    def __init__(self, span, resource):
        self.name, self.kind = span.name, span.kind
        self.trace, self.id, self.parent = span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()
        self.start, self.end = span.start_time_unix_nano, span.end_time_unix_nano
        self.attributes = {one.key: _plain(one.value) for one in span.attributes}
        self.links = {one.span_id.hex() for one in span.links}
        self.failed = span.status.code == 2
        self.resource = {one.key: _plain(one.value) for one in resource.attributes}

    def __repr__(self):
        return f"<{self.name} {self.id} in {self.parent or 'nothing'} of {self.trace[:6]}: {self.attributes}>"


def _plain(value):
    return getattr(value, value.WhichOneof("value"))


class Receiver:
    """What was received.

    Args:
        url: Where it listens.
    """

    def __init__(self, url):
        self.url, self.spans, self.content = url, [], b""

    def of(self, trace):
        """Spans of one trace by name."""
        return {span.name: span for span in self.spans if span.trace == trace}


@contextlib.contextmanager
def receiving():
    """Run a receiver until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            content = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                content = gzip.decompress(content)
            assert self.path == "/v1/traces"
            found.content += content
            for resource in ExportTraceServiceRequest.FromString(content).resource_spans:
                for scope in resource.scope_spans:
                    found.spans += [Span(span, resource.resource) for span in scope.spans]
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found = Receiver(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
