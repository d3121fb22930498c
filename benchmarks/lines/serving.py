"""P4: the service, in requests per second and latency."""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.registry import Outcome, Settings
from benchmarks.servers.contenders import RIVALS, Server, Way
from benchmarks.servers.model import ASKED, Served, make
from benchmarks.servers.ours import OTHERS, OURS
from benchmarks.servers.running import Process, busy, environment, free_port, post, resident
from benchmarks.servers.wrk import Load, wrk
from benchmarks.tools.pinned import pinned

GOAL = (
    "784 floats a row, one server on one core, wrk on another, 16 clients: at least 3,000 requests/s as JSON and 5,000 "
    "as Arrow; at least 10 times FastAPI + pydantic + torch and LitServe, 3 times MLServer; P99 at 64 clients at most "
    "50 ms; no request failed; every server gives the same answers"
)
CLIENTS = (1, 16, 64)
TOLERANCE = 1e-4  # relative, of an answer against the query in our process
MUST = {"JSON": 3_000.0, "Arrow": 5_000.0}
TIMES = {"FastAPI + pydantic + torch": 10.0, "LitServe": 10.0, "MLServer": 3.0}
P99 = 50.0
WARM = 1  # second of load that is not counted


@dataclass
class Contender:
    """A server and what was measured of it.

    Args:
        server: The server.
        loads: By way and number of clients, one per round.
        costs: Answers per processor second of all its processes, likewise.
        furthest: How far its answers are off, relative.
        memory: Resident megabytes of all its processes after the load.
    """

    server: Server
    loads: dict[tuple[str, int], list[Load]] = field(default_factory=dict)
    costs: dict[tuple[str, int], list[float]] = field(default_factory=dict)
    furthest: float = 0.0
    memory: float = 0.0


@dataclass(frozen=True)
class Bench:
    """Where and how everything is run.

    Args:
        served: What is served.
        folder: Room for bodies and logs.
        cores: That of wrk, and that of the server.
        clients: Numbers of clients.
        seconds: Length of one load.
    """

    served: Served
    folder: Path
    cores: tuple[int, int]
    clients: Sequence[int]
    seconds: int

    def turn(self, one: Contender, first: bool) -> None:
        """Start a server, load it in every way that it has, and stop it; at first see that its answers are right."""
        python, ports = environment(one.server.packages), [free_port() for _ in range(3)]
        env = {"GRAPH": str(self.served.graph), "PROGRAM": str(self.served.program), "PORT": str(ports[0])}
        command = one.server.command(python, ports[0], self.served)
        log = self.folder / f"{one.server.name}.log"
        process = Process(command, self.cores[1], env | one.server.env(ports), one.server.cwd, log)
        url, ways = f"http://127.0.0.1:{ports[0]}", one.server.ways
        try:
            process.wait(url + ways[0].path, ways[0].write(self.served.rows[0]), ways[0].headers)
            if first:
                one.furthest = max(self._off(one.server, way, url) for way in ways)
            for way in (*ways, *(OTHERS if first and one.server is OURS else ())):
                self._load(one, way, url, process.pid)
            one.memory = resident(process.pid)
        finally:
            process.stop()

    def _off(self, server: Server, way: Way, url: str) -> float:
        """How far the answers of a server are from those of the query in our process."""
        found = [way.read(post(url + way.path, way.write(row), way.headers)) for row in self.served.rows]
        off = float(np.max(np.abs(np.array(found) / self.served.scores - 1.0)))
        if not off <= TOLERANCE:
            raise SystemExit(f"{server.name}, {way.name}: answers are off by {off:.2g}; nothing was timed")
        return off

    def _load(self, one: Contender, way: Way, url: str, pid: int) -> None:
        bodies = self.folder / f"{one.server.name}, {way.name}"
        if not bodies.exists():
            bodies.mkdir()
            for number, row in enumerate(self.served.rows):
                (bodies / str(number)).write_bytes(way.write(row))
        load = partial(wrk, url + way.path, bodies, way.headers, core=self.cores[0])
        load(clients=max(self.clients), seconds=WARM)
        for count in self.clients:
            before, found = busy(pid), load(clients=count, seconds=self.seconds)
            cost = found.good / max(busy(pid) - before, 0.01)
            one.loads.setdefault((way.name, count), []).append(found)
            one.costs.setdefault((way.name, count), []).append(cost)
            told = f"{found.rate:>8,.0f}/s {cost:>8,.0f} per processor second"
            late = f"P50 {found.p50:6.2f}, P95 {found.p95:6.2f}, P99 {found.p99:6.2f} ms"
            name = f"{one.server.name}, {way.name}"
            print(f"{name:44s} {count:3d} clients: {told}; {late}  {found.failed or ''}", flush=True)


