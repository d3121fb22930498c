"""One gRPC call as a `Request`."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from vaekit.serving.http.headers import request_id
from vaekit.serving.request import Handler, Request, refused
from vaekit.serving.wire.inference import SERVICE

__all__ = ["Call", "address_of"]


class Call(Request):
    """A call of one method.

    Args:
        context: What gRPC knows of the call.
        method: Name of the method.
        body: The message, as it came.
        handler: What handles it.
        model: Name of the model, empty if it names none.
        query: ``infer`` where rows are asked about.
        version: Version of the model that it insists on, empty if none.
    """

    def __init__(
        self,
        context: Any,
        method: str,
        body: bytes,
        handler: Handler,
        model: str = "",
        query: str = "",
        version: str = "",
    ) -> None:
        headers = {
            key.encode(): value if isinstance(value, bytes) else value.encode("latin-1", "replace")
            for key, value in context.invocation_metadata() or ()
        }
        route, peer = f"/{SERVICE}/{method}", address_of(context.peer())
        id = request_id(headers.get(b"x-request-id"))
        super().__init__(id, "grpc", "POST", route, handler, headers, model, query, version, peer)
        self.body = body
        self.timeout = context.time_remaining()

    async def read(self) -> bytes:
        """The message; it is there already, since gRPC calls with whole messages."""
        if self.most is not None and len(self.body) > self.most:
            raise refused(413, "too_large", f"the message may have {self.most:,} bytes; send fewer rows at a time")
        return self.body


def address_of(peer: str) -> str:
    """The address in what gRPC calls a peer; empty for a Unix socket.

    Example:
        >>> address_of("ipv4:192.0.2.7:51234"), address_of("ipv6:%5B::1%5D:51234"), address_of("unix:/run/vae.sock")
        ('192.0.2.7', '::1', '')
    """
    kind, _, rest = peer.partition(":")
    return unquote(rest).rpartition(":")[0].strip("[]") if kind in ("ipv4", "ipv6") else ""
