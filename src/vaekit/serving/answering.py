"""A batch of asks to as many answers: read, group, ask each group once, split, write."""

from __future__ import annotations

import logging
import time
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from vaekit.errors import VaekitError
from vaekit.queries import query
from vaekit.serving.asking import MAY, Ask, Fault, Group, Seen, Told
from vaekit.serving.facts import QueryFacts
from vaekit.serving.formats import READERS, WRITERS, Answer, Parsed
from vaekit.serving.formats.base import Whole
from vaekit.serving.frames import Buffer
from vaekit.serving.hosted import Hosted
from vaekit.serving.noticing import Noticing
from vaekit.serving.options import checked
from vaekit.serving.refusals import Refusal, fault_of

__all__ = ["Answering"]

_LOG = logging.getLogger(__name__)


@dataclass
class Request:
    """One ask on its way through a worker."""

    at: int
    ask: Ask
    hosted: Hosted
    parsed: Parsed
    facts: QueryFacts
    options: dict[str, Any]

    @property
    def rows(self) -> int:
        """Rows that were asked about."""
        return self.parsed.rows.count if self.parsed.rows is not None else int(self.parsed.arguments.get("n", 1))

    @property
    def key(self) -> Hashable:
        """Requests with equal keys are asked together; one without a table is asked alone."""
        if self.parsed.rows is None:
            return self.at
        options = tuple(sorted((name, repr(value)) for name, value in self.options.items()))
        return self.hosted.name, self.parsed.query, options, type(self.parsed.rows), self.parsed.rows.key


class Answering:
    """Answers batches.

    Args:
        models: The models by name.
        noticing: Watches them, if anybody does.
    """

    def __init__(self, models: Mapping[str, Hosted], noticing: Noticing | None = None) -> None:
        self.models = models
        self.noticing = noticing or Noticing()

    def answer(self, asks: Sequence[Ask], bodies: Sequence[Buffer]) -> tuple[list[Told], Seen]:
        """Answer every ask of a batch, each by an answer or a fault.

        Args:
            asks: The asks, without their bodies.
            bodies: Their bodies.

        Returns:
            One `Told` per ask in the same order, and what was noticed.
        """
        start = time.perf_counter()
        told: list[Told | None] = [None] * len(asks)
        groups: dict[Hashable, list[Request]] = {}
        for at, (ask, body) in enumerate(zip(asks, bodies, strict=True)):
            try:
                request = self._read(at, ask, body)
                groups.setdefault(request.key, []).append(request)
            except VaekitError as error:
                told[at] = Told(fault=fault_of(error), query=ask.query)
        parse = time.perf_counter() - start
        seen = [self._group(group, told) for group in groups.values()]
        return [one or _defect() for one in told], Seen(parse=parse, groups=seen)

    def _group(self, group: Sequence[Request], told: list[Told | None]) -> Group:
        """Answer a group, and tell what it took."""
        start = time.perf_counter()
        write = self._answer(group, told)
        infer = time.perf_counter() - start - write
        rows = sum(request.rows for request in group)
        return Group(query=group[0].parsed.query, requests=len(group), rows=rows, infer=infer, write=write)

    def _read(self, at: int, ask: Ask, body: Buffer) -> Request:
        hosted = self.models.get(ask.model)
        if hosted is None:
            raise Refusal(404, "no_such_model", f"no model {ask.model!r}; there are: {', '.join(self.models)}")
        if ask.takes not in READERS:
            raise Refusal(415, "media_type", f"cannot read {ask.takes!r}; known are: {', '.join(READERS)}")
        if ask.gives not in WRITERS:
            raise Refusal(406, "media_type", f"cannot write {ask.gives!r}; known are: {', '.join(WRITERS)}")
        parsed = READERS[ask.takes](body, ask, hosted)
        if (allowed := ask.headers.get(MAY)) is not None and parsed.query not in allowed.split():
            raise Refusal(403, "forbidden", f"this needs the scope {parsed.query}:{ask.model}; allowed are: {allowed}")
        facts = hosted.query(parsed.query)
        options = checked(facts.options, parsed.options, facts.name, text=False)
        options |= checked(facts.options, ask.options, facts.name, text=True)
        request = Request(at, ask, hosted, parsed, facts, options)
        if request.rows > hosted.limits.max_rows:
            raise Refusal(
                413,
                "too_many_rows",
                f"{request.rows} rows in one request, at most {hosted.limits.max_rows} are answered; send fewer rows "
                "at a time, or score files with 'vae batch'",
            )
        return request

    def _answer(self, group: Sequence[Request], told: list[Told | None]) -> float:
        """Ask about a group at once; if that fails, about each half. Returns the seconds spent on writing."""
        try:
            answer = self._asked(group)
        except VaekitError as error:
            self.noticing.asked(group[0].hosted.name, group[0].parsed.query, ())
            if len(group) == 1:
                told[group[0].at] = Told(fault=fault_of(error), query=group[0].parsed.query)
                return 0.0
            half = len(group) // 2
            return self._answer(group[:half], told) + self._answer(group[half:], told)
        members = [(request.ask, request.rows) for request in group]
        self.noticing.asked(group[0].hosted.name, group[0].parsed.query, members)
        write = time.perf_counter()
        for request, part in zip(group, _split(answer, group), strict=True):
            try:
                body, headers = WRITERS[request.ask.gives](part, request.parsed, request.ask, request.hosted)
            except Refusal as refusal:  # of what was asked of the writer alone
                told[request.at] = Told(fault=refusal.fault, query=request.parsed.query)
                continue
            told[request.at] = Told(body=body, headers=headers, rows=request.rows, query=request.parsed.query)
        return time.perf_counter() - write

    def _asked(self, group: Sequence[Request]) -> pa.Table:
        first = group[0]
        hosted, name = first.hosted, first.parsed.query
        if first.parsed.rows is None:
            return query(hosted.engine, name, **first.parsed.arguments, **first.options)
        rows = type(first.parsed.rows)
        table = rows.merged([request.parsed.rows for request in group])
        return query(hosted.engine, name, table, **first.options)


def _split(answer: pa.Table, group: Sequence[Request]) -> list[Answer]:
    whole, start, found = Whole(answer), 0, []
    if len(group) == 1:
        return [Answer(whole, 0, answer.num_rows)]
    for request in group:
        found.append(Answer(whole, start, request.rows))
        start += request.rows
    return found


def _defect() -> Told:
    return Told(fault=Fault(status=500, kind="defect", message="the service has a defect; see its log"))
