"""`/v2`: the Open Inference Protocol over REST, with its binary tensor extension.

References:
    https://github.com/kserve/open-inference-protocol, specification/protocol/inference_rest.md.
    https://docs.nvidia.com/deeplearning/triton-inference-server, extension_binary_data.
"""

from __future__ import annotations

from vaekit.serving.front import Front
from vaekit.serving.http.app import HttpRequest
from vaekit.serving.http.headers import seconds
from vaekit.serving.http.media import BINARY, JSON, media_type
from vaekit.serving.http.replies import as_json
from vaekit.serving.http.routes import Route
from vaekit.serving.request import refused
from vaekit.serving.wire.asking import Told
from vaekit.serving.wire.inference import LENGTH, TENSORS, model_metadata, server_metadata

__all__ = ["V2"]


class V2:
    """The handlers.

    Args:
        front: What answers.
    """

    def __init__(self, front: Front) -> None:
        self.front = front
        infer = {"query": "infer"}
        self.routes = (
            Route("/v2", {"GET": self.server}, plain=True),
            Route("/v2/health/live", {"GET": self.live}, plain=True),
            Route("/v2/health/ready", {"GET": self.ready}, plain=True),
            Route("/v2/models/{model}/infer", {"POST": self.infer}, infer, plain=True),
            Route("/v2/models/{model}/versions/{version}/infer", {"POST": self.infer}, infer, plain=True),
            Route("/v2/models/{model}/ready", {"GET": self.model_ready}, plain=True),
            Route("/v2/models/{model}/versions/{version}/ready", {"GET": self.model_ready}, plain=True),
            Route("/v2/models/{model}/versions/{version}", {"GET": self.model}, plain=True),
            Route("/v2/models/{model}", {"GET": self.model}, plain=True),
        )

    async def server(self, request: HttpRequest) -> Told:
        """What the server is."""
        return as_json(server_metadata())

    async def live(self, request: HttpRequest) -> Told:
        """Whether the server runs."""
        return as_json({"live": True})

    async def ready(self, request: HttpRequest) -> Told:
        """Whether all models answer."""
        self.front.require_ready()
        return as_json({"ready": True})

    async def model_ready(self, request: HttpRequest) -> Told:
        """Whether one model answers."""
        self.front.require_ready()
        facts = self.front.model(request)
        return as_json({"name": facts.name, "ready": True})

    async def model(self, request: HttpRequest) -> Told:
        """The tensors that a model takes and gives."""
        request.answered = facts = self.front.model(request)
        return as_json(model_metadata(facts))

    async def infer(self, request: HttpRequest) -> Told:
        """Put a question to a model."""
        headers = request.headers
        sent = media_type(headers.get(b"content-type", b""))
        if sent not in ("", JSON, BINARY):
            raise refused(415, "media_type", f"the body is {sent!r}; it can be {JSON}, or {BINARY} with tensors in it")
        request.takes = request.gives = TENSORS
        if length := request.header(LENGTH):
            request.asks[LENGTH] = length
        if b"x-request-timeout" in headers:
            request.timeout = seconds(request.header("x-request-timeout"))
        return await self.front.ask(request, named=False)
