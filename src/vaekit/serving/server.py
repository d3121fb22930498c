"""The life of the service: everything starts at once, a signal lets it end without losing an answer."""

from __future__ import annotations

import asyncio
import os
import re
import resource
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec
import uvloop

from vaekit.bundle.manifest import read_files, read_manifest
from vaekit.errors import ConfigError
from vaekit.serving.access.addresses import check_listening, only_loopback
from vaekit.serving.access.gate import Gate
from vaekit.serving.access.guard import Guard
from vaekit.serving.batching.batcher import Batcher
from vaekit.serving.feedback.ledger import Ledger
from vaekit.serving.front import Front
from vaekit.serving.http.app import Application
from vaekit.serving.http.host import HttpHost
from vaekit.serving.http.routes import Routes
from vaekit.serving.http.system import System
from vaekit.serving.http.v1 import V1
from vaekit.serving.http.v2 import V2
from vaekit.serving.observing.bridge import bridged
from vaekit.serving.observing.logs import Log
from vaekit.serving.observing.observer import Observing
from vaekit.serving.observing.traces import Traces
from vaekit.serving.settings import Settings

__all__ = ["Host", "Server", "serve"]

_SPARE_FILES = 256  # descriptors for what is no connection


class Host(Protocol):
    """Listens in some protocol."""

    async def start(self) -> str:
        """Listen; returns the address."""

    def drain(self) -> None:
        """Go on answering, and ask callers to go elsewhere."""

    async def close(self, timeout: float) -> int:
        """Take no more requests, and wait for those that were taken; returns how many were cut off."""


class Server:
    """One service.

    Args:
        settings: Its settings.
        hosts: Makers of more hosts, beside HTTP and gRPC, from the front.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        hosts: Iterable[Callable[[Front], Host]] = (),
    ) -> None:
        self.settings = settings
        self._warning = check_listening(
            settings.host,
            guarded=settings.access.guarded or settings.tls_client_ca is not None,
            tls=settings.tls is not None,
            forced=settings.insecure_public,
        )
        log = Log(settings.log_file, level=settings.log_level, access=settings.access_log)
        self.observing = Observing(log, Traces.asked(settings.trace_endpoint))
        self.batcher = Batcher(settings)
        self.observing.attach(self.batcher)
        state = None if settings.state is None else Path(settings.state)
        self.ledger = Ledger(state, settings.feedback_days, settings.feedback_answers)
        self.observing.attach_ledger(self.ledger)
        self.front = Front(
            self.batcher,
            self.ledger,
            (self.observing.around, Guard(Gate(settings.access), local=only_loopback(settings.host))),
            _evaluations(settings),
            timeout=settings.timeout,
            longest=settings.longest_timeout,
        )
        parts = (V1(self.front), V2(self.front), System(self.front, self.observing.scrape, settings.max_rows))
        app = Application(
            Routes(route for part in parts for route in part.routes), self.front.handle, settings.max_body
        )
        http = HttpHost(app, settings)
        self.observing.attach_host(http)
        self.hosts: list[Host] = [http, *(make(self.front) for make in hosts)]
        if settings.grpc_port is not None:
            self.hosts.append(_grpc_host(self.front, settings))
        self._told = 0  # signals so far
        self._asked = asyncio.Event()  # to stop
        self._urged = asyncio.Event()  # to stop at once

    async def run(self) -> int:
        """Serve until a signal comes.

        Returns:
            0: everything that was taken was answered; 1: something was cut off.

        Raises:
            ConfigError: If it cannot listen.
            BundleError: If a bundle is damaged, or cannot answer what is to be served.
        """
        try:
            with bridged(self.log):
                return await self._run()
        finally:
            self.observing.close()

    async def _run(self) -> int:
        loop = asyncio.get_running_loop()
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, self.stop)
        self.log.event("settings", **_changed(self.settings))
        addresses = [await host.start() for host in self.hosts]
        self._tell("listening", f"listening on {', '.join(addresses)}; models are being loaded", addresses=addresses)
        starting = asyncio.create_task(self.batcher.start())
        try:
            if await self._first(starting, self._asked):
                starting.result()
                self._welcome(addresses[0])
                await self._asked.wait()
            return await self._end()
        finally:
            starting.cancel()
            await self.batcher.stop()
            self.ledger.close()

    @property
    def log(self) -> Log:
        """Its log."""
        return self.observing.log

    def stop(self) -> None:
        """Stop: the first time after what was taken is answered, the second time at once."""
        self._told += 1
        self._asked.set()
        if self._told > 1:
            self._urged.set()

    async def _end(self) -> int:
        """Say that it is not ready, go on for a while, then take no more, answer what was taken, and close."""
        settings = self.settings
        self.front.draining = True
        for host in self.hosts:
            host.drain()
        words = f"stopping: not ready from now on, no new requests in {settings.drain_delay:g} s"
        self._tell("draining", words, delay=settings.drain_delay)
        await self._first(asyncio.create_task(asyncio.sleep(settings.drain_delay)), self._urged)
        closing = asyncio.gather(*(host.close(settings.drain_timeout) for host in self.hosts))
        if not await self._first(closing, self._urged):
            self._tell("stopped", "stopped at once", "warning")
            return 1
        cut = sum(closing.result())
        words = f"stopped; {cut} requests were cut off after {settings.drain_timeout:g} s" if cut else "stopped"
        self._tell("stopped", words, "warning" if cut else "info", cut=cut)
        return 1 if cut else 0

    async def _first(self, work: asyncio.Future[Any], event: asyncio.Event) -> bool:
        """Wait for some work or an event; whether the work came first."""
        waiting = asyncio.create_task(event.wait())
        await asyncio.wait({work, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        return work.done()

    def _welcome(self, address: str) -> None:
        """Tell what can be asked, and what to try next."""
        for facts in self.batcher.models.values():
            self._tell(
                "model",
                f"{facts.name}: version {facts.version}, answers {', '.join(facts.queries)}",
                name=facts.name,
                version=facts.version,
                contract=facts.contract,
                data=facts.data,
                backend=facts.backend,
                queries=list(facts.queries),
            )
        if self.settings.state is None:
            words = "feedback is kept in memory and lost with this process; keep it with --state DIR"
            self._tell("state_in_memory", words)
        if self._warning:
            self._tell("insecure", f"warning: {self._warning}", "warning")
        first = next(iter(self.batcher.models))
        self._tell(
            "ready",
            f"ready; Ctrl-C stops it\n"
            f"next: curl {address}/v1/models/{first} tells what it takes and answers; {address}/openapi.json how",
        )

    def _tell(self, event: str, words: str, level: str = "info", **facts: Any) -> None:
        """Tell people at a terminal in words, and everybody else by the log."""
        people = sys.stderr.isatty()
        if people:
            print(words, file=sys.stderr, flush=True)
        if not people or self.settings.log_file is not None:
            self.log.event(event, level, message=words, **facts)


def serve(settings: Settings, **parts: Any) -> int:
    """Serve models until a signal comes: what `vae serve` does.

    Args:
        settings: The settings.
        parts: Other arguments of `Server`.

    Returns:
        The exit code: 0 unless something had to be cut off.

    Raises:
        ConfigError: If it cannot listen, or keep its state.
        BundleError: If a bundle is damaged, or cannot answer what is to be served.
    """
    _allow_connections(settings.max_connections)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_served(settings, parts))


async def _served(settings: Settings, parts: Mapping[str, Any]) -> int:
    return await Server(settings, **parts).run()


def _allow_connections(most: int) -> None:
    """Raise the limit on open files to what connections need.

    Raises:
        ConfigError: If the system does not allow as many.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    need = most + _SPARE_FILES
    if hard != resource.RLIM_INFINITY and need > hard:
        raise ConfigError(
            f"max_connections {most} needs {need} open files, the system allows {hard}: lower it to "
            f"{max(1, hard - _SPARE_FILES)}, or raise the limit (ulimit -n)"
        )
    if soft != resource.RLIM_INFINITY and soft < need:
        resource.setrlimit(resource.RLIMIT_NOFILE, (need, hard))


