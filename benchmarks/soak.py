"""`python -m benchmarks.soak [--seconds S]`: mixed load on a real service for long: memory, failures and P99 over time.

Two loads run at a time in every window, of single rows as JSON and of tables as Arrow, which arrive at random; beside
them a caller who asks wrong questions, and one who does not wait for answers.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import vaekit as vk
from benchmarks.servers.loaded import MODEL, Service, service
from benchmarks.servers.running import resident
from vaekit.client import Retry
from vaekit.client.load import Measured, Plan, load

WINDOW = 20.0  # seconds of one line of the record
SETTLING = 0.25  # share of the run after which memory counts for the slope
SINGLE, TABLES = 50.0, 5.0  # requests per second
WRONG = ({"n0": ["not a number"]}, {"n0": [1.0], "c0": [["list"]]}, {"n0": []})


@dataclass
class Record:
    """What was seen over time.

    Args:
        memory: Seconds since the start, and megabytes of all processes.
        windows: What the two loads found, window by window.
        wrong: Outcomes of wrong questions.
        left: Requests that were left alone.
        unexpected: Failures that should not have been.
    """

    memory: list[tuple[float, float]] = field(default_factory=list)
    windows: list[tuple[Measured, Measured]] = field(default_factory=list)
    wrong: Counter[str] = field(default_factory=Counter)
    left: int = 0
    unexpected: Counter[str] = field(default_factory=Counter)


def main() -> int:
    """Run; exit code 1 if a request failed that should not have."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="length of the run (default 600)")
    parser.add_argument("--seed", type=int, default=0, help="seed of rows and model (default 0)")
    asked = parser.parse_args()
    record, stop = Record(), threading.Event()
    with tempfile.TemporaryDirectory() as name, service(Path(name), asked.seed) as running:
        with ThreadPoolExecutor(3) as pool:
            others = [pool.submit(work, running, record, stop) for work in (_memory, _wrong, _impatient)]
            try:
                _windows(running, record, asked.seconds)
            finally:
                stop.set()
            for other in others:
                other.result()
        ready = vk.Client(running.url).ready()
    return _told(record, ready)


def _windows(running: Service, record: Record, seconds: float) -> None:
    """Both loads, window by window; prints a line for each."""
    print(f"{'s':>6s} {'MB':>7s} {'JSON/s':>8s} {'P50':>7s} {'P99':>8s} {'Arrow rows/s':>13s} {'P99':>8s}  failures")
    began, window = time.monotonic(), min(WINDOW, seconds)
    with ThreadPoolExecutor(2) as pool:
        while (now := time.monotonic() - began) < seconds:
            length = min(window, max(seconds - now, 1.0))
            plan = {"url": running.url, "model": MODEL, "seconds": length, "warmup": 0.0}
            plans = (
                Plan(**plan, rate=SINGLE, clients=64),
                Plan(**plan, rate=TABLES, query="detect", options={"alpha": 0.05}, format="arrow", rows=200, clients=8),
            )
            single, tables = pool.map(load, plans, [running.table] * 2)
            found = single, tables
            record.windows.append(found)
            for one in found:
                record.unexpected.update(one.failed)
            _line(time.monotonic() - began, record.memory[-1][1], *found)


def _line(seconds: float, memory: float, single: Measured, tables: Measured) -> None:
    failed = Counter(single.failed) + Counter(tables.failed)
    print(
        f"{seconds:6.0f} {memory:7.1f} {single.requests_per_second:8.1f} {single.p50_ms or 0:7.1f} "
        f"{single.p99_ms or 0:8.1f} {tables.rows_per_second:13,.0f} {tables.p99_ms or 0:8.1f}  {dict(failed) or '-'}",
        flush=True,
    )


def _memory(running: Service, record: Record, stop: threading.Event) -> None:
    """Look at the memory of the service twice a second."""
    began = time.monotonic()
    while True:
        record.memory.append((time.monotonic() - began, resident(running.process.pid)))
        if stop.wait(0.5):
            return


def _wrong(running: Service, record: Record, stop: threading.Event) -> None:
    """Ask questions that break the contract: each has to be refused as such."""
    with vk.Client(running.url, MODEL, retry=Retry(tries=1)) as client:
        turn = 0
        while not stop.wait(0.1):
            turn += 1
            try:
                client.score(WRONG[turn % len(WRONG)])
                record.wrong["answered"] += 1
            except vk.VaekitError as error:
                record.wrong[type(error).__name__] += 1


def _impatient(running: Service, record: Record, stop: threading.Event) -> None:
    """Ask and go before the answer can be there."""
    with vk.Client(running.url, MODEL, timeout=0.002, retry=Retry(tries=1)) as client:
        while not stop.wait(0.05):
            try:
                client.score(running.table.slice(0, 20))
            except vk.ServingError:
                record.left += 1


def _slope(memory: list[tuple[float, float]]) -> tuple[float, float]:
    """Megabytes per hour after settling, by least squares, and twice its standard error."""
    seconds, size = np.array([point for point in memory if point[0] >= SETTLING * memory[-1][0]]).T
    hours = seconds / 3600.0
    centred = hours - hours.mean()
    slope = float((centred * size).sum() / (centred**2).sum())
    rest = size - size.mean() - slope * centred
    error = float(np.sqrt((rest**2).sum() / max(len(rest) - 2, 1) / (centred**2).sum()))
    return slope, 2.0 * error


def _told(record: Record, ready: bool) -> int:
    slope, error = _slope(record.memory)
    first, last = record.windows[0][0], record.windows[-1][0]
    print(f"memory: {slope:+.1f} MB/hour (± {error:.1f}) after the first {SETTLING:.0%}; most {_most(record):.1f} MB")
    print(f"P99 of single rows: {first.p99_ms or 0:.1f} ms in the first window, {last.p99_ms or 0:.1f} ms in the last")
    print(f"wrong questions: {dict(record.wrong)}; left alone: {record.left}; ready at the end: {ready}")
    requests = sum(one.requests for window in record.windows for one in window)
    result = {
        "requests": requests,
        "failed": dict(record.unexpected),
        "mb_per_hour": round(slope, 2),
        "mb_per_hour_error": round(error, 2),
        "most_mb": round(_most(record), 1),
        "p99_ms": [round(window[0].p99_ms or 0.0, 2) for window in record.windows],
        "wrong": dict(record.wrong),
        "left": record.left,
        "ready": ready,
    }
    print(json.dumps(result))
    good = ready and not record.unexpected and set(record.wrong) == {"ContractError"}
    return 0 if good else 1


def _most(record: Record) -> float:
    return max(size for _, size in record.memory)


if __name__ == "__main__":
    sys.exit(main())
