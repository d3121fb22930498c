"""The methods of the Open Inference Protocol, each a request to the front."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from vaekit.serving.front import Front, identity
from vaekit.serving.request import Handler, Refused, Request, refused
from vaekit.serving.rpc.call import Call
from vaekit.serving.rpc.messages import message
from vaekit.serving.rpc.status import code_of, details_of, hints_of
from vaekit.serving.wire.asking import Fault, Told
from vaekit.serving.wire.inference import GRPC, SERVICE, model_metadata, server_metadata

__all__ = ["Service"]

_LOG = logging.getLogger(__name__)
_OF_HTTP = ("content-type", "www-authenticate")  # headers that gRPC has no use for
_Envelope = message("vaekit.Envelope")


class Service:
    """Answers the calls.

    Args:
        front: What every host calls.
    """

    def __init__(self, front: Front) -> None:
        self.front = front
        self.active = 0  # calls that are being answered

    @property
    def ready(self) -> bool:
        """Whether questions are answered."""
        try:
            self.front.require_ready()
        except Refused:
            return False
        return True

    def handler(self) -> grpc.GenericRpcHandler:
        """The methods, with messages as bytes: they are read where a mistake in them can be told."""
        methods = {
            "ServerLive": self._server_live,
            "ServerReady": self._server_ready,
            "ServerMetadata": self._server_metadata,
            "ModelReady": self._model_ready,
            "ModelMetadata": self._model_metadata,
            "ModelInfer": self._model_infer,
        }
        made = {name: grpc.unary_unary_rpc_method_handler(method) for name, method in methods.items()}
        return grpc.method_handlers_generic_handler(SERVICE, made)

    async def _server_live(self, body: bytes, context: Any) -> bytes:
        return await self._answer(context, Call(context, "ServerLive", body, _told("ServerLiveResponse", live=True)))

    async def _server_ready(self, body: bytes, context: Any) -> bytes:
        told = _told("ServerReadyResponse", ready=self.ready)
        return await self._answer(context, Call(context, "ServerReady", body, told))

    async def _server_metadata(self, body: bytes, context: Any) -> bytes:
        told = _told("ServerMetadataResponse", **(server_metadata() | {"extensions": ()}))
        return await self._answer(context, Call(context, "ServerMetadata", body, told))

    async def _model_ready(self, body: bytes, context: Any) -> bytes:
        async def handle(request: Request) -> Told:
            self.front.model(request)
            return _encoded("ModelReadyResponse", ready=self.ready)

        return await self._answer(context, _about(context, "ModelReady", body, handle))

    async def _model_metadata(self, body: bytes, context: Any) -> bytes:
        async def handle(request: Request) -> Told:
            return _encoded("ModelMetadataResponse", **model_metadata(self.front.model(request)))

        return await self._answer(context, _about(context, "ModelMetadata", body, handle))

    async def _model_infer(self, body: bytes, context: Any) -> bytes:
        """Ask a model. Of the message only the envelope is read here; the tensors are left to a worker."""

        async def handle(request: Request) -> Told:
            return await self.front.ask(request, named=False)

        call = _about(context, "ModelInfer", body, handle, query="infer")
        call.takes = call.gives = GRPC
        return await self._answer(context, call)

    async def _answer(self, context: Any, call: Call) -> bytes:
        self.active += 1
        try:
            told = await self.front.handle(call)
        except Exception:  # a defect of ours; gRPC would tell the caller what the exception says
            _LOG.exception("request %s failed", call.id)
            told = Told(fault=Fault(status=500, kind="defect", message="the service has a defect; see its log"))
        finally:
            self.active -= 1
        words = {"x-request-id": call.id, **call.replies, **told.headers}
        if call.answered is not None:
            words |= identity(call.answered)
        facts = [(name, value) for name, value in words.items() if name not in _OF_HTTP]
        if told.fault is not None:
            hints = hints_of(told.fault)
            await context.abort(code_of(told.fault), details_of(told.fault), tuple([*facts, *hints]))
        context.set_trailing_metadata(tuple(facts))
        return told.body


def _about(context: Any, method: str, body: bytes, handler: Handler, query: str = "") -> Call:
    """A call about the model that its message names; one whose message cannot be read is a call all the same."""
    try:
        named = _Envelope.FromString(body)
    except DecodeError:
        return Call(context, method, body, _unreadable, query=query)
    return Call(context, method, body, handler, named.model_name, query, named.model_version)


async def _unreadable(_: Request) -> Told:
    raise refused(400, "bad_body", "the message is not valid for this method")


def _encoded(kind: str, **fields: Any) -> Told:
    return Told(body=message(f"inference.{kind}")(**fields).SerializeToString())


def _told(kind: str, **fields: Any) -> Callable[[Request], Awaitable[Told]]:
    """A handler that answers with one message."""

    async def handle(_: Request) -> Told:
        return _encoded(kind, **fields)

    return handle
