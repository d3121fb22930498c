"""The HTTP host: it listens, watches its connections, and stops without losing a request."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from email.utils import formatdate
from functools import partial
from typing import Any, cast

import uvicorn
from uvicorn.server import ServerState

from vaekit.errors import ConfigError
from vaekit.serving.access.tls import server_context
from vaekit.serving.http.app import Application
from vaekit.serving.http.protocol import Connection, Limits
from vaekit.serving.settings import Settings

__all__ = ["HttpHost"]

_BACKLOG = 2048
_FAREWELL = 1.0  # seconds that the other end of a TLS connection has to agree to its end
_FRESH = 0.2  # seconds that a connection which was just taken has to begin a request when the server stops


class HttpHost:
    """Listens for HTTP.

    Args:
        app: The application.
        settings: Where to listen, and the limits.
    """

    def __init__(self, app: Application, settings: Settings) -> None:
        self.settings = settings
        self.draining = False
        self.state = ServerState()
        self.refusals = Counter[str]()  # what was refused before it was a request, by kind
        self.connections = cast("set[Connection]", self.state.connections)
        self._config = uvicorn.Config(
            app,
            interface="asgi3",
            http=Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            proxy_headers=False,
            server_header=False,
        )
        self._limits = Limits(
            connections=settings.max_connections,
            head=settings.max_head,
            head_timeout=settings.head_timeout,
            body_timeout=settings.body_timeout,
            idle_timeout=settings.idle_timeout,
            write_timeout=settings.write_timeout,
            refused=lambda kind: self.refusals.update((kind,)),
        )
        self._server: asyncio.Server | None = None
        self._ticking: asyncio.TimerHandle | None = None

    async def start(self) -> str:
        """Listen.

        Returns:
            The URL.

        Raises:
            ConfigError: If it is not possible to listen there, or the certificate cannot be used.
        """
        settings, loop = self.settings, asyncio.get_running_loop()
        self._config.load()
        factory = partial(Connection, self._limits, lambda: self.draining, self._config, self.state, {}, loop)
        tls: dict[str, Any] = {}
        if settings.tls is not None:
            tls = {
                "ssl": server_context(settings.tls),
                "ssl_handshake_timeout": settings.head_timeout,
                "ssl_shutdown_timeout": _FAREWELL,
            }
        try:
            self._server = await loop.create_server(factory, settings.host, settings.port, backlog=_BACKLOG, **tls)
        except OSError as error:
            message = (
                f"cannot listen on {settings.host}:{settings.port}: {error.strerror or error}; give another --port"
            )
            raise ConfigError(message) from error
        self._tick()
        port = self._server.sockets[0].getsockname()[1]
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        return f"{'https' if tls else 'http'}://{host}:{port}"

    def drain(self) -> None:
        """Go on answering, and close each connection after its next answer."""
        self.draining = True

    async def close(self, timeout: float) -> int:
        """Stop listening, let what is being answered end, and close all connections.

        Args:
            timeout: Seconds that answers may still take.

        Returns:
            How many requests were cut off.
        """
        if self._server is None:
            return 0
        self.draining = True
        for _ in range(3):
            await asyncio.sleep(0)  # connections that wait to be accepted are
        self._server.close()
        start = time.monotonic()
        while (self.connections or self.state.tasks) and time.monotonic() < start + timeout:
            fresh = time.monotonic() < start + _FRESH
            for connection in list(self.connections):
                if not (fresh and connection.cycle is None):
                    connection.shutdown()
            await asyncio.sleep(0.02)
        cut = list(self.state.tasks)
        for task in cut:
            task.cancel()
        await asyncio.gather(*cut, return_exceptions=True)
        for connection in list(self.connections):
            connection.transport.close()
        if self._ticking is not None:
            self._ticking.cancel()
        return len(cut)

    def _tick(self) -> None:
        """Once a second: the time of the Date header, and connections that take too long."""
        self.state.default_headers = [(b"date", formatdate(usegmt=True).encode())]
        now = time.monotonic()
        for connection in list(self.connections):
            connection.sweep(now)
        self._ticking = asyncio.get_running_loop().call_later(1.0, self._tick)