def _changed(settings: Settings) -> dict[str, Any]:
    """The settings that are not as they come, without what may be a password in an address."""
    found = {}
    for field in msgspec.structs.fields(settings):
        name, value = field.name, getattr(settings, field.name)
        made = field.default_factory is not msgspec.NODEFAULT
        if value != (field.default_factory() if made else field.default):
            found[name] = re.sub(r"(?<=://)[^/@]*@", "", value) if isinstance(value, str) else value
    return found


def _grpc_host(front: Front, settings: Settings) -> Host:
    # gRPC would hook into every fork, which workers need none of, and write lines of its own to stderr.
    for name, value in (("GRPC_ENABLE_FORK_SUPPORT", "0"), ("GRPC_VERBOSITY", "ERROR")):
        os.environ.setdefault(name, value)
    from vaekit.serving.rpc.host import GrpcHost  # costs 16 MB and a tenth of a second: only where it is used
    from vaekit.serving.rpc.service import Service

    return GrpcHost(Service(front), settings)


def _evaluations(settings: Settings) -> dict[str, dict[str, Any]]:
    """Held-out figures of bundles: those that are one number."""
    found = {}
    for name, path in settings.bundles.items():
        root = Path(path)
        root = root if (root / "manifest.json").exists() else root / "bundle"
        manifest = read_manifest(root, settings.require_signature)
        content = read_files(root, manifest, {"evaluation.json"})
        figures = msgspec.json.decode(content.get("evaluation.json", b"{}"), type=dict[str, Any])
        found[name] = {key: value for key, value in figures.items() if isinstance(value, int | float)}
    return found
