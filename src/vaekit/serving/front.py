"""The front: what is done with a request, whichever host took it.

It knows the models by their facts, asks the workers, notes answers in the ledger, and never looks into a body.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from vaekit.serving.feedback.ledger import Answered, Ledger, Source
from vaekit.serving.request import Around, Refused, Request, chained, refused
from vaekit.serving.wire.asking import Ask, Told
from vaekit.serving.wire.facts import Facts

__all__ = ["Asker", "Front", "identity"]


class Asker(Protocol):
    """Whatever puts an `Ask` to a worker."""

    @property
    def ready(self) -> bool:
        """Whether an ask would be taken."""

    @property
    def models(self) -> Mapping[str, Facts]:
        """The models by name, as soon as a worker has told of them."""

    async def ask(self, ask: Ask, deadline: float) -> Told:
        """The answer, or a fault; after the deadline, of the event loop's clock, nobody waits for it."""


class Front:
    """What every host calls.

    Args:
        asker: Puts questions to workers.
        ledger: Remembers who answered what.
        arounds: What is around every request; the first one is the outermost.
        evaluations: Held-out figures by name of the model.
        timeout: Seconds that a request may take if it does not say.
        longest: Seconds that a request may ask for.
    """

    def __init__(
        self,
        asker: Asker,
        ledger: Ledger,
        arounds: Iterable[Around] = (),
        evaluations: Mapping[str, Mapping[str, Any]] | None = None,
        *,
        timeout: float,
        longest: float,
    ) -> None:
        self.asker, self.ledger, self.evaluations = asker, ledger, evaluations or {}
        self.timeout, self.longest = timeout, longest
        self.handle = chained(arounds, _handled)
        self.draining = False  # whether the service is about to stop: it still answers, and says that it is not ready
        self._sources: dict[str, Source] = {}

    def require_started(self) -> None:
        """Check that the models were loaded.

        Raises:
            Refused: If they are still being loaded.
        """
        if not self.asker.models:
            raise refused(503, "not_ready", "the models are being loaded; try again", retry_after=1.0)

    def require_ready(self) -> None:
        """Check that questions are answered.

        Raises:
            Refused: If they are not; it says why.
        """
        self.require_started()
        if self.draining:
            raise refused(503, "draining", "the service is about to stop; ask another one", retry_after=1.0)
        if not self.asker.ready:
            raise refused(503, "not_ready", "no worker is ready, one is being started; try again", retry_after=1.0)

    def models(self, request: Request) -> list[Facts]:
        """The models that the caller may know of.

        Raises:
            Refused: If they are still being loaded.
        """
        self.require_started()
        return [facts for facts in self.asker.models.values() if self.visible(request, facts.name)]

    def model(self, request: Request) -> Facts:
        """The model that a request names.

        Raises:
            Refused: If there is none of that name, or the caller may not know of it, or it has another version, or
                models are still being loaded.
        """
        facts = self.asker.models.get(request.model)
        if facts is None or not self.visible(request, facts.name):
            served = ", ".join(one.name for one in self.models(request)) or "none"
            raise refused(404, "no_such_model", f"there is no model {request.model!r}; models here: {served}")
        if request.version and request.version != facts.version:
            raise refused(
                404, "no_such_version", f"model {facts.name!r} has version {facts.version}, not {request.version!r}"
            )
        return facts

    def visible(self, request: Request, name: str) -> bool:
        """Whether the caller may know of a model."""
        return request.sees is None or request.sees(name)

    async def ask(self, request: Request, named: bool = True) -> Told:
        """Put a question to a model.

        Args:
            request: The request.
            named: Whether the request says which query; otherwise its body does.

        Raises:
            Refused: If there is no such model or query, or the body cannot be taken.
        """
        facts = self.model(request)
        if named and request.query not in facts.queries:
            answers = ", ".join(facts.queries)
            raise refused(
                404, "no_such_query", f"model {facts.name!r} does not answer {request.query!r}; it does: {answers}"
            )
        timeout = self.timeout if request.timeout is None else min(request.timeout, self.longest)
        body = await request.read()
        request.size = len(body)
        ask = Ask(
            id=request.id,
            number=request.number,
            model=facts.name,
            query=request.query,
            takes=request.takes,
            gives=request.gives,
            options=request.options,
            headers=request.asks,
            body=body,
        )
        told = await self.asker.ask(ask, request.started + timeout)
        request.answered = facts
        if told.fault is None:
            self.ledger.answered(
                Answered(request.id, time.time(), self._source(facts), told.query or request.query, told.rows)
            )
        return told

    def _source(self, facts: Facts) -> Source:
        found = self._sources.get(facts.name)
        if found is None or found.version != facts.version:
            found = self._sources[facts.name] = Source(facts.name, facts.version, facts.contract, facts.data)
        return found


def identity(facts: Facts) -> dict[str, str]:
    """Headers that say which model answered."""
    named = {"model": facts.name, "version": facts.version, "contract": facts.contract, "data": facts.data}
    return {f"x-vaekit-{name}": value for name, value in named.items()}


async def _handled(request: Request) -> Told:
    try:
        return await request.handler(request)
    except Refused as refusal:
        return Told(fault=refusal.fault)
