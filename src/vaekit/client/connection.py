"""One HTTP/1.1 connection that costs little: what a load run needs and nothing else.

A general client spends longer on a request than a fast service does, and would measure itself.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import NamedTuple, cast
from urllib.parse import SplitResult

import httptools

__all__ = ["Answered", "Connection", "connect"]


class Answered(NamedTuple):
    """An answer: its status, its body, and whether it says when to come back (Retry-After)."""

    status: int
    body: bytes
    later: bool


class Connection(asyncio.Protocol):
    """A connection that is kept: one request at a time, each a whole message prepared beforehand."""

    def __init__(self) -> None:
        self._transport: asyncio.WriteTransport | None = None
        self._waiter: asyncio.Future[Answered] | None = None
        self._parser, self._body = httptools.HttpResponseParser(self), bytearray()
        self._later = self.open = False

    async def ask(self, request: bytes) -> Answered:
        """Send a request and wait for its answer.

        Raises:
            ConnectionError: If the connection breaks before the answer is whole.
        """
        if self._transport is None or not self.open:
            raise ConnectionError("the connection is closed")
        self._waiter = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._waiter

    def close(self) -> None:
        """Close it, whatever is under way."""
        self.open = False
        if self._transport is not None:
            self._transport.abort()

    # ------------------------------------------------------------------------------------------ called by the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there."""
        self._transport, self.open = cast("asyncio.WriteTransport", transport), True

    def data_received(self, data: bytes) -> None:
        """Feed the parser."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._end(ConnectionError(f"no HTTP: {error}"))
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell who waits."""
        self.open = False
        self._end(ConnectionError(str(exc) if exc else "the service closed the connection"))

    # --------------------------------------------------------------------------------------------- called by the parser

    def on_message_begin(self) -> None:
        """An answer begins."""
        self._body.clear()
        self._later = False

    def on_header(self, name: bytes, _: bytes) -> None:
        """A header of it."""
        if name.lower() == b"retry-after":
            self._later = True

    def on_body(self, data: bytes) -> None:
        """A part of its body."""
        self._body += data

    def on_message_complete(self) -> None:
        """The answer is whole."""
        self.open = self.open and self._parser.should_keep_alive()
        self._end(Answered(self._parser.get_status_code(), bytes(self._body), self._later))

    def _end(self, found: Answered | ConnectionError) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is None or waiter.done():
            return
        if isinstance(found, ConnectionError):
            waiter.set_exception(found)
        else:
            waiter.set_result(found)


async def connect(url: SplitResult) -> Connection:
    """Open a connection to the host of an address.

    Raises:
        OSError: If it cannot be reached.
    """
    secure = ssl.create_default_context() if url.scheme == "https" else None
    loop = asyncio.get_running_loop()
    port = url.port or (443 if secure else 80)
    _, connection = await loop.create_connection(Connection, url.hostname or "", port, ssl=secure)
    return connection
