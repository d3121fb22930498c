"""Ways in, health, metrics and the OpenAPI document."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from vaekit.serving.front import Front
from vaekit.serving.http.app import HttpRequest
from vaekit.serving.http.openapi import document
from vaekit.serving.http.replies import as_json
from vaekit.serving.http.routes import Route
from vaekit.serving.request import refused
from vaekit.serving.wire.asking import Told
from vaekit.version import __version__

__all__ = ["Metrics", "System"]

Metrics = Callable[[str], Awaitable[tuple[bytes, str]]]
"""From an Accept header to metrics and their media type."""


class System:
    """The handlers.

    Args:
        front: What answers.
        metrics: Renders metrics; None: there are none.
        most: Most rows of a request.
    """

    def __init__(self, front: Front, metrics: Metrics | None, most: int) -> None:
        self.front, self.metrics, self.most = front, metrics, most
        self.routes = (
            Route("/", {"GET": self.index}),
            Route("/openapi.json", {"GET": self.openapi}),
            Route("/startupz", {"GET": self.startup}),
            Route("/livez", {"GET": self.live}),
            Route("/readyz", {"GET": self.ready}),
            *([Route("/metrics", {"GET": self.measured})] if metrics else []),
        )

    async def index(self, request: HttpRequest) -> Told:
        """Where to go from here."""
        there = [route.pattern for route in self.routes[1:]]
        return as_json(
            {"name": "vaekit", "version": __version__, "paths": [*there, "/v1/models", "/v1/feedback", "/v2"]}
        )

    async def openapi(self, request: HttpRequest) -> Told:
        """What can be asked, for programs."""
        return as_json(document(self.front.models(request), self.most, metrics=self.metrics is not None))

    async def startup(self, request: HttpRequest) -> Told:
        """Whether the models were loaded once."""
        self.front.require_started()
        return as_json({"started": True})

    async def live(self, request: HttpRequest) -> Told:
        """Whether the server runs: no worker is asked, since they are replaced without a restart."""
        return as_json({"live": True})

    async def ready(self, request: HttpRequest) -> Told:
        """Whether questions are answered."""
        self.front.require_ready()
        return as_json({"ready": True})

    async def measured(self, request: HttpRequest) -> Told:
        """Metrics."""
        if self.metrics is None:
            raise refused(404, "no_such_path", "there are no metrics here")
        body, kind = await self.metrics(request.header("accept"))
        return Told(body=body, headers={"content-type": kind})
