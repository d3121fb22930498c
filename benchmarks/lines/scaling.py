"""P8: rows per second of one process with one thread, and of two that share each batch, on a core each."""

from __future__ import annotations

import json
import multiprocessing
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.registry import Outcome, Settings
from benchmarks.tools.pinned import cores
from benchmarks.tools.together import ended, rendezvous

GOAL = "two processes with one thread each train at least 1.6 times as many rows per second as one"

LEAST = 1.6
BATCHES = (512, 2048)
ROWS, EPOCHS, ROUNDS = 30_000, 8, 3
QUICK_ROWS, QUICK_EPOCHS = 6_000, 6
NETWORK: dict[str, Any] = {"depth": 1, "width": 400, "latent": 20, "threads": 1, "compile": False, "choose": False}

_CONTEXT = multiprocessing.get_context("spawn")


def run(settings: Settings) -> Outcome:
    """Train with one process and with two in turns, whole fits each; those of one core take another in each round."""
    if cores(2) < 2:
        raise SystemExit("two processes need a core each, and this one may use a single core")
    rows, epochs = (QUICK_ROWS, QUICK_EPOCHS) if settings.quick else (ROWS, EPOCHS)
    ours: dict[str, Any] = {}
    gains: dict[str, float] = {}
    for batch in BATCHES[:1] if settings.quick else BATCHES:
        options = NETWORK | {"batch_size": batch, "epochs": epochs}
        rates = {count: list[float]() for count in (1, 2)}
        for turn in range(ROUNDS):
            for count, found in rates.items():
                found.append(_rate(str(settings.data), rows, settings.seed, options, count, turn))
        middle = {count: statistics.median(found) for count, found in rates.items()}
        ours[f"batch {batch}"] = {f"processes {count}": round(rate) for count, rate in middle.items()}
        pairs = zip(rates[2], rates[1], strict=True)
        gains[f"batch {batch}"] = round(statistics.median(two / one for two, one in pairs), 3)
        print(f"batch {batch}: {middle[1]:,.0f} and {middle[2]:,.0f} rows/s, {gains[f'batch {batch}']:.2f}", flush=True)
    return Outcome(
        ours=ours,
        rivals={},
        ratios={"two against one": gains},
        met=all(gain >= LEAST for gain in gains.values()),
        notes=[
            "784-400-20 on binarised MNIST in float32, gradients added up by Gloo; wall time between the first "
            "validation and the last, validations included; the batch is that of both together",
        ],
    )


def _rate(data: str, rows: int, seed: int, options: dict[str, Any], count: int, turn: int) -> float:
    """Rows per second of a fit by so many processes."""
    with tempfile.TemporaryDirectory() as folder:
        made = [
            _CONTEXT.Process(target=fit, args=(data, rows, seed, options, folder, together, turn + rank))
            for rank, together in enumerate(rendezvous(count))
        ]
        for process in made:
            process.start()
        ended(made)
        lines = [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]
    first, last = lines[0], lines[-1]
    return float((last["step"] - first["step"]) * options["batch_size"] / (last["seconds"] - first["seconds"]))


def fit(
    data: str, rows: int, seed: int, options: dict[str, Any], out: str, together: dict[str, str], core: int
) -> None:
    """One process of a run."""
    os.environ.update(together)
    if hasattr(os, "sched_setaffinity"):
        free = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {free[core % len(free)]})
    from benchmarks.data import mnist, vectors
    from vaekit.fields import Contract
    from vaekit.training import load_config, train

    table = vectors(mnist(Path(data), rows))
    config = load_config(None, None).override(**options, seed=seed)
    train(table, Contract.infer(table.slice(0, 1000)), config, out=Path(out), progress=False)
