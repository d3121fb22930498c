"""A batch of asks to as many answers: read, group, ask each group once, split, write."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import msgspec
import numpy as np
import pyarrow as pa

from vaekit.errors import ContractError, VaekitError
from vaekit.queries import QUERIES, query
from vaekit.queries.streaming import answer_schema
from vaekit.serving.wire.asking import MAY, Ask, Fault, Group, Seen, Told
from vaekit.serving.wire.facts import QueryFacts
from vaekit.serving.wire.frames import Buffer
from vaekit.serving.worker.arguments import answer_rows, call_of
from vaekit.serving.worker.formats import READERS, WRITERS, Answer, Parsed, Whole
from vaekit.serving.worker.hosted import Hosted
from vaekit.serving.worker.noticing import Noticing
from vaekit.serving.worker.options import takes
from vaekit.serving.worker.ranges import POSITIONS
from vaekit.serving.worker.refusals import Refusal, fault_of
from vaekit.serving.worker.rows import TableRows

__all__ = ["Answering"]

_LOG = logging.getLogger(__name__)
_KEPT = 256  # most ways of calling the queries of a model, and most schemas of its answers, that are remembered


class Call(msgspec.Struct, frozen=True):
    """What a query is called with, beside the rows.

    Args:
        options: Options and arguments of the query.
        first: Position of the first row; of no query, so that rows of several requests are asked about together.
        text: The options in a form that can be compared.
    """

    options: dict[str, Any]
    first: int
    text: Hashable


class Request(msgspec.Struct, frozen=True):
    """One ask on its way through a worker.

    Args:
        at: Its place in the batch.
        ask: The ask.
        hosted: The model.
        parsed: What its reader understood.
        facts: What is known of the query.
        call: What the query is called with.
        rows: Rows that are asked about.
    """

    at: int
    ask: Ask
    hosted: Hosted
    parsed: Parsed
    facts: QueryFacts
    call: Call
    rows: int

    @property
    def key(self) -> Hashable:
        """Requests with equal keys are asked together; one without rows is asked alone."""
        if self.parsed.rows is None:
            return self.at
        return self.hosted.name, self.parsed.query, self.call.text, type(self.parsed.rows), self.parsed.rows.key


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
        told: dict[int, Told] = {}
        groups: dict[Hashable, list[Request]] = {}
        for at, (ask, body) in enumerate(zip(asks, bodies, strict=True)):
            try:
                request = self._read(at, ask, body)
            except Exception as error:  # whatever a body does to its reader, it does to its caller alone
                told[at] = Told(fault=_fault(error), query=ask.query)
                continue
            groups.setdefault(request.key, []).append(request)
        parse = time.perf_counter() - start
        seen = [self._group(group, told) for group in groups.values()]
        return [told[at] for at in range(len(asks))], Seen(parse=parse, groups=seen)

    def _group(self, group: Sequence[Request], told: dict[int, Told]) -> Group:
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
        if facts.rows != (parsed.rows is not None):
            need = "rows" if facts.rows else ", ".join(one.name for one in facts.arguments)
            raise Refusal(400, "bad_body", f"{facts.name} is asked with {need}, which {ask.takes} did not bring")
        call = self._call(parsed, ask, facts, hosted)
        if parsed.rows is not None and not parsed.rows.columns:
            there = ", ".join(hosted.cells)
            raise Refusal(422, "ContractError", f"no column of the request is a field of the model; it has: {there}")
        rows = parsed.rows.count if parsed.rows is not None else _rows(call.options)
        answered = answer_rows(rows, call.options, facts)
        if answered > hosted.limits.max_rows:
            raise Refusal(
                413,
                "too_many_rows",
                f"a request and its answer have at most {hosted.limits.max_rows} rows, this has "
                f"{answered}; ask about fewer at a time, or answer whole files with 'vae batch'",
            )
        return Request(at, ask, hosted, parsed, facts, call, rows)

    @staticmethod
    def _call(parsed: Parsed, ask: Ask, facts: QueryFacts, hosted: Hosted) -> Call:
        """What a query is called with; what stands outside of the body is checked once for all that ask alike."""
        key = facts.name, parsed.taken, tuple(ask.options.items())
        outside = not parsed.options and not parsed.arguments
        if outside and (known := hosted.calls.get(key)) is not None:
            return cast("Call", known)
        options = call_of(parsed, ask, facts, hosted)
        first = options.pop("first", 0)
        if not 0 <= first < POSITIONS:
            raise Refusal(400, "bad_option", f"option 'first': expected a whole number below 2**53, got {first}")
        found = Call(options, first, _text(options))
        if outside:
            _keep(hosted.calls, key, found)
        return found

    def _answer(self, group: Sequence[Request], told: dict[int, Told]) -> float:
        """Ask about a group at once; if that fails, about each half. Returns the seconds that writing took."""
        try:
            answers = self._asked(group) if group[0].parsed.rows is not None else [self._called(group[0])]
        except Exception as error:  # one request is to blame, which must not cost the others
            self.noticing.asked(group[0].hosted.name, group[0].parsed.query, ())
            if len(group) == 1:
                told[group[0].at] = Told(fault=_asking(error, group[0]), query=group[0].parsed.query)
                return 0.0
            half = len(group) // 2
            return self._answer(group[:half], told) + self._answer(group[half:], told)
        start = time.perf_counter()
        for request, answer in zip(group, answers, strict=True):
            try:
                body, headers = WRITERS[request.ask.gives](answer, request.parsed, request.ask, request.hosted)
            except Exception as error:  # of what was asked of the writer alone
                told[request.at] = Told(fault=_fault(error), query=request.parsed.query)
                continue
            told[request.at] = Told(body=body, headers=headers, rows=request.rows, query=request.parsed.query)
        return time.perf_counter() - start

    def _called(self, request: Request) -> Answer:
        """The answer to a request without rows."""
        table = query(request.hosted.engine, request.parsed.query, **request.call.options)
        self.noticing.asked(request.hosted.name, request.parsed.query, [(request.ask, 0, request.rows)])
        return Answer(Whole(table, request.hosted.whites), 0, table.num_rows)

    def _asked(self, group: Sequence[Request]) -> list[Answer]:
        """The answer to each request of a group with rows."""
        first = group[0]
        hosted, name = first.hosted, first.parsed.query
        rows = [one.parsed.rows for one in group if one.parsed.rows is not None]
        table = type(rows[0]).merged(rows)
        placed = takes(QUERIES[name], "positions")
        positions = [one.call.first + at for one in group for at in range(one.rows)] if placed else None
        step, parts = hosted.limits.max_batch_rows, []
        for start in range(0, max(1, table.num_rows), step):
            place = {} if positions is None else {"positions": positions[start : start + step]}
            try:
                parts.append(query(hosted.engine, name, table.slice(start, step), **first.call.options, **place))
            except ContractError as error:
                raise error.after(start) from error
            self.noticing.asked(hosted.name, name, _members(group, start, start + step))
        if first.facts.absent:
            schema = self._schema(first, table.schema)
            parts = [part if part.schema == schema else part.cast(schema) for part in parts]
        sizes, draws = [one.rows for one in group], first.call.options.get("draws", 1)
        whole, start, found = Whole(_by_request(parts, sizes, step, draws), hosted.whites), 0, []
        for size in sizes:
            found.append(Answer(whole, draws * start, draws * size))
            start += size
        return found

    @staticmethod
    def _schema(request: Request, rows: pa.Schema) -> pa.Schema:
        """The schema of answers to rows of a schema: that of a column must not depend on whose rows have holes."""
        known, key = request.hosted.schemas, (request.parsed.query, request.call.text, rows)
        if key not in known:
            engine = replace(request.hosted.engine, watcher=None)  # nobody asked about this row
            _keep(known, key, answer_schema(engine, request.parsed.query, rows, request.call.options))
        return known[key]


def _keep(known: dict[Hashable, Any], key: Hashable, value: object) -> None:
    """Remember something, and no more than so much in all."""
    if len(known) >= _KEPT:
        known.clear()
    known[key] = value


def _members(group: Sequence[Request], start: int, end: int) -> list[tuple[Ask, int, int]]:
    """Whose rows a slice of the rows of a group holds: the ask, the first of its rows, and how many."""
    found, before = [], 0
    for one in group:
        first, last = max(start - before, 0), min(end - before, one.rows)
        if first < last:
            found.append((one.ask, first, last - first))
        before += one.rows
    return found


def _by_request(parts: Sequence[pa.Table], sizes: Sequence[int], step: int, draws: int) -> pa.Table:
    """Answers to slices of rows as one table, in which all that belongs to one request stands together.

    Args:
        parts: Answers to slices of the rows of all requests; each holds all of its first draw, then of its second, …
        sizes: Rows of each request.
        step: Rows of a slice.
        draws: Number of draws.

    Example:
        >>> part = pa.table({"draw": [0, 0, 0, 1, 1, 1], "row": [0, 1, 2, 0, 1, 2]})
        >>> _by_request([part], [1, 2], 10, 2)["row"].to_pylist()
        [0, 0, 1, 2, 1, 2]
    """
    table = parts[0] if len(parts) == 1 else pa.concat_tables(parts)
    if draws == 1 or (len(parts) == 1 and len(sizes) == 1):
        return table
    part, within = np.divmod(np.arange(sum(sizes)), step)
    length = np.minimum(step, sum(sizes) - part * step)
    places = draws * part * step + np.arange(draws)[:, None] * length + within  # shape: (draws, rows)
    order = [one.ravel() for one in np.split(places, np.cumsum(sizes)[:-1], axis=1)]
    return table.take(pa.array(np.concatenate(order)))


def _rows(call: Mapping[str, Any]) -> int:
    """Rows that a query without a table is asked about: how many it shall make, or those that it starts from."""
    tables = [value.num_rows for value in call.values() if isinstance(value, pa.Table)]
    rows: int = call.get("n", max(tables, default=1))
    return max(0, rows)


def _text(call: Mapping[str, Any]) -> Hashable:
    """Options in a form that can be compared."""
    return tuple(sorted((name, repr(value)) for name, value in call.items()))


def _asking(error: Exception, request: Request) -> Fault:
    """The fault for what happened while one request was asked; columns may bring types such as unknown time zones."""
    if isinstance(request.parsed.rows, TableRows) and isinstance(error, pa.ArrowException | UnicodeError):
        line = str(error).strip().split("\n", 1)[0]
        return Fault(status=422, kind="ContractError", message=f"the rows cannot be read: {line}")
    return _fault(error)


def _fault(error: Exception) -> Fault:
    """The fault for an exception; of one that nobody expected, the log is told where it came from, and no value."""
    if isinstance(error, VaekitError):
        return fault_of(error)
    if isinstance(error, MemoryError):
        message = "answering this needs more memory than a worker may use; ask about fewer rows at a time"
        return Fault(status=413, kind="too_large", message=message)
    where = "".join(traceback.format_tb(error.__traceback__))
    _LOG.error("a request met a defect: %s\n%s", type(error).__name__, where)
    return Fault(status=500, kind="defect", message="the service has a defect, which its log describes")
