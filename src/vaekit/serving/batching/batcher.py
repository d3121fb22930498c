"""The batcher: requests wait in bounded queues, and a free worker gets at once what waits."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from vaekit.errors import ServingError
from vaekit.serving.batching.pool import Pool
from vaekit.serving.batching.process import Worker
from vaekit.serving.batching.records import BatchRecord, WorkerEvent
from vaekit.serving.batching.stored import Stored, read_bundle
from vaekit.serving.batching.streams import Batch, Stream, Waiting
from vaekit.serving.config import ServeConfig
from vaekit.serving.wire.asking import Ask, Fault, Told
from vaekit.serving.wire.facts import Facts
from vaekit.serving.wire.messages import Done, Noted, Work

__all__ = ["Batcher"]

_LOG = logging.getLogger(__name__)
# Turns of the event loop before a batch is cut. In one, all that has arrived by now is handed on. A worker that shares
# the only core cannot begin before the front pauses; meanwhile answers are written, and what comes joins the batch.
_TURNS, _TURNS_ON_ONE_CORE = 1, 3
_T = TypeVar("_T")


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
        self._turns = _TURNS if len(os.sched_getaffinity(0)) > 1 else _TURNS_ON_ONE_CORE

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
            ServingError: Workers die before they are ready.
        """
        self._pool = Pool(
            self.config,
            await asyncio.to_thread(self._read),
            ready=self._on_ready,
            done=self._on_done,
            lost=self._on_lost,
            failed=self._on_failed,
            tell=lambda event: _each(self.watchers, event),
            note=lambda noted: _each(self.listeners, noted),
        )
        try:
            await self._pool.start()
        except BaseException:
            await self._pool.stop()
            raise

    def _read(self) -> list[Stored]:
        config = self.config
        return [
            read_bundle(name, path, config.backend, config.require_signature) for name, path in config.bundles.items()
        ]

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
            message = "no worker is ready; try again"
            return Fault(status=503, kind="not_ready", message=message, retry_after=self._back_in())
        model = self.models.get(ask.model)
        if model is None:
            there = ", ".join(self.models)
            return Fault(status=404, kind="no_such_model", message=f"no model {ask.model!r}; there are: {there}")
        if ask.query not in model.queries and ask.query != "infer":
            there = ", ".join(model.queries)
            message = f"model {ask.model!r} has no query {ask.query!r}; it answers: {there}"
            return Fault(status=404, kind="no_such_query", message=message)
        try:
            msgspec.msgpack.encode((ask.id, ask.takes, ask.gives, ask.options, ask.headers))
        except UnicodeEncodeError:
            return Fault(status=400, kind="bad_body", message="an option or a header is not Unicode")
        if until <= now:
            return Fault(status=504, kind="deadline", message="the deadline had passed when the request came")
        wait = self.expected_wait(now)
        full = self.queued >= self.config.max_queue or self.queued_bytes + len(ask.body) > self.config.max_queue_bytes
        if self.queued and (full or wait > self.config.max_wait):
            message = f"{self.queued} requests wait for about {wait:.2f} s; try again later"
            return Fault(status=503, kind="queue_full", message=message, retry_after=max(1.0, math.ceil(wait)))
        if now + wait > until:
            message = f"the expected wait of {wait:.3f} s exceeds the deadline"
            return Fault(status=503, kind="overloaded", message=message, retry_after=max(1.0, math.ceil(wait)))
        return None

    def expected_wait(self, now: float) -> float:
        """Seconds that an ask which comes now will wait for a worker, as far as measured costs tell; 0 if one is free.

        Args:
            now: The time, of `time.monotonic`.
        """
        if self._pool is None or (self._free and not self.queued):
            return 0.0
        backlog = sum(stream.backlog(self.config) for stream in self._streams.values())
        busy = [worker.batch for worker in self._pool.workers.values() if worker.batch is not None]
        rest = sum(max(0.0, batch.start + batch.expected - now) for batch in busy)
        return (backlog + rest) / max(1, len(self._pool.workers))

    def _stream(self, ask: Ask) -> Stream:
        key = ask.model, ask.query
        if key not in self._streams:
            self._streams[key] = Stream(*key)
        return self._streams[key]

    def _enqueue(self, waiting: Waiting) -> None:
        stream = waiting.stream
        if not stream.waiting:  # it was away, and has no claim to the time that others used meanwhile
            stream.served = max(stream.served, self._clock)
        stream.add(waiting)
        self.queued += 1
        self.queued_bytes += len(waiting.ask.body)
        self._wake()

    def _leave(self, waiting: Waiting) -> None:
        """Take an ask out of those that wait, if it is one."""
        if waiting.queued:
            waiting.stream.remove(waiting)
            self._left(waiting)

    def _left(self, waiting: Waiting) -> None:
        self.queued -= 1
        self.queued_bytes -= len(waiting.ask.body)
        self._settle()

    def _expire(self, waiting: Waiting) -> None:
        where = "while the request waited" if waiting.queued else "before the answer was there"
        waiting.fail(Fault(status=504, kind="deadline", message=f"the deadline passed {where}"))
        self._leave(waiting)

    # ---------------------------------------------------------------- batches

    def _wake(self) -> None:
        """Dispatch soon."""
        if not self._pending and self._free and self.queued:
            self._pending = True
            self._after(self._turns)

    def _after(self, turns: int) -> None:
        """Dispatch after some turns of the event loop."""
        if turns:
            asyncio.get_running_loop().call_soon(self._after, turns - 1)
        else:
            self._dispatch()

    def _dispatch(self) -> None:
        self._pending = False
        while self._free and self.queued:
            now = time.monotonic()
            stream = min((one for one in self._streams.values() if one.waiting), key=lambda one: one.served)
            members, reason = stream.cut(now, self.config)
            self.running += len(members)
            for one in members:
                self._left(one)
            self._clock = stream.served
            expected = stream.cost.seconds(sum(one.rows for one in members))
            stream.served += expected
            self._batches += 1
            worker = self._free.pop()
            worker.batch = Batch(self._batches, stream, members, reason, now, expected)
            asks = [msgspec.structs.replace(one.ask, body=b"") for one in members]
            worker.work(Work(batch=self._batches, asks=asks), [one.ask.body for one in members])

    # ---------------------------------------------------------------- what workers say

    def _on_ready(self, worker: Worker) -> None:
        self._free.append(worker)
        self._wake()

    def _on_done(self, worker: Worker, done: Done, bodies: list[memoryview]) -> None:
        batch, worker.batch = worker.batch, None
        if batch is None or batch.number != done.batch:
            raise ServingError(f"worker {worker.number} answered a batch that it was not given")
        self._free.append(worker)
        self._wake()
        seconds = time.monotonic() - batch.start
        for one, told, body in zip(batch.members, done.tolds, bodies, strict=True):
            if told.fault is None:
                batch.stream.learn(one.ask, told.rows)
            if not one.future.done():
                one.future.set_result(msgspec.structs.replace(told, body=bytes(body)) if body else told)
        batch.stream.served += seconds - batch.expected
        batch.stream.cost.learn(max(1, done.seen.rows), seconds)
        self.running -= len(batch.members)
        self._settle()
        record = BatchRecord(
            number=batch.number,
            started=batch.start,
            model=batch.stream.model,
            query=batch.stream.query,
            reason=batch.reason,
            numbers=[one.ask.number for one in batch.members],
            waits=[batch.start - one.since for one in batch.members],
            kinds=[told.fault.kind if told.fault is not None else "" for told in done.tolds],
            seen=done.seen,
            seconds=seconds,
            worker=worker.number,
        )
        _each(self.observers, record)

    def _on_lost(self, worker: Worker) -> None:
        kind, why = worker.blame
        if worker in self._free:
            self._free.remove(worker)
        batch, worker.batch = worker.batch, None
        if batch is not None:
            self.running -= len(batch.members)
            fault = Fault(status=503, kind=kind, message=f"{why}; try again", retry_after=1.0)
            for one in batch.members:
                one.fail(fault)
            self._settle()

    def _on_failed(self, why: str) -> None:
        """A replacement did not get ready, so that nobody knows when what waits could be answered."""
        if self._pool is not None and not self._pool.workers:
            self._fail_queue(Fault(status=503, kind="not_ready", message=why, retry_after=self._back_in()))

    def _back_in(self) -> float:
        """Seconds after which another worker may be ready."""
        until = self._pool.back_at - time.monotonic() if self._pool is not None else 0.0
        return float(max(1, math.ceil(until)))

    def _fail_queue(self, fault: Fault) -> None:
        for stream in self._streams.values():
            for one in stream.all():
                one.fail(fault)
                self._leave(one)

    def _settle(self) -> None:
        if not self.queued and not self.running:
            self._idle.set()


def _each(listeners: Sequence[Callable[[_T], None]], what: _T) -> None:
    """Tell everybody who listens; the defect of one must cost neither the others nor the worker that was heard."""
    for listener in listeners:
        try:
            listener(what)
        except Exception:  # as above
            _LOG.exception("a listener failed")
