"""One worker process as the front sees it: started, said hello, free or busy, gone."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from vaekit.errors import BundleError, ServingError
from vaekit.serving.batching.stored import Stored
from vaekit.serving.batching.streams import Batch
from vaekit.serving.config import ServeConfig
from vaekit.serving.wire.frames import Buffer, FrontLine
from vaekit.serving.wire.messages import Beat, Done, Hello, Limits, Load, Noted, Refused, Work

__all__ = ["Worker"]

# What numerical libraries take the number of their threads from; torch does so too.
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class Worker:
    """A worker process.

    Args:
        number: Its number.
        done: Called with the answers to a batch.
        lost: Called once when the process has gone.
        noted: Called with what it noticed of rows.
    """

    def __init__(
        self,
        number: int,
        done: Callable[[Worker, Done, list[memoryview]], None],
        lost: Callable[[Worker], None],
        noted: Callable[[Noted], None],
    ) -> None:
        self.number = number
        self.batch: Batch | None = None  # what it is busy with
        self.born = self.heard_at = time.monotonic()
        self.busy_since = 0.0
        self.blame = ("worker_lost", "the worker process died")
        self._done, self._lost, self._noted = done, lost, noted
        self._loop = asyncio.get_running_loop()
        self._hello: asyncio.Future[Hello] = self._loop.create_future()
        self.gone = asyncio.Event()
        self._line = FrontLine(self._heard, self._closed)
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """The process id; 0 before it is started."""
        return self._process.pid if self._process is not None else 0

    async def start(self, config: ServeConfig, bundles: Sequence[Stored]) -> Hello:
        """Start the process, hand it the bundles, and wait until it is ready.

        Raises:
            BundleError: It cannot load a bundle.
            ServingError: It cannot be started, died, or was not ready in time.
        """
        try:
            await self._spawn(config)
        except OSError as error:
            raise ServingError(f"a worker process cannot be started: {error}") from error
        limits = Limits(
            max_rows=config.max_rows,
            max_batch_rows=config.max_batch_rows,
            max_samples=config.max_samples,
            max_pixels=config.max_pixels,
        )
        load = Load(
            models=tuple(bundle.packed for bundle in bundles),
            backend=config.backend,
            threads=config.threads_each,
            queries=config.queries,
            memory=config.max_memory,
            limits=limits,
            log_samples=config.log_samples,
        )
        self._line.send(load, [content for bundle in bundles for content in bundle.files])
        try:
            return await asyncio.wait_for(asyncio.shield(self._hello), config.start_timeout)
        except TimeoutError:
            self._hello.cancel()
            self.kill("failed", f"the worker was not ready within {config.start_timeout:g} s")
            raise ServingError(self.blame[1]) from None

    async def _spawn(self, config: ServeConfig) -> None:
        """Start the process with one end of a socket pair, of which this process keeps the other."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            paths = os.pathsep.join(path for path in sys.path if path)
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "vaekit.serving.worker", str(theirs.fileno())),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env=os.environ | dict.fromkeys(_THREADS, str(config.threads_each)) | {"PYTHONPATH": paths},
            )
        ours.setblocking(False)
        await self._loop.create_unix_connection(lambda: self._line, sock=ours)

    def work(self, work: Work, bodies: Sequence[Buffer]) -> None:
        """Hand over a batch."""
        self.busy_since = time.monotonic()
        self._line.send(work, bodies)

    def kill(self, kind: str, why: str) -> None:
        """End the process at once.

        Args:
            kind: Kind of the fault of what it was busy with.
            why: The reason.
        """
        if self.gone.is_set():
            return
        self.blame = (kind, why)
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGKILL)
        self._line.close()

    async def stop(self, patience: float = 2.0) -> None:
        """Close the line, upon which the process ends, and wait for that; kill it if it does not.

        Args:
            patience: Seconds that it has.
        """
        if not self.gone.is_set():
            self.blame = ("draining", "the service is shutting down")
            self._line.close()
        if self._process is None:
            return
        try:
            await asyncio.wait_for(self._process.wait(), patience)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()

    def _heard(self, message: Any, bodies: list[memoryview]) -> None:
        self.heard_at = time.monotonic()
        match message:
            case Beat():
                pass
            case Done():
                self._done(self, message, bodies)
            case Noted():
                self._noted(message)
            case Hello() if not self._hello.done():
                self._hello.set_result(message)
            case Refused() if not self._hello.done():
                self._hello.set_exception(BundleError(message.message))

    def _closed(self) -> None:
        if not self._hello.done():
            self._hello.set_exception(ServingError("the worker died while it loaded its models"))
        if not self.gone.is_set():
            self.gone.set()
            self._lost(self)
