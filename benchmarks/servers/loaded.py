"""A small service to put under load: a model of a mixed table, fitted in seconds, and `vae serve` on one core."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

import vaekit as vk
from benchmarks.data import matrix, table_of
from benchmarks.servers.running import SOURCE, Process, free_port

__all__ = ["MODEL", "Service", "service"]

MODEL = "mixed"
ROWS = 4_000


@dataclass(frozen=True)
class Service:
    """A running service.

    Args:
        url: Its address.
        table: Rows that it can be asked about.
        process: Its processes.
    """

    url: str
    table: pa.Table
    process: Process


@contextlib.contextmanager
def service(folder: Path, seed: int, *flags: str) -> Iterator[Service]:
    """Fit a model of forty columns, serve it, and stop it at the end.

    Args:
        folder: Room for the bundle and the log.
        seed: Seed of rows and fit.
        flags: Further flags of ``vae serve``.
    """
    table = table_of(matrix(ROWS, 40, seed), 20)
    fitted = vk.fit(table, seed=seed, epochs=3, width=128, latent=8, choose=False, progress=False)
    bundle, port = fitted.save(folder / "bundle"), free_port()
    line = [sys.executable, "-m", "vaekit.cli", "serve", f"{MODEL}={bundle}", "--port", str(port), "--threads", "1"]
    core = max(os.sched_getaffinity(0))
    process = Process([*line, *flags], core, {"PYTHONPATH": str(SOURCE)}, folder, folder / "service.log")
    try:
        process.wait(f"http://127.0.0.1:{port}/readyz")
        yield Service(f"http://127.0.0.1:{port}", table, process)
    finally:
        process.stop()
