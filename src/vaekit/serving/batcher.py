"""The batcher: requests wait in bounded queues, and a free worker gets at once what waits."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable

import msgspec

from vaekit.serving.asking import Ask, Fault, Told
from vaekit.serving.config import ServeConfig
from vaekit.serving.cost import Cost
from vaekit.serving.facts import Facts
from vaekit.serving.messages import Done, Noted, Work
from vaekit.serving.pool import Pool
from vaekit.serving.process import Worker
from vaekit.serving.records import BatchRecord, Reason, WorkerEvent
from vaekit.serving.stored import read_bundle

__all__ = ["Batcher"]


class Waiting:
    """One ask that waits, or is being answered."""

    __slots__ = ("ask", "deadline", "future", "queued", "rows", "since", "stream", "timer")

    def __init__(self, ask: Ask, stream: Stream, since: float, deadline: float, future: asyncio.Future[Told]) -> None:
        self.ask, self.stream, self.since, self.deadline, self.future = ask, stream, since, deadline, future
        self.rows = stream.rows_of(ask)
        self.queued = True
        self.timer: asyncio.TimerHandle | None = None


class Stream:
    """The queue of one query of one model, and what its batches cost."""

    def __init__(self, model: str, query: str) -> None:
        self.model, self.query = model, query
        self.queue: deque[Waiting] = deque()
        self.waiting, self.rows = 0, 0.0
        self.served = 0.0
        self.cost = Cost()
        self._bytes_per_row: dict[str, float] = {}

    def rows_of(self, ask: Ask) -> float:
        """Rows that a body is expected to hold: the front does not look into it, but knows how large rows were."""
        ratio = self._bytes_per_row.get(ask.takes)
        return 1.0 if ratio is None else max(1.0, len(ask.body) / ratio)

    def learn(self, ask: Ask, rows: int) -> None:
        """Take in how many rows a body held."""
        if rows > 0 and ask.body:
            ratio = len(ask.body) / rows
            before = self._bytes_per_row.get(ask.takes, ratio)
            self._bytes_per_row[ask.takes] = before + 0.1 * (ratio - before)


class Batch:
    """What a worker is busy with."""

    def __init__(self, number: int, stream: Stream, members: list[Waiting], reason: Reason, start: float) -> None:
        self.number, self.stream, self.members, self.reason, self.start = number, stream, members, reason, start


class Batcher:
    """Answers asks with a pool of workers.

    Args:
        config: Options of the service.

    Example:
        ``batcher = Batcher(ServeConfig(bundles={"flights": "run/bundle"}))``, then ``await batcher.start()`` and
        ``told = await batcher.ask(ask)``.
    """

    def __init__(self, config: ServeConfig) -> None:
        self.config = config
        self.observers: list[Callable[[BatchRecord], None]] = []
        self.watchers: list[Callable[[WorkerEvent], None]] = []
        self.listeners: list[Callable[[Noted], None]] = []
        self.queued = self.queued_bytes = self.running = 0
        self._pool: Pool | None = None
        self._streams: dict[tuple[str, str], Stream] = {}
        self._free: list[Worker] = []
        self._batches = 0
        self._clock = 0.0  # virtual time of fair sharing
        self._draining = False
        self._idle: asyncio.Event = asyncio.Event()
        self._pending = False

    # ---------------------------------------------------------------- state

    @property
    def ready(self) -> bool:
        """Whether an ask would be taken: a worker is warm, and the service does not drain."""
        return self._pool is not None and bool(self._pool.workers) and not self._draining

    @property
    def models(self) -> dict[str, Facts]:
        """The models that are served; empty before the first worker is ready."""
        return self._pool.models if self._pool is not None else {}

    @property
    def workers(self) -> dict[int, Worker]:
        """The workers that are ready, by number."""
        return self._pool.workers if self._pool is not None else {}

    # ---------------------------------------------------------------- life

    async def start(self) -> None:
        """Read and verify the bundles, start the workers, and wait until the first one is ready.

        Raises:
            BundleError: A bundle is damaged, or cannot be loaded.
        """
        config = self.config
        bundles = [
            read_bundle(name, path, config.backend, config.require_signature) for name, path in config.bundles.items()
        ]
        self._pool = Pool(
            self.config,
            bundles,
            ready=self._on_ready,
            done=self._on_done,
            lost=self._on_lost,
            limit=lambda worker: self.config.stuck(worker.batch.stream.query),
            tell=self._tell,
            note=self._note,
        )
        await self._pool.start()

    async def drain(self) -> None:
        """Take no more asks, and wait until all that were taken are answered."""
        self._draining = True
        while self.queued or self.running:
            self._idle.clear()
            await self._idle.wait()

    async def stop(self) -> None:
        """End at once: what is not answered gets a fault."""
        self._draining = True
        if self._pool is not None:
            await self._pool.stop()
        self._fail_queue(Fault(status=503, kind="draining", message="the service is shutting down", retry_after=1.0))

    # ---------------------------------------------------------------- asking

    async def ask(self, ask: Ask, deadline: float | None = None) -> Told:
        """Put a question, and wait for its answer.

        Args:
            ask: The question.
            deadline: Loop time after which the answer is of no use.

        Returns:
            The answer, or the fault that explains why there is none. Expected trouble raises nothing.
        """
        loop = asyncio.get_running_loop()
        now = time.monotonic()  # the clock of every event loop, but uvloop rounds it to milliseconds
        until = min(deadline if deadline is not None else math.inf, now + self.config.timeout)
        fault = self._refusal(ask, now, until)
        if fault is not None:
            return Told(fault=fault, query=ask.query)
        waiting = Waiting(ask, self._stream(ask), now, until, loop.create_future())
        waiting.timer = loop.call_at(until, self._expire, waiting)
        self._enqueue(waiting)
        try:
            return await waiting.future
        finally:
            waiting.timer.cancel()
            self._leave(waiting)

    def _refusal(self, ask: Ask, now: float, until: float) -> Fault | None:
        """Why an ask is not taken, if it is not."""
        if self._draining:
            return Fault(status=503, kind="draining", message="the service is shutting down", retry_after=1.0)
        if self._pool is None or not self._pool.workers:
            back = max(1.0, self._pool.back_in - now) if self._pool is not None else 1.0
            return Fault(status=503, kind="not_ready", message="no worker is ready; try again", retry_after=back)
        model = self.models.get(ask.model)
        if model is None:
            there = ", ".join(self.models)
            return Fault(status=404, kind="no_such_model", message=f"no model {ask.model!r}; there are: {there}")
        if ask.query not in model.queries and ask.query != "infer":
            there = ", ".join(model.queries)
            message = f"model {ask.model!r} has no query {ask.query!r}; it answers: {there}"
            return Fault(status=404, kind="no_such_query", message=message)
        if until <= now:
            return Fault(status=504, kind="deadline", message="the deadline had passed when the request came")
        wait = self.expected_wait()
        full = self.queued >= self.config.max_queue or self.queued_bytes + len(ask.body) > self.config.max_queue_bytes
        if (full and self.queued) or wait > self.config.max_wait:
            message = f"{self.queued} requests wait for about {wait:.2f} s; try again later"
            return Fault(status=503, kind="queue_full", message=message, retry_after=max(1.0, math.ceil(wait)))
        if now + wait > until:
            message = f"the expected wait of {wait:.3f} s exceeds the deadline"
            return Fault(status=503, kind="overloaded", message=message, retry_after=max(1.0, math.ceil(wait)))
        return None

    def expected_wait(self) -> float:
        """Seconds that an ask which came now would wait for a worker, as far as measured costs tell."""
        backlog = sum(
            stream.cost.a * stream.rows + stream.cost.b * math.ceil(stream.rows / self.config.max_batch_rows)
            for stream in self._streams.values()
            if stream.waiting
        )
        return backlog / max(1, len(self._pool.workers) if self._pool is not None else 1)

    def _stream(self, ask: Ask) -> Stream:
        key = ask.model, ask.query
        if key not in self._streams:
            self._streams[key] = Stream(*key)
        return self._streams[key]

    def _enqueue(self, waiting: Waiting) -> None:
        stream = waiting.stream
        if not stream.waiting:  # it was away, and has no claim to the time that others used meanwhile
            stream.served = max(stream.served, self._clock)
        stream.queue.append(waiting)
        stream.waiting += 1
        stream.rows += waiting.rows
        self.queued += 1
        self.queued_bytes += len(waiting.ask.body)
        self._wake()

    def _leave(self, waiting: Waiting) -> None:
        """Take an ask out of the count of those that wait; the queue forgets it when it comes to its turn."""
        if not waiting.queued:
            return
        waiting.queued = False
        stream = waiting.stream
        stream.waiting -= 1
        stream.rows = stream.rows - waiting.rows if stream.waiting else 0.0
        self.queued -= 1
        self.queued_bytes -= len(waiting.ask.body)
        self._settle()

    def _expire(self, waiting: Waiting) -> None:
        if not waiting.future.done():
            message = "the deadline passed while the request waited"
            if not waiting.queued:
                message = "the deadline passed before the answer was there"
            self._tell_fault(waiting, Fault(status=504, kind="deadline", message=message))
        self._leave(waiting)

    # ---------------------------------------------------------------- batches

    def _wake(self) -> None:
        """Dispatch after the event loop has handed on all that has arrived by now."""
        if not self._pending and self._free and self.queued:
            self._pending = True
            asyncio.get_running_loop().call_soon(self._dispatch)

    def _dispatch(self) -> None:
        self._pending = False
        now = time.monotonic()
        while self._free and self.queued:
            stream = min((one for one in self._streams.values() if one.waiting), key=lambda one: one.served)
            members, reason = self._take(stream, now)
            self._clock = stream.served
            stream.served += stream.cost.seconds(sum(one.rows for one in members)) or 1e-3
            self._batches += 1
            worker = self._free.pop()
            worker.batch = Batch(self._batches, stream, members, reason, now)
            self.running += len(members)
            asks = [msgspec.structs.replace(one.ask, body=b"") for one in members]
            worker.work(Work(batch=self._batches, asks=asks), [one.ask.body for one in members])

    def _take(self, stream: Stream, now: float) -> tuple[list[Waiting], Reason]:
        """The asks of the next batch of a stream, and why they are no more."""
        members: list[Waiting] = []
        reason: Reason = "idle"
        rows, size, until = 0.0, 0, math.inf
        target = stream.cost.rows(self.config.latency_target / 2)
        while stream.queue:
            one = stream.queue[0]
            if not one.queued:
                stream.queue.popleft()
                continue
            if members:
                if rows + one.rows > self.config.max_batch_rows:
                    reason = "full_rows"
                elif size + len(one.ask.body) > self.config.max_batch_bytes:
                    reason = "full_bytes"
                elif rows + one.rows > target:
                    reason = "cost"
                elif rows + one.rows > stream.cost.rows(min(until, one.deadline) - now):
                    reason = "deadline"
                if reason != "idle":
                    break
            stream.queue.popleft()
            self._leave(one)
            members.append(one)
            rows, size, until = rows + one.rows, size + len(one.ask.body), min(until, one.deadline)
        return members, reason

    # ---------------------------------------------------------------- what workers say

    def _on_ready(self, worker: Worker) -> None:
        self._free.append(worker)
        self._wake()

    def _on_done(self, worker: Worker, done: Done, bodies: list[memoryview]) -> None:
        batch: Batch = worker.batch
        worker.batch = None
        self._free.append(worker)
        self._wake()
        seconds = time.monotonic() - batch.start
        for one, told, body in zip(batch.members, done.tolds, bodies, strict=True):
            if told.fault is None:
                batch.stream.learn(one.ask, told.rows)
            if not one.future.done():
                one.future.set_result(msgspec.structs.replace(told, body=bytes(body)) if body else told)
        batch.stream.cost.learn(max(1, done.seen.rows), seconds)
        self.running -= len(batch.members)
        self._settle()
        record = BatchRecord(
            number=batch.number,
            started=batch.start,
            model=batch.stream.model,
            query=batch.stream.query,
            reason=batch.reason,
            ids=[one.ask.id for one in batch.members],
            waits=[batch.start - one.since for one in batch.members],
            kinds=[told.fault.kind if told.fault is not None else "" for told in done.tolds],
            seen=done.seen,
            seconds=seconds,
            worker=worker.number,
        )
        for observer in self.observers:
            observer(record)

    def _on_lost(self, worker: Worker) -> None:
        kind, why = worker.blame
        if worker in self._free:
            self._free.remove(worker)
        event = "stuck" if kind == "worker_stuck" else "stopped" if kind == "draining" else "lost"
        self._tell(WorkerEvent(kind=event, worker=worker.number, message=why))  # type: ignore[arg-type]
        batch: Batch | None = worker.batch
        worker.batch = None
        if batch is not None:
            self.running -= len(batch.members)
            fault = Fault(status=503, kind=kind, message=f"{why}; it is being replaced", retry_after=1.0)
            for one in batch.members:
                self._tell_fault(one, fault)
            self._settle()

    def _tell_fault(self, waiting: Waiting, fault: Fault) -> None:
        if not waiting.future.done():
            waiting.future.set_result(Told(fault=fault, query=waiting.ask.query))

    def _fail_queue(self, fault: Fault) -> None:
        for stream in self._streams.values():
            for one in stream.queue:
                if one.queued:
                    self._leave(one)
                    self._tell_fault(one, fault)
            stream.queue.clear()

    def _settle(self) -> None:
        if not self.queued and not self.running:
            self._idle.set()

    def _tell(self, event: WorkerEvent) -> None:
        for watcher in self.watchers:
            watcher(event)

    def _note(self, noted: Noted) -> None:
        for listener in self.listeners:
            listener(noted)
