"""One HTTP connection: uvicorn's protocol with limits on size and time, and callers who leave told to the application.

Each connection knows until when its present phase may last, and somebody looks at all of them once a second, so a
request costs no timer.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from vaekit.serving.http.replies import refusal
from vaekit.serving.wire.asking import Fault

__all__ = ["WHOLE", "Connection", "Limits"]

WHOLE = "vaekit.whole"  # an ASGI extension: writes a whole response; (status, headers, body) to whether it was written
Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Limits:
    """What one connection may use.

    Args:
        connections: Connections at a time.
        head: Bytes of a request line and its headers.
        head_timeout: Seconds for a request line and its headers, from the opening of the connection or the first byte.
        body_timeout: Seconds for a body.
        idle_timeout: Seconds for which a connection is kept between requests.
        write_timeout: Seconds that a caller has to take an answer in.
        refused: Told the kind of fault of what is refused before it is a request.
    """

    connections: int
    head: int
    head_timeout: float
    body_timeout: float
    idle_timeout: float
    write_timeout: float
    refused: Callable[[str], None]


class _Stop(Exception):
    """Stops the parser; `Connection.refused` says why."""


class Connection(HttpToolsProtocol):
    """One connection.

    Args:
        limits: What it may use.
        draining: Whether the server is about to stop: connections are then closed after their answer.
        config: uvicorn's configuration.
        server_state: What uvicorn's connections share.
        app_state: State that uvicorn's applications share.
        _loop: The event loop.
    """

    def __init__(
        self,
        limits: Limits,
        draining: Callable[[], bool],
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.limits, self.draining = limits, draining
        self.until = math.inf  # when the present phase has to be over, of time.monotonic
        self.in_head = True  # waiting for a head that has begun, or for the very first one
        self.head = 0  # bytes of it so far
        self.blocked = math.inf  # since when what was written is not taken in
        self.refused: Fault | None = None  # why the parser was stopped
        self.task: asyncio.Task[None] | None = None  # which answers
        self.running: RequestResponseCycle | None = None  # what it answers
        self.extensions: dict[str, Any] = {WHOLE: self._answer}

    # ----------------------------------------------------------------------------------------------------------- limits

    def sweep(self, now: float) -> None:
        """End the present phase if it lasts too long: looked at once a second."""
        if now > self.blocked + self.limits.write_timeout:
            self.transport.abort()  # whatever else it asks meanwhile
            return
        if now < self.until or (self.in_head and self._answering()) or self.pipeline:
            return  # in time, or it waits for us
        if self.transport.is_closing() or (self.in_head and not self.head):
            self.transport.abort()  # the last answer is not taken, or nothing came
        elif not (self.in_head or self._answering()):
            self._leave()
        elif self._answering() and self.cycle.response_started:
            self.transport.abort()
        else:
            what, limit = ("head", self.limits.head_timeout) if self.in_head else ("body", self.limits.body_timeout)
            message = f"the {what} of the request was not complete after {limit:g} seconds"
            self._refuse(Fault(status=408, kind="slow_client", message=message))

    def _answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _phase(self) -> None:
        """Set until when the phase that begins now may last."""
        if self.in_head:
            limit = self.limits.head_timeout
        elif self._answering():
            limit = self.limits.body_timeout if self.cycle.more_body else math.inf
        else:
            limit = self.limits.idle_timeout
        self.until = time.monotonic() + limit

    def _count(self, size: int) -> None:
        """Take in how long the head is so far, and stop the parser if that is too long."""
        self.head = size
        if self.head > self.limits.head:
            what = "URL has" if len(self.url) > self.limits.head else "request line and headers have"
            self.refused = Fault(
                status=414 if what == "URL has" else 431,
                kind="head_too_large",
                message=f"the {what} more than {self.limits.head} bytes; put what is long into the body",
            )
            raise _Stop

    def _refuse(self, fault: Fault) -> None:
        """Answer instead of the application, and close."""
        self.limits.refused(fault.kind)
        if not (self._answering() and self.cycle.response_started):
            self.transport.write(refusal(fault))
        self._leave()

    def _leave(self) -> None:
        """Close, for which the caller has to take in what was written."""
        self.until = time.monotonic() + self.limits.write_timeout
        self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Answer a request that the parser did not take; uvicorn calls it so."""
        self._refuse(self.refused or Fault(status=400, kind="bad_request", message="this is not valid HTTP/1.1"))

    # ---------------------------------------------------------------------------------------------------- the transport

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, or turn it away if there are too many."""
        super().connection_made(transport)
        self._phase()
        if len(self.connections) > self.limits.connections:
            message = f"{self.limits.connections} connections are open, which is the limit; come again later"
            self._refuse(Fault(status=503, kind="connections", message=message, retry_after=1.0))

    def connection_lost(self, exc: Exception | None) -> None:
        """End the work for a caller who has gone."""
        gone = self._answering()
        self.pipeline.clear()
        self.extensions = {}
        if self.running is not None:
            self.running.disconnected = True  # uvicorn tells the last request that came, which may wait behind this one
        super().connection_lost(exc)
        if gone and self.task is not None:
            self.task.cancel()

    def data_received(self, data: bytes) -> None:
        """Feed the parser; a head that is too long is refused though none of its lines is complete."""
        cycle, before = self.cycle, self.head if self.in_head else 0
        whole = cycle is None or not cycle.more_body  # otherwise the data begins with the end of a body
        super().data_received(data)
        if self.in_head and whole and self.cycle is cycle and not self.transport.is_closing():
            try:
                self._count(before + len(data))
            except _Stop:
                self.send_400_response("")

    def pause_writing(self) -> None:
        """Note since when the caller takes in nothing."""
        super().pause_writing()
        self.blocked = time.monotonic()

    def resume_writing(self) -> None:
        """Note that the caller took in what was written."""
        super().resume_writing()
        self.blocked = math.inf

    def shutdown(self) -> None:
        """Close after the present answer, at once if there is none: called when no more connections are taken."""
        if self.in_head and self.head:
            return  # a request is on its way in; it is answered, and then the connection is closed
        super().shutdown()

    # ------------------------------------------------------------------------------------------------------- the parser

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self.scope["extensions"] = self.extensions
        self.in_head, self.head = True, 1
        self._phase()

    def on_headers_complete(self) -> None:
        """Hand the request to the application."""
        self._count(len(self.url) + sum(len(name) + len(value) for name, value in self.headers))
        self.in_head = False
        super().on_headers_complete()
        self._phase()
        if self.draining():
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """The body is whole."""
        super().on_message_complete()
        self._phase()

    def on_response_complete(self) -> None:
        """The answer is written: go on with what came meanwhile. What is idle for too long is closed by `sweep`."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        self._phase()

    def _answer(self, status: int, headers: Headers, body: bytes) -> bool:
        """Write a whole response at once, which costs a tenth of what two ASGI messages do.

        Returns:
            Whether it was written: not where the caller has gone, or does not take in what was sent before.
        """
        cycle = self.running
        if cycle is None or cycle.disconnected or self.flow.write_paused:
            return False
        pieces = [STATUS_LINE[status]]
        for name, value in (*cycle.default_headers, *headers):
            pieces += (name, b": ", value, b"\r\n")
        pieces += (b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n", body)
        self.transport.write(b"".join(pieces))
        cycle.response_started = cycle.response_complete = True
        cycle.message_event.set()
        if not cycle.keep_alive:
            self.transport.close()
        cycle.on_response()
        return True

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self.running = cycle
        self.task = self.loop.create_task(cycle.run_asgi(app))
        self.tasks.add(self.task)
        self.task.add_done_callback(self.tasks.discard)
