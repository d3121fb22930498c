"""The worker processes: started, watched, and replaced when they die, stop or hang."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

from vaekit.errors import BundleError, ServingError
from vaekit.serving.batching.process import Worker
from vaekit.serving.batching.records import EventKind, WorkerEvent
from vaekit.serving.batching.stored import Stored
from vaekit.serving.config import ServeConfig
from vaekit.serving.wire.facts import Facts
from vaekit.serving.wire.messages import Done, Noted

__all__ = ["Pool"]

_LOG = logging.getLogger(__name__)
_STEADY = 10.0  # seconds after which the death of a worker is no part of a crash loop
_FIRST, _LONGEST = 0.5, 15.0  # seconds of back-off in a crash loop
_TRIES = 3  # so often a worker may die at the start of the service


class Pool:
    """Keeps a number of workers alive.

    Args:
        config: Options of the service.
        bundles: The bundles that every worker holds.
        ready: Called when a worker is ready for its first batch.
        done: Called with the answers to a batch.
        lost: Called when a worker that was ready has gone; its `Worker.blame` says why.
        failed: Called with the reason when one did not get ready.
        tell: Called with each `WorkerEvent`.
        note: Called with what workers notice of rows.
    """

    def __init__(
        self,
        config: ServeConfig,
        bundles: Sequence[Stored],
        *,
        ready: Callable[[Worker], None],
        done: Callable[[Worker, Done, list[memoryview]], None],
        lost: Callable[[Worker], None],
        failed: Callable[[str], None],
        tell: Callable[[WorkerEvent], None],
        note: Callable[[Noted], None],
    ) -> None:
        self.config, self.bundles = config, bundles
        self.workers: dict[int, Worker] = {}  # those that are ready
        self.models: dict[str, Facts] = {}
        self.back_at = 0.0  # when a replacement is expected, of `time.monotonic`
        self._ready, self._done, self._lost, self._failed = ready, done, lost, failed
        self._tell, self._note = tell, note
        self._all: set[Worker] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._count = 0
        self._took = 1.0  # seconds that the last worker took to get ready
        self._first: asyncio.Future[None] | None = None

    async def start(self) -> None:
        """Start all workers, and wait for the first one to be ready.

        Raises:
            BundleError: A bundle cannot be loaded.
            ServingError: Workers die before they are ready.
        """
        self._first = asyncio.get_running_loop().create_future()
        self._tasks = [asyncio.create_task(self._keep()) for _ in range(self.config.workers)]
        self._tasks.append(asyncio.create_task(self._watch()))
        for task in self._tasks:
            task.add_done_callback(_told)
        await asyncio.shield(self._first)

    async def stop(self) -> None:
        """End all workers."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(worker.stop() for worker in self._all))

    async def _keep(self) -> None:
        """Keep one worker alive: replace it at once when it dies, and with growing pauses when it dies again."""
        failures = 0
        while True:
            begin = time.monotonic()
            self.back_at = begin + self._took
            try:
                worker = await self._started()
            except (BundleError, ServingError) as error:
                self._give_up(error, failures + 1)
                self._failed(str(error))
            else:
                self._ready(worker)
                await worker.gone.wait()
                await worker.stop()
                self._all.discard(worker)
            failures = 0 if time.monotonic() - begin > _STEADY else failures + 1
            if failures > 1:
                pause = min(_LONGEST, _FIRST * 2.0 ** (failures - 2))
                self.back_at = time.monotonic() + pause + self._took
                await asyncio.sleep(pause)

    async def _started(self) -> Worker:
        """A worker that is ready.

        Raises:
            BundleError: It cannot load a bundle.
            ServingError: It died, or was not ready in time.
        """
        self._count += 1
        begin = time.monotonic()
        worker = Worker(self._count, self._done, self._on_lost, self._note)
        self._all.add(worker)
        self._tell(WorkerEvent(kind="started", worker=worker.number))
        try:
            hello = await worker.start(self.config, self.bundles)
            if worker.gone.is_set():
                raise ServingError("the worker died as soon as it was ready")
        except (BundleError, ServingError) as error:
            spent = time.monotonic() - begin
            self._tell(WorkerEvent(kind="failed", worker=worker.number, message=str(error), seconds=spent))
            await worker.stop()
            self._all.discard(worker)
            raise
        self._took = time.monotonic() - begin
        self.models = {facts.name: facts for facts in hello.models}
        self.workers[worker.number] = worker
        self._tell(WorkerEvent(kind="ready", worker=worker.number, seconds=self._took))
        if self._first is not None and not self._first.done():
            self._first.set_result(None)
        return worker

    def _give_up(self, error: Exception, failures: int) -> None:
        """Tell whoever waits for the first worker that none will be ready."""
        hopeless = failures >= _TRIES or isinstance(error, BundleError)
        if hopeless and self._first is not None and not self._first.done():
            self._first.set_exception(error)

    def _on_lost(self, worker: Worker) -> None:
        if self.workers.pop(worker.number, None) is None:
            return
        kind, why = worker.blame
        event: EventKind = "stuck" if kind == "worker_stuck" else "stopped" if kind == "draining" else "lost"
        lived = time.monotonic() - worker.born
        self._tell(WorkerEvent(kind=event, worker=worker.number, message=why, seconds=lived))
        self._lost(worker)

    async def _watch(self) -> None:
        """Kill workers that are silent, and workers that are busy for too long."""
        pause = self.config.heartbeat_timeout / 4
        before = time.monotonic()
        while True:
            await asyncio.sleep(pause)
            now = time.monotonic()
            late, before = now - before > 2 * pause, now
            if late:  # this process was held up itself, and has not heard what was said meanwhile
                continue
            for worker in list(self.workers.values()):
                silent, busy = now - worker.heard_at, now - worker.busy_since
                if silent > self.config.heartbeat_timeout:
                    worker.kill("worker_lost", f"the worker was silent for {silent:.1f} s")
                elif worker.batch is not None and busy > self.config.stuck(worker.batch.stream.query):
                    worker.kill("worker_stuck", f"a batch ran for {busy:.1f} s")


def _told(task: asyncio.Task[None]) -> None:
    """Log the defect that ended a task which never ends."""
    if not task.cancelled() and task.exception() is not None:
        _LOG.error("workers are not looked after any more", exc_info=task.exception())