def run(settings: Settings) -> Outcome:
    """Start, load and stop one server after the other, round by round; the order turns with the round."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit("P4 needs two cores: one for the server, one for wrk")
    contenders = [Contender(server) for server in (OURS, *RIVALS)]
    for one in contenders:
        environment(one.server.packages)
    rounds, seconds, clients = (1, 2, (16,)) if settings.quick else (3, 4, CLIENTS)
    with tempfile.TemporaryDirectory() as name:
        served = make(settings.data, Path(name), settings.seed)
        ceiling = pinned("benchmarks.servers.ceiling:measure", 1, graph=str(served.graph), seed=settings.seed)
        bench = Bench(served, Path(name), (cores[0], cores[-1]), clients, seconds)
        for number in range(rounds):
            turn = number % len(contenders)
            for one in contenders[turn:] + contenders[:turn]:
                bench.turn(one, first=number == 0)
    return _outcome(contenders, ceiling, clients)


def _outcome(contenders: Sequence[Contender], ceiling: dict[str, Any], clients: Sequence[int]) -> Outcome:
    ours, rivals = contenders[0], contenders[1:]
    first = OURS.ways[0].name
    ratios = {
        one.server.name: {way.name: round(_ratio(ours, first, one, way.name), 2) for way in one.server.ways}
        for one in rivals
    }
    kept = {f"{way} {least:,.0f}/s": _median(ours, way, 16, "rate") >= least for way, least in MUST.items()}
    kept |= {f"{times:g} x {name}": next(iter(ratios[name].values())) >= times for name, times in TIMES.items()}
    if 64 in clients:
        kept |= {f"P99 {way}": _median(ours, way, 64, "p99") <= P99 for way in MUST}
    kept["no failures"] = not any(load.failed for loads in ours.loads.values() for load in loads)
    missed = [name for name, good in kept.items() if not good]
    furthest = max(contenders, key=lambda one: one.furthest)
    memory = ", ".join(f"{one.server.name} {one.memory:.0f}" for one in contenders)
    return Outcome(
        ours=_figures(ours, clients),
        rivals={one.server.name: _figures(one, clients) for one in rivals} | {"bare session, rows/s": ceiling},
        ratios=ratios,
        met=not missed,
        notes=[
            *(f"not met: {name}" for name in missed),
            f"all give the same {ASKED} answers: {furthest.server.name} within {furthest.furthest:.1g}, others closer",
            f"the bare session: {ceiling['single']:,.0f} single rows/s, {ceiling['batch']:,.0f} in batches of 16",
            f"resident memory of all processes after the load, MB (shared pages count for each): {memory}",
            "by number of clients: answers per second, and per processor second of the server, which others on the "
            "machine stretch less; P50, P95 and P99 in ms; failures; medians of rounds",
            "ratios: ours as JSON against each way of a rival, 16 clients, median over rounds; a request has one row",
        ],
    )


def _figures(one: Contender, clients: Sequence[int]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for way in dict.fromkeys(name for name, _ in one.loads):
        for count in clients:
            told = {name: round(_median(one, way, count, name), 2) for name in ("p50", "p95", "p99")}
            failed = sum(sum(load.failed.values()) for load in one.loads[way, count])
            cost = round(statistics.median(one.costs[way, count]))
            rate = round(_median(one, way, count, "rate"))
            found[f"{way}, {count}"] = {"rate": rate, "per processor second": cost, **told, "failed": failed}
    return found


def _median(one: Contender, way: str, clients: int, what: str) -> float:
    return statistics.median(getattr(load, what) for load in one.loads[way, clients])


def _ratio(ours: Contender, our_way: str, one: Contender, way: str) -> float:
    pairs = zip(ours.loads[our_way, 16], one.loads[way, 16], strict=True)
    return statistics.median(a.rate / max(b.rate, 1e-9) for a, b in pairs)
