"""TRAIN-GROWTH: time and memory of a fit that streams from a folder of Parquet files, by its rows."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.registry import Outcome, Settings
from benchmarks.tools.footprint import footprint

GOAL = "an epoch over 10⁷ rows needs the memory of one over 10⁶ (within 10 %), and its time per row (within 25 %)"

FLAT, LINEAR = 1.10, 1.25


def run(settings: Settings) -> Outcome:
    """Write the tables, and fit one epoch on each in a process of its own."""
    sizes = [10**power for power in ((4, 5) if settings.quick else (6, 7))]
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for rows in sizes:
            footprint("benchmarks.lines.growth:make", folder=str(folder / str(rows)), rows=rows, seed=settings.seed)
            found.append(footprint("benchmarks.lines.streaming:fit", folder=name, rows=rows))
            print(f"{rows:>11,} rows: {found[-1]['peak_mb']:,.0f} MB", flush=True)
    small, large = found
    memory = large["peak_mb"] / small["peak_mb"]
    time = large["processor_seconds"] / small["processor_seconds"] * sizes[0] / sizes[1]
    ours = {
        f"{rows:,}": {"MB": round(one["peak_mb"]), "rows/s": round(rows / one["processor_seconds"])}
        for rows, one in zip(sizes, found, strict=True)
    }
    return Outcome(
        ours=ours,
        rivals={},
        ratios={"memory": memory, "processor time per row": time},
        met=memory <= FLAT and time <= LINEAR,
        notes=["12 mixed columns; splitting, fitting the contract, encoding onto disk and one epoch; window of 16 MiB"],
    )


def fit(asked: dict[str, Any]) -> dict[str, Any]:
    """One epoch on one table; asked: ``folder``, ``rows``."""
    folder = Path(asked["folder"])
    os.environ["VAEKIT_CACHE"] = str(folder / "cache")
    from vaekit.fields import Contract
    from vaekit.fields.sources import open_source
    from vaekit.training import Config, train

    source = open_source(folder / str(asked["rows"]))
    options = {"epochs": 1, "width": 64, "depth": 2, "latent": 8, "batch_size": 1024, "shuffle_buffer": 16}
    config = Config().override(**options, choose=False, threads=1, compile=False)
    trained = train(source, Contract.infer(source), config, progress=False)
    return {"rows": sum(trained.record["rows"][part] for part in ("train", "valid", "calibration"))}
