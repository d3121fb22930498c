"""P7: what more rows cost: time and memory of fitting a contract and of scoring, from a folder of Parquet files."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.registry import Outcome, Settings
from benchmarks.tools.footprint import footprint

GOAL = (
    "from 10⁴ to 10⁷ rows memory stays flat (10⁷ within 10 % of 10⁶), the processor time per row too (within 25 %), "
    "in Contract.infer, Contract.fit, score and vae batch score"
)

JOBS = ("infer", "fit", "score", "batch")
ALONE, WHOLE = "reading alone", "whole table in memory"
PER_FILE, PER_GROUP = 1_000_000, 250_000
FLAT, LINEAR = 1.10, 1.25
IN_MEMORY = 1_000_000  # most rows that the rival is asked to hold


def run(settings: Settings) -> Outcome:
    """Write the tables, train a small model, and run each job on each size in a process of its own."""
    sizes = [10**power for power in range(4, 7 if settings.quick else 8)]
    ours: dict[str, dict[str, Any]] = {job: {} for job in JOBS}
    rivals: dict[str, dict[str, Any]] = {ALONE: {}, WHOLE: {}}
    found: dict[tuple[str, int], dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for rows in sizes:
            footprint("benchmarks.lines.growth:make", folder=str(folder / str(rows)), rows=rows, seed=settings.seed)
        footprint("benchmarks.lines.growth:train", folder=name, rows=sizes[0], seed=settings.seed)
        for rows in sizes:
            for job in (*JOBS, ALONE, WHOLE):
                if job == WHOLE and rows > IN_MEMORY:
                    continue
                took = found[job, rows] = footprint("benchmarks.lines.growth:measure", folder=name, rows=rows, job=job)
                assert took["rows"] == rows, f"{job} saw {took['rows']} rows of {rows}"
                told = {"rows/s": round(rows / took["processor_seconds"]), "MB": round(took["peak_mb"])}
                (ours if job in JOBS else rivals)[job][f"{rows:,}"] = told
                print(f"{job:22s} {rows:>11,} rows: {told['rows/s']:>11,} rows/s  {told['MB']:>6,} MB", flush=True)
    last, before = sizes[-1], sizes[-2]
    ratios = {
        job: {
            f"memory, {last:,} rows against {before:,}": found[job, last]["peak_mb"] / found[job, before]["peak_mb"],
            "processor time per row": found[job, last]["processor_seconds"]
            / found[job, before]["processor_seconds"]
            * (before / last),
        }
        for job in JOBS
    }
    limits = (FLAT, LINEAR)
    return Outcome(
        ours=ours,
        rivals=rivals,
        ratios=ratios,
        met=all(value <= limit for one in ratios.values() for value, limit in zip(one.values(), limits, strict=True)),
        notes=[
            "12 columns: heavy tails, rounded prices, whole numbers, counts, many zeros, booleans, six and a thousand "
            "levels, 3 % missing cells; files of a million rows, row groups of a quarter of it",
            "rows per processor second on one core; MB is the most resident memory of the process, Python and "
            "libraries included; score has 8 samples, reads Parquet and writes Parquet; batch is the same as a job",
            "'reading alone' decodes the same batches and drops them; 'whole table in memory' reads the folder as one "
            "table and fits to that",
        ],
    )


def make(asked: dict[str, Any]) -> dict[str, Any]:
    """Write a folder of Parquet files; asked: ``folder``, ``rows``, ``seed``."""
    import pyarrow.parquet as pq

    folder = Path(asked["folder"])
    folder.mkdir()
    for start in range(0, asked["rows"], PER_FILE):
        count = min(PER_FILE, asked["rows"] - start)
        writer = None
        for group in range(0, count, PER_GROUP):
            table = rows_of(min(PER_GROUP, count - group), np.random.default_rng([asked["seed"], start + group]))
            writer = writer or pq.ParquetWriter(folder / f"{start // PER_FILE:04d}.parquet", table.schema)
            writer.write_table(table)
        if writer is not None:
            writer.close()
    return {}


def rows_of(count: int, rng: np.random.Generator) -> Any:
    """A table of 12 columns that hang together through a size and a class of each row."""
    import pyarrow as pa

    size, sort = rng.normal(size=count), rng.integers(0, 6, count)
    income = np.exp(9.5 + 0.8 * size + 0.3 * sort + 0.5 * rng.standard_t(3, count))
    columns = {
        "income": income,
        "balance": income * rng.normal(0.3, 1.0, count),
        "duration": rng.pareto(1.5, count) * np.exp(0.2 * size),
        "sensor": 20.0 + 3.0 * size + rng.normal(size=count),
        "price": np.round(np.exp(3.0 + 0.5 * size + 0.2 * rng.normal(size=count)), 2),
        "paid": np.where(rng.random(count) < 0.4, 0.0, rng.gamma(2.0, 30.0, count)),
        "age": np.clip(np.rint(40.0 + 12.0 * size + 5.0 * rng.normal(size=count)), 18, 95),
        "visits": rng.poisson(np.exp(0.5 + 0.4 * size)).astype(float),
        "score": rng.beta(2.0, 5.0, count).astype(np.float32),
    }
    gone = rng.random((len(columns), count)) < 0.03
    arrays = {name: pa.array(values, mask=gone[index]) for index, (name, values) in enumerate(columns.items())}
    arrays["age"], arrays["visits"] = (arrays[name].cast(pa.int32()) for name in ("age", "visits"))
    classes, shops = pa.array(["north", "south", "east", "west", "online", "phone"]), [f"shop {k}" for k in range(1000)]
    arrays["member"] = pa.array(rng.random(count) < 1.0 / (1.0 + np.exp(-size)))
    arrays["channel"] = classes.take(pa.array(sort, mask=rng.random(count) < 0.03))
    arrays["shop"] = pa.array(shops).take(pa.array(np.minimum(rng.geometric(0.005, count), 1000) - 1))
    return pa.table(arrays)


def train(asked: dict[str, Any]) -> dict[str, Any]:
    """Save the contract with all columns modelled, and a small model of the default contract."""
    from vaekit import Contract, fit

    folder, data = Path(asked["folder"]), Path(asked["folder"]) / str(asked["rows"])
    Contract.infer(data).replace("shop", role="model", levels=[f"shop {k}" for k in range(1000)]).save(
        folder / "contract.json"
    )
    model = fit(data, epochs=2, width=64, depth=2, latent=8, seed=asked["seed"], progress=False)
    model.save(folder / "bundle")
    return {}


def measure(asked: dict[str, Any]) -> dict[str, Any]:
    """One job on one table; asked: ``folder``, ``rows``, ``job``. Returns the ``rows`` that were seen."""
    from vaekit.fields import Contract

    folder, job = Path(asked["folder"]), asked["job"]
    data = folder / str(asked["rows"])
    if job == "infer":
        return {"rows": asked["rows"] if len(Contract.infer(data).names("model")) >= 11 else 0}
    if job in ("fit", WHOLE):
        from vaekit.fields import to_arrow

        fitted = Contract.load(folder / "contract.json").fit(to_arrow(data) if job == WHOLE else data)
        return {"rows": asked["rows"] if fitted["income"].bounds else 0}
    if job == ALONE:
        from vaekit.fields.sources import batches

        return {"rows": sum(table.num_rows for table in batches(data))}
    if job == "batch":
        from vaekit import batch

        return {"rows": batch.run(folder / "bundle", "score", data, folder / f"batch {asked['rows']}").rows}
    from vaekit import load
    from vaekit.fields.writing import write_batches

    model, seen = load(folder / "bundle", "onnx"), 0

    def counted() -> Any:
        nonlocal seen
        for answer in model.stream("score", data):
            seen += answer.num_rows
            yield answer

    write_batches(counted(), folder / f"scores {asked['rows']}.parquet")
    return {"rows": seen}
