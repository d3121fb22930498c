"""OVERLOAD: what a service does when five times as many requests arrive as it can answer."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from benchmarks.registry import Outcome, Settings
from benchmarks.servers.loaded import MODEL, Service, service
from vaekit.client.load import Measured, Plan, load

GOAL = (
    "told to let nobody wait longer than 0.2 s and offered five times its capacity at random times, the service "
    "answers at least 80 % of capacity, P99 of what it accepts at most 300 ms; all the rest is refused with 503 and "
    "Retry-After; afterwards it is as fast as before"
)
TIMES = 5.0
WAIT = ("--set", "max_wait=0.2")
P99 = 300.0
SHARE = 0.8
CLIENTS = 512  # connections: enough for requests never to wait for one
ROWS, HARD = 8, {"samples": 512}  # a question that costs the model much, and client and front little


def run(settings: Settings) -> Outcome:
    """Measure capacity, then half of it, five times it, and half of it again."""
    seconds = 4.0 if settings.quick else 15.0
    with tempfile.TemporaryDirectory() as name, service(Path(name), settings.seed, *WAIT) as running:
        capacity = _load(running, seconds, clients=32).requests_per_second
        found = {
            "before": _load(running, seconds, rate=0.5 * capacity),
            "under fire": _load(running, seconds, rate=TIMES * capacity),
            "after": _load(running, seconds, rate=0.5 * capacity),
        }
    fire, before, after = found["under fire"], found["before"], found["after"]
    refused = sum(fire.failed.values())
    kept = {
        f"at least {SHARE:.0%} of capacity": fire.requests_per_second >= SHARE * capacity,
        f"P99 of accepted at most {P99:g} ms": fire.p99_ms is not None and fire.p99_ms <= P99,
        "refused with 503": all(why.startswith("503") for why in fire.failed) and refused > 0,
        "every refusal says when to come back": fire.later == refused,
        "no failures before and after": not before.failed and not after.failed,
        "as fast afterwards": (after.p50_ms or 1e9) <= 2.0 * (before.p50_ms or 0.0) + 5.0,
    }
    missed = [name for name, good in kept.items() if not good]
    return Outcome(
        ours={"capacity": round(capacity, 1)} | {name: _figures(one) for name, one in found.items()},
        rivals={},
        ratios={"offered / capacity": round(fire.requests / fire.seconds / capacity, 2)},
        met=not missed,
        notes=[
            *(f"not met: {name}" for name in missed),
            f"open loop: arrivals depend on no answer; {ROWS} rows, {HARD['samples']} samples, {CLIENTS} connections",
            "capacity: answers per second of 32 clients that each wait for an answer; the service has one core",
        ],
    )


def _load(running: Service, seconds: float, rate: float | None = None, clients: int = CLIENTS) -> Measured:
    plan = Plan(
        url=running.url,
        model=MODEL,
        options=HARD,
        rows=ROWS,
        rate=rate,
        clients=clients,
        seconds=seconds,
        timeout=10.0,
        warmup=1.0,
    )
    found = load(plan, running.table)
    print(f"{'closed' if rate is None else f'{rate:,.0f}/s offered'}: {_figures(found)}", flush=True)
    return found


def _figures(found: Measured) -> dict[str, Any]:
    late = {name: round(getattr(found, f"{name}_ms") or 0.0, 1) for name in ("p50", "p95", "p99")}
    return {"answered/s": round(found.requests_per_second, 1), **late, "failed": found.failed}
