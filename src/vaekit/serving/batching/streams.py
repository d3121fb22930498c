"""What waits: one queue per query of a model, from which batches are cut that its measured cost allows."""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from dataclasses import dataclass

from vaekit.serving.batching.cost import Cost
from vaekit.serving.batching.records import Reason
from vaekit.serving.config import ServeConfig
from vaekit.serving.wire.asking import Ask, Fault, Told

__all__ = ["Batch", "Stream", "Waiting"]

_STEP = 0.1  # how far the last body moves the mean of bytes per row


class Waiting:
    """One ask that waits, or is being answered.

    Args:
        ask: The ask.
        stream: Its queue.
        since: When it came.
        deadline: When its answer is of no use any more.
        future: Takes its answer.
    """

    __slots__ = ("ask", "deadline", "future", "queued", "rows", "since", "stream", "timer")

    def __init__(self, ask: Ask, stream: Stream, since: float, deadline: float, future: asyncio.Future[Told]) -> None:
        self.ask, self.stream, self.since, self.deadline, self.future = ask, stream, since, deadline, future
        self.rows = stream.rows_of(ask)
        self.queued = False
        self.timer: asyncio.TimerHandle | None = None

    def fail(self, fault: Fault) -> None:
        """Answer with a fault, unless it is answered."""
        if not self.future.done():
            self.future.set_result(Told(fault=fault, query=self.ask.query))


@dataclass
class Batch:
    """What a worker is busy with.

    Args:
        number: Its number.
        stream: The queue that it was cut from.
        members: The asks.
        reason: Why there are no more.
        start: When the worker got it.
        expected: Seconds that it is expected to take.
    """

    number: int
    stream: Stream
    members: list[Waiting]
    reason: Reason
    start: float
    expected: float


class Stream:
    """The queue of one query of one model, and what its batches cost.

    The front does not look into bodies, so it estimates their rows by how many bytes a row had in earlier ones.

    Args:
        model: Name of the model.
        query: Name of the query.
    """

    def __init__(self, model: str, query: str) -> None:
        self.model, self.query = model, query
        self.rows = 0.0  # of all asks that wait
        self.served = 0.0  # virtual time of fair sharing: seconds of workers that it has had
        self.cost = Cost()
        self._queue: OrderedDict[Waiting, None] = OrderedDict()
        self._bytes_per_row: dict[str, float] = {}

    @property
    def waiting(self) -> int:
        """How many asks wait."""
        return len(self._queue)

    def rows_of(self, ask: Ask) -> float:
        """Rows that a body is expected to hold."""
        ratio = self._bytes_per_row.get(ask.takes)
        return 1.0 if ratio is None else max(1.0, len(ask.body) / ratio)

    def learn(self, ask: Ask, rows: int) -> None:
        """Take in how many rows a body held."""
        if rows > 0 and ask.body:
            ratio = len(ask.body) / rows
            before = self._bytes_per_row.get(ask.takes, ratio)
            self._bytes_per_row[ask.takes] = before + _STEP * (ratio - before)

    def add(self, waiting: Waiting) -> None:
        """Let an ask wait."""
        waiting.queued = True
        self._queue[waiting] = None
        self.rows += waiting.rows

    def remove(self, waiting: Waiting) -> None:
        """Let an ask wait no longer: neither it nor its body is held here from now on."""
        waiting.queued = False
        del self._queue[waiting]
        self.rows = self.rows - waiting.rows if self._queue else 0.0

    def backlog(self, config: ServeConfig) -> float:
        """Seconds of one worker that all that waits is expected to take."""
        if not self.waiting:
            return 0.0
        return self.cost.a * self.rows + self.cost.b * math.ceil(self.rows / config.max_batch_rows)

    def all(self) -> list[Waiting]:
        """All that wait, in order."""
        return list(self._queue)

    def cut(self, now: float, config: ServeConfig) -> tuple[list[Waiting], Reason]:
        """The asks of the next batch, which do not wait any longer, and why there are no more.

        There is always one, unless nothing waits. Where the fixed cost of a batch is most of it, rows are added until
        they cost as much: they are nearly free. A deadline that cannot be met any more restricts nobody else.

        Args:
            now: The time.
            config: Options of the service.
        """
        members: list[Waiting] = []
        budget = self.cost.rows(max(config.latency_target / 2, 2 * self.cost.b))
        rows, size, until = 0.0, 0, math.inf
        while self._queue:
            one = next(iter(self._queue))
            reachable = one.deadline if now + self.cost.seconds(one.rows) <= one.deadline else math.inf
            earliest = min(until, reachable)
            reason = self._full(config, rows + one.rows, size + len(one.ask.body), budget, earliest - now)
            if members and reason is not None:
                return members, reason
            members.append(one)
            rows, size, until = rows + one.rows, size + len(one.ask.body), earliest
            self.remove(one)
        return members, "idle"

    def _full(self, config: ServeConfig, rows: float, size: int, budget: float, left: float) -> Reason | None:
        """Why a batch of so many rows and bytes is too large, if it is."""
        if rows > config.max_batch_rows:
            return "full_rows"
        if size > config.max_batch_bytes:
            return "full_bytes"
        if rows > budget:
            return "cost"
        return "deadline" if self.cost.seconds(rows) > left else None
