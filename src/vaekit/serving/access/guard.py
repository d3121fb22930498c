"""The guard: looks at every request of every host before anything else is done for it."""

from __future__ import annotations

import functools
from collections.abc import Mapping

from vaekit.serving.access.addresses import is_local, is_loopback
from vaekit.serving.access.gate import Caller, Gate
from vaekit.serving.request import Handler, Request
from vaekit.serving.wire.asking import MAY, Fault, Told
from vaekit.serving.wire.inference import SERVICE

__all__ = ["FREE", "WORDS", "Guard"]

FREE = frozenset(
    {"/livez", "/readyz", "/startupz", "/v2/health/live", "/v2/health/ready"}
    | {f"/{SERVICE}/ServerLive", f"/{SERVICE}/ServerReady"}
)
WORDS = {"/metrics": "metrics", "/v1/feedback": "feedback", "/v1/feedback/summary": "feedback"}
INFER = "infer"


class Guard:
    """Lets a request through, or says why not. An `Around`.

    What a route needs: nothing (those in `free`), a scope without a model (those in `words`), or else a known caller
    who may ask that query of that model, or anything of it where the route names no query. A new route is closed.

    Args:
        gate: Knows who may come in.
        local: Whether the service listens to this machine alone. Requests that a web page of elsewhere makes a browser
            send are then refused where no key is needed.
        free: Routes that are open to everybody: liveness and readiness.
        words: Routes that need a scope without a model.
    """

    def __init__(
        self, gate: Gate, *, local: bool, free: frozenset[str] = FREE, words: Mapping[str, str] = WORDS
    ) -> None:
        self.gate, self.local, self.free, self.words = gate, local, free, words

    async def __call__(self, request: Request, handle: Handler) -> Told:
        """Let a request through, or answer with a fault."""
        if request.route in self.free:
            return await handle(request)
        if not self.gate.access.guarded and (fault := self._foreign(request)):
            return Told(fault=fault)
        word = self.words.get(request.route)
        if word == "metrics" and _here(request):
            return await handle(request)
        caller = await self.gate.admit(*_shown(request))
        if isinstance(caller, Fault):
            return Told(fault=caller)
        request.caller, request.sees = caller.name, caller.scopes.sees
        fault = caller.lacks(word) if word else self._refusal(caller, request)
        if fault:
            return Told(fault=fault)
        told = await handle(request)
        caller.spend(told.rows)
        return told

    def _refusal(self, caller: Caller, request: Request) -> Fault | None:
        """Why a caller may not ask this of a model, if so."""
        if not request.model:
            return None
        if request.query and request.query != INFER:
            return caller.refusal(request.query, request.model)
        allowed = caller.scopes.queries(request.model)
        if allowed == ():
            return caller.refusal(request.query or "*", request.model)
        if allowed is not None:
            request.asks[MAY] = " ".join(allowed)
        return None

    def _foreign(self, request: Request) -> Fault | None:
        """Why a browser's request may not pass a service that knows no callers, if so.

        A page from elsewhere can make a browser send requests to this machine, directly or under a name of its own that
        resolves to it. The first ones have a foreign `Origin`, the others a foreign `Host`.
        """
        if request.host != "http":
            return None
        host, origin = request.header("host"), request.header("origin")
        if self.local and not _is_loopback_name(host):
            return _no_page("this service answers to the names localhost and 127.0.0.1 alone")
        if origin and origin.partition("://")[2] != host:
            return _no_page("pages of other sites may not ask this service")
        return None


def _no_page(message: str) -> Fault:
    return Fault(status=403, kind="foreign_page", message=message)


def _shown(request: Request) -> tuple[str | None, str | None]:
    return request.header("authorization") or None, request.header("x-api-key") or None


def _here(request: Request) -> bool:
    return is_local(request.peer or None, bool(request.header("forwarded") or request.header("x-forwarded-for")))


@functools.lru_cache(maxsize=256)
def _is_loopback_name(host: str) -> bool:
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return name.lower() == "localhost" or is_loopback(name)
