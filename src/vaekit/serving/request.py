"""One request as every host makes it, and the seam around its handling.

A host (HTTP, gRPC) makes a `Request` and words the `Told` that comes back in its own protocol. Whatever looks at every
request, such as authorisation, logs, metrics and traces, is an `Around` and knows of no host.
"""

from __future__ import annotations

import itertools
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping

from vaekit.errors import VaekitError
from vaekit.serving.wire.asking import Fault, Told
from vaekit.serving.wire.facts import Facts

__all__ = ["Around", "Handler", "Refused", "Request", "chained", "refused"]

Handler = Callable[["Request"], Awaitable[Told]]
Around = Callable[["Request", Handler], Awaitable[Told]]
"""Called with a request whose body is not read yet and with the rest of its way: returns what the rest returns, or a
`Told` with a fault in its place. A caller who goes away is an `asyncio.CancelledError` out of the rest of the way."""
_NUMBERS = itertools.count(1)


class Refused(VaekitError):
    """A request that cannot be handled, for a reason that its caller is told.

    Args:
        fault: The reason.
    """

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


def refused(status: int, kind: str, message: str, retry_after: float | None = None) -> Refused:
    """The refusal of a request as such: no field or row of it is to blame.

    Example:
        >>> refused(404, "no_such_path", "there is nothing here").fault.status
        404
    """
    return Refused(Fault(status=status, kind=kind, message=message, retry_after=retry_after))


class Request(ABC):
    """What is known of one request before its body is read, and what is added on its way.

    Args:
        id: The request id.
        host: Which host took it, ``http`` or ``grpc``.
        method: HTTP method; ``POST`` of gRPC.
        route: The path as a pattern, bounded in number, for example ``/v1/models/{model}/{query}``.
        handler: What handles it, inside all that is around.
        headers: Headers or metadata, names in lower case.
        model: Name of the model, empty if it names none.
        query: Name of the query, empty if it names none; ``infer`` where the body says which.
        version: Version of the model that it insists on, empty if none.
        peer: Address of the caller.

    Attributes:
        number: Its number in this process; callers choose ids, and may choose one twice.
        started: When it came, of `time.monotonic`.
        takes: Media type of the body, a name of `vaekit.serving.worker.formats.READERS`.
        gives: Media type of the answer, a name of `vaekit.serving.worker.formats.WRITERS`.
        options: Options that came outside the body.
        asks: Other facts for the worker, told to it as `Ask.headers`.
        timeout: Seconds until the answer is of no use; None: what the service grants by default.
        most: Bytes of the body that this caller may send; None: what the service allows.
        caller: Who asks, as authorisation found out; never a secret.
        sees: Which models this caller may know of; None: all.
        replies: Headers of the answer, names in lower case.
        answered: The model that answered, once it did.
        size: Bytes of the body, once it was read.
    """

    takes = ""
    gives = ""
    caller = ""
    timeout: float | None = None
    most: int | None = None
    sees: Callable[[str], bool] | None = None
    answered: Facts | None = None
    size = 0

    def __init__(
        self,
        id: str,
        host: str,
        method: str,
        route: str,
        handler: Handler,
        headers: Mapping[bytes, bytes],
        model: str = "",
        query: str = "",
        version: str = "",
        peer: str = "",
    ) -> None:
        self.id, self.host, self.method, self.route, self.handler = id, host, method, route, handler
        self.headers, self.model, self.query, self.version, self.peer = headers, model, query, version, peer
        self.number, self.started = next(_NUMBERS), time.monotonic()
        self.options: dict[str, str] = {}
        self.asks: dict[str, str] = {}
        self.replies: dict[str, str] = {}

    @abstractmethod
    async def read(self) -> bytes:
        """The body.

        Raises:
            Refused: If it is too large, does not come in time, or the caller has gone.
        """

    def header(self, name: str) -> str:
        """A header as text, empty if it did not come.

        Args:
            name: Its name in lower case.
        """
        return self.headers.get(name.encode(), b"").decode("latin-1")


def chained(arounds: Iterable[Around], handler: Handler) -> Handler:
    """A handler with others around it; the first one given is the outermost.

    Example:
        >>> import asyncio
        >>> async def handler(request):
        ...     return Told(body=b"answer")
        >>> async def shut(request, handle):
        ...     return Told(fault=Fault(status=503, kind="draining", message="come again"))
        >>> asyncio.run(chained([shut], handler)(None)).fault.kind
        'draining'
    """
    for around in reversed(list(arounds)):
        handler = _inside(around, handler)
    return handler


def _inside(around: Around, handler: Handler) -> Handler:
    def handle(request: Request) -> Awaitable[Told]:
        return around(request, handler)

    return handle
