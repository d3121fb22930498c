"""The HTTP host over real sockets, in front of a stand-in for the workers: for what does not depend on a model."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable
from typing import Any, Self

import uvloop

from vaekit.serving.feedback.ledger import Ledger
from vaekit.serving.front import Front
from vaekit.serving.http.app import Application
from vaekit.serving.http.host import HttpHost
from vaekit.serving.http.routes import Routes
from vaekit.serving.http.system import System
from vaekit.serving.http.v1 import V1
from vaekit.serving.http.v2 import V2
from vaekit.serving.settings import Settings
from vaekit.serving.wire.asking import Ask, Told
from vaekit.serving.wire.facts import ColumnFacts, Facts, FieldFacts, QueryFacts

FACTS = Facts(
    name="m",
    version="1234",
    contract="c0",
    data="d0",
    vaekit="0",
    created="",
    backend="onnx",
    fields=(FieldFacts(name="x", type="double", item="double", json="number", kind="number", role="model"),),
    queries={
        "score": QueryFacts(
            name="score",
            doc="",
            rows=True,
            columns=(ColumnFacts(name="score", type="double", item="double", json="number"),),
        )
    },
)


async def echo(ask: Ask) -> Told:
    """An answer that is the question."""
    return Told(body=ask.body, headers={"content-type": "application/octet-stream"}, rows=1)


class Stage:
    """A host that listens on a free port, in a thread.

    Args:
        answer: What is told for each ask.
        arounds: What is around every request.
        settings: Settings of the service.
    """

    def __init__(
        self, answer: Callable[[Ask], Awaitable[Told]] = echo, arounds: tuple[Any, ...] = (), **settings: Any
    ) -> None:
        self.answer, self.arounds = answer, arounds
        self.settings = Settings(bundles={"m": "nowhere"}, port=0, **settings)
        self.ready, self.models = True, {"m": FACTS}
        self.asks: list[Ask] = []
        self.deadlines: list[float] = []
        self.cancelled = threading.Event()
        self._loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    async def ask(self, ask: Ask, deadline: float) -> Told:
        """What the front calls."""
        self.asks.append(ask)
        self.deadlines.append(deadline - self._loop.time())
        try:
            return await self.answer(ask)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    def __enter__(self) -> Self:
        self._thread.start()
        self.url = self.call(self._start())
        self.host, _, port = self.url.partition("//")[2].rpartition(":")
        self.port = int(port)
        return self

    def __exit__(self, *_: object) -> None:
        self.call(self.http.close(0.1))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self.ledger.close()

    async def _start(self) -> str:
        self.ledger = Ledger(None, self.settings.feedback_days, self.settings.feedback_answers)
        self.front = Front(
            self, self.ledger, self.arounds, timeout=self.settings.timeout, longest=self.settings.longest_timeout
        )
        routes = [
            route
            for part in (V1(self.front), V2(self.front), System(self.front, None, self.settings.max_rows))
            for route in part.routes
        ]
        self.http = HttpHost(Application(Routes(routes), self.front.handle, self.settings.max_body), self.settings)
        return await self.http.start()

    def call(self, work: Any) -> Any:
        """Run something on its event loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def raw(self, content: bytes = b"") -> socket.socket:
        """A connection on which some bytes were sent."""
        connection = socket.create_connection((self.host, self.port), timeout=60)
        connection.sendall(content)
        return connection
