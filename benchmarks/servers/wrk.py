"""Load by wrk, pinned to a core of its own."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Load", "wrk"]

SCRIPT = Path(__file__).with_name("wrk.lua")


@dataclass(frozen=True)
class Load:
    """What a run of wrk found.

    Args:
        rate: Good answers per second.
        p50: Milliseconds within which half of the answers came.
        p95: The same for 95 %.
        p99: The same for 99 %.
        failed: Requests without a good answer, by reason.
        good: Good answers.
    """

    rate: float
    p50: float
    p95: float
    p99: float
    failed: dict[str, int]
    good: int


def wrk(url: str, bodies: Path, headers: Mapping[str, str], *, core: int, clients: int, seconds: int) -> Load:
    """Post the bodies of a folder in turn over some connections for some seconds.

    Args:
        url: Where to.
        bodies: A folder with files named 0, 1, …
        headers: Headers of every request.
        core: The core that wrk is pinned to.
        clients: Connections; each sends its next request when it has its answer.
        seconds: How long.
    """
    count = sum(1 for _ in bodies.iterdir())
    named = [f"{name}:{value}" for name, value in headers.items()]
    load = ["-t", "1", "-c", str(clients), "-d", f"{seconds}s", "--timeout", "10s", "-s", str(SCRIPT)]
    done = subprocess.run(
        ["taskset", "-c", str(core), "wrk", *load, url, "--", str(bodies), str(count), *named],
        capture_output=True,
        text=True,
        check=True,
        timeout=seconds + 60,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    failed = {name: found[name] for name in ("connect", "read", "write", "status", "timeout") if found[name]}
    good = found["requests"] - found["status"]
    return Load(
        rate=good / (found["microseconds"] / 1e6),
        p50=found["p50"] / 1e3,
        p95=found["p95"] / 1e3,
        p99=found["p99"] / 1e3,
        failed=failed,
        good=good,
    )
