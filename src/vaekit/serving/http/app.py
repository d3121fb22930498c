"""The ASGI application: a path becomes a `Request`, what the front tells becomes a response.

It has no framework in it, since that would cost more than the model does: routes are looked up in a dictionary, a body
is read in one go, and an answer is two messages.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from vaekit.serving.front import identity
from vaekit.serving.http.headers import request_id
from vaekit.serving.http.media import JSON
from vaekit.serving.http.protocol import WHOLE
from vaekit.serving.http.replies import fault_body, fault_headers
from vaekit.serving.http.routes import Found, Route, Routes
from vaekit.serving.request import Handler, Refused, Request, refused
from vaekit.serving.wire.asking import Fault, Told
from vaekit.serving.wire.facts import Facts

__all__ = ["Application", "HttpRequest"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]
_LINGER = 2**26  # bytes of a refused body that are read and thrown away, so that its caller gets to read why
_LOG = logging.getLogger(__name__)


class HttpRequest(Request):
    """A request that came over HTTP.

    Args:
        scope: The ASGI scope.
        receive: Receives the body.
        headers: Headers by name.
        found: Its route.
        handler: What handles it.
        largest: Bytes of a body that are taken if nobody says otherwise.
    """

    def __init__(
        self,
        scope: Mapping[str, Any],
        receive: Receive,
        headers: Mapping[bytes, bytes],
        found: Found,
        handler: Handler,
        largest: int,
    ) -> None:
        client = scope["client"]
        super().__init__(
            request_id(headers.get(b"x-request-id")),
            "http",
            scope["method"],
            found.route.pattern,
            handler,
            headers,
            found.model,
            found.query,
            found.version,
            client[0] if client else "",
        )
        self.receive, self.largest = receive, largest
        self.arguments: bytes = scope["query_string"]
        self.unread = False  # whether a part of the body was left where it is

    async def read(self) -> bytes:
        """The body, in one go; refused before more of it is held than is allowed."""
        most = self.largest if self.most is None else self.most
        declared = self.headers.get(b"content-length")
        if declared is None and b"transfer-encoding" not in self.headers:
            raise refused(411, "length", "a body is needed: send it with a Content-Length, or chunked")
        if declared is not None and int(declared) > most:
            raise self._too_large(most)
        if b"content-encoding" in self.headers and self.header("content-encoding").strip().lower() != "identity":
            raise refused(415, "encoding", "the body is compressed; send it as it is, or as compressed Arrow")
        message = await self.receive()
        parts: list[bytes] = []
        size = 0
        while True:
            if message["type"] == "http.disconnect":
                raise refused(499, "gone", "the caller has gone")
            part: bytes = message["body"]
            if not message["more_body"] and not parts:
                if len(part) > most:
                    raise self._too_large(most)
                return part
            parts.append(part)
            size += len(part)
            if size > most:
                raise self._too_large(most)
            if not message["more_body"]:
                return b"".join(parts)
            message = await self.receive()

    def _too_large(self, most: int) -> Refused:
        self.unread = True
        return refused(413, "too_large", f"the body may have {most:,} bytes; send fewer rows at a time, or use Arrow")


class Application:
    """The ASGI application.

    Args:
        routes: The routes.
        handle: The way of every request: what is around it, and inside the handler of its route.
        largest: Bytes of a body.
    """

    def __init__(self, routes: Routes, handle: Handler, largest: int) -> None:
        self.routes, self.handle, self.largest = routes, handle, largest
        self._identities: dict[str, tuple[Facts, Headers]] = {}

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one request."""
        found = self.routes.find(scope["path"]) or _NOWHERE[scope["path"].startswith("/v2")]
        handler = found.route.handlers.get(scope["method"]) or _other(found.route, scope["method"])
        request = HttpRequest(scope, receive, dict(scope["headers"]), found, handler, self.largest)
        try:
            told = await self.handle(request)
        except asyncio.CancelledError:  # the caller has gone, and then this is not sent; or the server has to end
            told = Told(fault=Fault(status=503, kind="draining", message="the server stopped before the answer came"))
        except Exception:  # a defect of ours, of which the caller learns nothing but that it is ours
            _LOG.exception("request %s failed", request.id)
            told = Told(fault=Fault(status=500, kind="defect", message="the service has a defect; see its log"))
        status, headers, body = self._response(request, found.route.plain, told)
        whole = scope.get("extensions", {}).get(WHOLE)
        if whole is None or request.unread or not whole(status, headers, b"" if request.method == "HEAD" else body):
            with contextlib.suppress(asyncio.CancelledError):  # the caller has gone, and does not take it in
                await self._write(request, status, headers, body, send)

    async def _write(self, request: HttpRequest, status: int, headers: Headers, body: bytes, send: Send) -> None:
        """Write a response piece by piece, as the caller takes it in."""
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": request.unread})
        if request.unread:
            await self._linger(request, send)

    def _response(self, request: HttpRequest, plain: bool, told: Told) -> tuple[int, Headers, bytes]:
        """Status, headers and body."""
        status, body, more = 200, told.body, told.headers
        if told.fault is not None:
            status, body = told.fault.status, fault_body(told.fault, request.id, plain)
            more = {"content-type": JSON, **fault_headers(told.fault)}
        headers: Headers = [(b"x-request-id", request.id.encode()), (b"content-length", b"%d" % len(body))]
        if request.answered is not None:
            headers += self._identity(request.answered)
        headers += [(name.encode(), value.encode("latin-1")) for name, value in (request.replies | more).items()]
        if request.unread:
            headers.append((b"connection", b"close"))
        return status, headers, body

    def _identity(self, facts: Facts) -> Headers:
        """Headers that say which model answered, encoded once."""
        kept = self._identities.get(facts.name)
        if kept is None or kept[0] is not facts:
            headers = [(name.encode(), value.encode()) for name, value in identity(facts).items()]
            kept = self._identities[facts.name] = (facts, headers)
        return kept[1]

    async def _linger(self, request: HttpRequest, send: Send) -> None:
        """Throw away the rest of a body before the connection is closed: closing earlier would reset it."""
        left = _LINGER
        while left > 0:
            message = await request.receive()
            if message["type"] == "http.disconnect" or not message["more_body"]:
                break
            left -= len(message["body"])
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _other(route: Route, method: str) -> Handler:
    """What handles a method that a route does not know."""
    if not route.handlers:
        return _nowhere
    if method == "HEAD" and "GET" in route.handlers:
        get: Handler = route.handlers["GET"]  # the body is left out when it is written
        return get

    async def handle(request: Request) -> Told:
        request.replies["allow"] = route.allow
        if method == "OPTIONS":
            return Told()
        raise refused(405, "method", f"{method} is not possible here; {route.allow} are")

    return handle


async def _nowhere(request: Request) -> Told:
    raise refused(404, "no_such_path", "there is nothing here; GET / lists the ways in, GET /openapi.json all of them")


_NOWHERE = {plain: Found(Route("", {}, plain=plain)) for plain in (False, True)}
