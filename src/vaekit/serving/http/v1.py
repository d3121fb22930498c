"""`/v1`: questions to models in JSON, Arrow and CSV, what the models are, and feedback."""

from __future__ import annotations

import asyncio
import functools
import sqlite3
from functools import partial
from urllib.parse import parse_qsl

import msgspec

from vaekit.serving.feedback.remarks import take
from vaekit.serving.feedback.summary import summary
from vaekit.serving.front import Front
from vaekit.serving.http.app import HttpRequest
from vaekit.serving.http.headers import seconds
from vaekit.serving.http.media import ARROW, ARROW_FILE, COLUMNS, CSV, FORM, JSON, PARQUET, accepted, media_type
from vaekit.serving.http.replies import as_json
from vaekit.serving.http.routes import Route
from vaekit.serving.request import refused
from vaekit.serving.wire.asking import Told
from vaekit.serving.wire.facts import Facts

__all__ = ["GIVES", "TAKES", "V1", "arguments"]

TAKES = (JSON, ARROW, ARROW_FILE, PARQUET, CSV, FORM)
GIVES = (JSON, COLUMNS, ARROW, CSV)
_SAME = dict.fromkeys((ARROW, ARROW_FILE, PARQUET), (ARROW, JSON, COLUMNS, CSV)) | {CSV: (CSV, JSON, COLUMNS, ARROW)}
"""What is given where anything is accepted: what is like the body comes first."""


class V1:
    """The handlers.

    Args:
        front: What answers.
    """

    def __init__(self, front: Front) -> None:
        self.front = front
        self.routes = (
            Route("/v1/models/{model}/{query}", {"POST": self.ask}),
            Route("/v1/models/{model}", {"GET": self.model}),
            Route("/v1/models", {"GET": self.models}),
            Route("/v1/feedback", {"POST": self.feedback}),
            Route("/v1/feedback/summary", {"GET": self.summary}),
        )

    async def ask(self, request: HttpRequest) -> Told:
        """Put a question to a model."""
        headers = request.headers
        sent = headers.get(b"content-type", b"")
        request.takes = media_type(sent) or JSON
        if request.takes not in TAKES:
            raise refused(415, "media_type", f"the body is {request.takes!r}; it can be {', '.join(TAKES)}")
        gives = accepted(headers.get(b"accept", b""), _SAME.get(request.takes, GIVES))
        if gives is None:
            raise refused(406, "not_acceptable", f"Accept asks for none of {', '.join(GIVES)}")
        request.gives = gives
        if request.takes == FORM:
            request.asks["content-type"] = sent.decode("latin-1")  # its boundary
        if request.arguments:
            request.options = arguments(request)
        if b"x-request-timeout" in headers:
            request.timeout = seconds(request.header("x-request-timeout"))
        return await self.front.ask(request)

    async def models(self, request: HttpRequest) -> Told:
        """The models that there are."""
        there = self.front.models(request)
        return as_json({"models": [_named(facts) | {"queries": list(facts.queries)} for facts in there]})

    async def model(self, request: HttpRequest) -> Told:
        """All facts about one model."""
        request.answered = facts = self.front.model(request)
        return as_json({**msgspec.to_builtins(facts), "evaluation": self.front.evaluations.get(facts.name, {})})

    async def feedback(self, request: HttpRequest) -> Told:
        """Take what is said of an answer."""
        if (sent := media_type(request.headers.get(b"content-type", b""))) not in ("", JSON):
            raise refused(415, "media_type", f"the body is {sent!r}; feedback is {JSON}")
        found = await take(self.front.ledger, await request.read())
        request.model = found["model"]
        return as_json(found)

    async def summary(self, request: HttpRequest) -> Told:
        """Feedback by model and version."""
        given = arguments(request)
        if unknown := set(given) - {"model", "query"}:
            raise refused(400, "option", f"there is no option {sorted(unknown)[0]!r}; there are model and query")
        job = partial(summary, model=given.get("model", ""), query=given.get("query", ""))
        try:
            found = await asyncio.wrap_future(self.front.ledger.ask(job))
        except sqlite3.Error as error:
            raise refused(503, "state", f"feedback cannot be read now ({error}); try again", 5.0) from error
        return as_json({"versions": [entry for entry in found if self.front.visible(request, entry["model"])]})


def arguments(request: HttpRequest) -> dict[str, str]:
    """The parameters of the URL.

    Raises:
        Refused: If one is there twice, or they cannot be read.
    """
    try:
        pairs = _pairs(request.arguments)
    except ValueError as error:
        raise refused(400, "option", f"the parameters of the URL cannot be read: {error}") from error
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise refused(400, "option", f"the parameter {twice!r} is there more than once")
    return found


@functools.lru_cache(maxsize=256)
def _pairs(query: bytes) -> list[tuple[str, str]]:
    """Names and values of the parameters of a URL; most requests of a caller have the same ones."""
    return parse_qsl(query.decode("ascii"), keep_blank_values=True, strict_parsing=True, errors="strict")


def _named(facts: Facts) -> dict[str, str]:
    return {name: getattr(facts, name) for name in ("name", "version", "contract", "data", "created", "backend")}
