"""P5: from the start of a process to its first answer, and the memory that it takes."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.registry import Outcome, Settings
from benchmarks.servers.contenders import RIVALS, Server, Way
from benchmarks.servers.model import make
from benchmarks.servers.ours import OURS
from benchmarks.servers.running import Process, environment, free_port, post
from benchmarks.tools import launch
from benchmarks.tools.demo import Demo, demo
from benchmarks.tools.lean import lean
from benchmarks.tools.memory import Tree, tree

__all__ = ["GOAL", "launched", "run"]

GOAL = (
    "without torch installed: `vae score` of the demo answers within 0.6 s of its start and takes less than 120 MiB, "
    "the service less than 180 MiB"
)
SECONDS, COMMAND_MB, SERVICE_MB = 0.6, 120.0, 180.0
TORCH, SAME = "FastAPI + pydantic + torch", "vae serve, the same model"
LOAD = 200  # requests before memory is read again


def run(settings: Settings) -> Outcome:
    """Start the command and the service again and again, ours and those on torch in turn."""
    base, service, ours = lean(), lean("serve"), demo(5.0 if settings.quick else 30.0)
    asked = ["-m", "vaekit.cli", "score", str(ours.bundle), str(ours.rows)]
    commands = {
        "vae score": [str(base), *asked],
        "the same on torch": [sys.executable, *asked, "--backend", "torch"],
        "a bare interpreter": [str(base), "-c", "pass"],
    }
    rounds = 5 if settings.quick else 20
    found: dict[str, list[dict[str, float]]] = {name: [] for name in commands}
    for index in range(rounds + 1):  # the first warms the caches of the disk
        for name, command in commands.items():
            took = launched(command)
            found[name] += [took] if index else []
    shown = {name: _figures(took, launched(commands[name], watch=True)) for name, took in found.items()}
    with tempfile.TemporaryDirectory() as folder:
        served = make(settings.data, Path(folder), settings.seed)
        rival = next(server for server in RIVALS if server.name == TORCH)
        servers = {
            "vae serve": (_serving(ours), service),
            SAME: (OURS, service),
            TORCH: (rival, environment(rival.packages)),
        }
        shown |= {
            name: _served(server, server.ways[0], python, served, Path(folder), 3 if settings.quick else 7)
            for name, (server, python) in servers.items()
        }
    for name, figures in shown.items():
        print(f"{name:28s}", {key: round(value, 3) for key, value in figures.items()}, flush=True)
    mine = {name: shown[name] for name in ("vae score", "vae serve", SAME)}
    theirs = {name: figures for name, figures in shown.items() if name not in mine}
    pairs = {"vae score": "the same on torch", SAME: TORCH}
    return Outcome(
        ours=mine,
        rivals=theirs,
        ratios={
            name: {what: round(shown[other][what] / shown[name][what], 2) for what in ("seconds", "rss_mb", "pss_mb")}
            for name, other in pairs.items()
        },
        met=mine["vae score"]["seconds"] < SECONDS
        and mine["vae score"]["peak_mb"] < COMMAND_MB
        and mine["vae serve"]["rss_mb"] < SERVICE_MB,
        notes=[
            "seconds: of the wall clock from the start of the process to the end of the command, or to the first "
            "answer of the service (models loaded, worker running); medians over rounds in turn; MB are MiB",
            "memory of the command: its peak; of a service: all its processes after some hundred requests, resident "
            "(pages that they share counted for each) and proportional (counted once)",
            "`vae score` and `vae serve` hold the demo, and are asked about 100 rows of CSV; the service beside a rival"
            " holds 784-400-20 on MNIST, with the same weights",
            "on torch: the same command, contract and query, with `--backend torch`, where torch is installed",
        ],
    )


def _serving(ours: Demo) -> Server:
    """Our service with the demo, asked about rows in CSV."""
    body = ours.rows.read_bytes()
    return Server(
        "vae serve",
        (),
        lambda python, port, _: [
            *(str(python), "-m", "vaekit.cli", "serve", f"demo={ours.bundle}"),
            *("--port", str(port), "--threads", "1"),
        ],
        (Way("CSV", "/v1/models/demo/score", {"content-type": "text/csv"}, lambda _: body, float),),
    )


def launched(command: Sequence[str], watch: bool = False) -> dict[str, float]:
    """What a command took that was started from a small process; with its memory sampled if it is watched."""
    line = [sys.executable, "-I", launch.__file__, *(["--watch"] if watch else []), *command]
    own = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE")}
    done = subprocess.run(line, env=own, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    if found["code"]:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr[-2000:]}")
    return found


def _figures(took: list[dict[str, float]], watched: dict[str, float]) -> dict[str, float]:
    def median(name: str) -> float:
        return statistics.median(one[name] for one in took)

    figures = {name: median(name) for name in ("seconds", "processor_seconds", "peak_mb")}
    return figures | {name: watched[name] for name in ("rss_mb", "pss_mb")}


def _served(server: Server, way: Way, python: Path, served: Any, folder: Path, rounds: int) -> dict[str, float]:
    seconds, idle, loaded = [], Tree(0, 0), Tree(0, 0)
    for index in range(rounds):
        port = free_port()
        env = {"PORT": str(port), "PROGRAM": str(served.program)}
        url, body = f"http://127.0.0.1:{port}{way.path}", way.write(served.rows[0])
        began = time.perf_counter()
        process = Process(server.command(python, port, served), 0, env, server.cwd, folder / "log")
        try:
            process.wait(url, body, way.headers, pause=0.005)
            seconds.append(time.perf_counter() - began)
            idle = tree(process.pid)
            for _ in range(LOAD if index == rounds - 1 else 0):
                post(url, body, way.headers)
            loaded = tree(process.pid)
        finally:
            process.stop()
    return {
        "seconds": statistics.median(seconds),
        "idle_rss_mb": idle.rss,
        "idle_pss_mb": idle.pss,
        "rss_mb": loaded.rss,
        "pss_mb": loaded.pss,
    }
