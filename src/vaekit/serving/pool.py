"""The worker processes: started, watched, and replaced when they die, stop or hang."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from vaekit.errors import BundleError
from vaekit.serving.config import ServeConfig
from vaekit.serving.facts import Facts
from vaekit.serving.messages import Done, Noted
from vaekit.serving.process import Worker, WorkerLost
from vaekit.serving.records import WorkerEvent
from vaekit.serving.stored import Stored

__all__ = ["Pool"]

_STEADY = 10.0  # seconds after which the death of a worker is no part of a crash loop
_FIRST, _LONGEST = 0.5, 15.0  # seconds of back-off in a crash loop


class Pool:
    """Keeps a number of workers alive.

    Args:
        config: Options of the service.
        bundles: The bundles that every worker holds.
        ready: Called when a worker is ready for its first batch.
        done: Called with the answers to a batch.
        lost: Called when a worker that was ready has gone; its `Worker.blame` says why.
        limit: Seconds after which a worker is taken for stuck with what it is busy with.
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
        limit: Callable[[Worker], float],
        tell: Callable[[WorkerEvent], None],
        note: Callable[[Noted], None],
    ) -> None:
        self.config, self.bundles = config, bundles
        self.workers: dict[int, Worker] = {}  # those that are ready
        self.models: dict[str, Facts] = {}
        self.back_in = 0.0  # loop time at which a replacement is expected
        self._ready, self._done, self._lost, self._limit = ready, done, lost, limit
        self._tell, self._note = tell, note
        self._all: set[Worker] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._started = 0
        self._took = 1.0  # seconds that the last worker took to get ready
        self._first: asyncio.Future[None] | None = None

    async def start(self) -> None:
        """Start all workers, and wait for the first one to be ready.

        Raises:
            BundleError: A bundle cannot be loaded.
        """
        self._first = asyncio.get_running_loop().create_future()
        self._tasks = [asyncio.create_task(self._keep()) for _ in range(self.config.workers)]
        self._tasks.append(asyncio.create_task(self._watch()))
        await asyncio.shield(self._first)

    async def stop(self) -> None:
        """End all workers."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(worker.stop() for worker in self._all))

    async def _keep(self) -> None:
        """Keep one worker alive."""
        loop, failures = asyncio.get_running_loop(), 0
        while True:
            self._started += 1
            worker, begin = Worker(self._started, self._done, self._on_lost, self._note), loop.time()
            self.back_in = begin + self._took
            self._all.add(worker)
            self._tell(WorkerEvent(kind="started", worker=worker.number))
            try:
                hello = await worker.start(self.config, self.bundles)
            except BundleError as error:
                self._tell(WorkerEvent(kind="failed", worker=worker.number, message=str(error)))
                if self._first is not None and not self._first.done():
                    self._first.set_exception(error)
                    return
            except WorkerLost as error:
                self._tell(WorkerEvent(kind="failed", worker=worker.number, message=str(error)))
            else:
                self._took = loop.time() - begin
                self.models = {facts.name: facts for facts in hello.models}
                self.workers[worker.number] = worker
                self._tell(WorkerEvent(kind="ready", worker=worker.number, seconds=self._took))
                if self._first is not None and not self._first.done():
                    self._first.set_result(None)
                self._ready(worker)
                await worker.gone
            await worker.reaped()
            self._all.discard(worker)
            failures = 0 if loop.time() - begin > _STEADY else failures + 1
            if failures > 1:
                pause = min(_LONGEST, _FIRST * 2.0 ** (failures - 2))
                self.back_in = loop.time() + pause + self._took
                await asyncio.sleep(pause)

    def _on_lost(self, worker: Worker) -> None:
        if self.workers.pop(worker.number, None) is not None:
            self._lost(worker)

    async def _watch(self) -> None:
        """Kill workers that are silent, and workers that are busy for too long."""
        loop = asyncio.get_running_loop()
        pause = self.config.heartbeat_timeout / 4
        before = loop.time()
        while True:
            await asyncio.sleep(pause)
            now = loop.time()
            late, before = now - before > 2 * pause, now
            if late:  # this process was held up itself, and has not heard what was said meanwhile
                continue
            for worker in list(self.workers.values()):
                if now - worker.heard_at > self.config.heartbeat_timeout:
                    worker.kill("worker_lost", f"the worker was silent for {now - worker.heard_at:.1f} s")
                elif worker.batch is not None and now - worker.busy_since > self._limit(worker):
                    worker.kill("worker_stuck", f"a batch ran for {now - worker.busy_since:.1f} s")
