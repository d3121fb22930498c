"""P3: batch scoring, in rows per second, against the limit that the bare session sets."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.registry import Outcome, Settings
from benchmarks.tools.pinned import pinned
from benchmarks.tools.timing import clock_of, interleaved, ratio, timed

GOAL = (
    "vae batch score, from Parquet to Parquet: at least 85 % of the rows/s of the bare ONNX Runtime session on arrays "
    "made before, with as many threads, and more than PyOD's VAE; a PyTorch loop by reconstruction is shown"
)

TABLES = ("california housing", "credit card", "40 columns")
LIMIT, PYOD = "bare session", "PyOD VAE"
LEAST = 0.85
SAMPLES, DRAWS = 8, 10  # of ours; of the loop: the default of alibi-detect
SIZES = (128, 256, 512, 1024, 4096)  # rows of a call of the bare session: the best one counts
FULL = {"rows": 200_000, "rounds": 9, "budget": 120.0}
QUICK = {"rows": 30_000, "rounds": 3, "budget": 5.0}


def run(settings: Settings) -> Outcome:
    """Score every table on one core and on two; print rows per second and ratios."""
    ours: dict[str, Any] = {}
    rivals: dict[str, Any] = {}
    ratios: dict[str, Any] = {}
    for cores in (1, 2):
        for table in TABLES[-1:] if settings.quick else TABLES:
            asked = {"table": table, "data": str(settings.data), "seed": settings.seed}
            effort = QUICK if settings.quick else FULL
            found = pinned("benchmarks.lines.scoring:measure", cores, **asked, **effort)
            seconds, name = found["seconds"], f"{table}, {cores} core{'s' * (cores > 1)}"
            rate = {one: round(found["rows"] / statistics.median(times)) for one, times in seconds.items()}
            ratios[name] = {rival: round(ratio(seconds, rival, "ours"), 3) for rival in rate if rival != "ours"}
            ours[name] = {"rows/s": rate.pop("ours"), "rows a call": found["batch_rows"]}
            rivals[name] = rate
            told = "  ".join(f"{rival} {speed:,} ({ratios[name][rival]:.2f})" for rival, speed in rate.items())
            print(f"{name:28s} ours {ours[name]['rows/s']:>9,} rows/s  {told}", flush=True)
    return Outcome(
        ours=ours,
        rivals=rivals,
        ratios=ratios,
        met=all(part[LIMIT] >= LEAST and part[PYOD] >= 1.0 for part in ratios.values()),
        notes=[
            "medium preset, 8 importance samples, p-values; ours reads Parquet, encodes, scores, writes Parquet; the "
            f"bare session runs the same graph on the same rows, encoded before, at the best of {SIZES} rows a call",
            "one core: processor time of the process; two: wall time; interleaved round by round; medians; a ratio is "
            "the median over rounds of rival's time over ours of the same round. Ours answers as many calls at a time "
            "as there are cores, each on one thread; the bare session has as many threads as cores",
            "PyOD's VAE has its default sizes, reads a matrix and returns a reconstruction error; the loop has the "
            "widths of ours, ten draws a row, and no density to compute: its score is a squared error",
        ],
    )


def measure(asked: dict[str, Any]) -> dict[str, Any]:
    """Time all contenders on one table; called in a process that is pinned.

    Args:
        asked: ``table``, ``rows``, ``data``, ``seed``, ``cores``, ``rounds`` and ``budget``.

    Returns:
        ``seconds`` {contender: per round}, ``rows`` and ``batch_rows`` of ours.
    """
    import pyarrow.parquet as pq

    from benchmarks.rivals.scorers import pyod_vae, reconstruction
    from vaekit import batch, fit

    cores, clock = asked["cores"], clock_of(asked["cores"])
    table = _table(asked["table"], Path(asked["data"]), asked["seed"])
    model = fit(table.slice(0, 20_000), epochs=2, preset="medium", seed=asked["seed"], progress=False, choose=False)
    rows = pa.concat_tables([table] * (asked["rows"] // table.num_rows + 1)).slice(0, asked["rows"]).combine_chunks()
    values = np.nan_to_num(np.stack([column.to_numpy().astype(np.float64) for column in rows.columns], axis=1))
    values = (values - values.mean(0)) / np.maximum(values.std(0), 1e-9)
    with tempfile.TemporaryDirectory() as folder:
        bundle, source = model.save(Path(folder) / "bundle"), Path(folder) / "rows.parquet"
        pq.write_table(rows, source, row_group_size=2**17)
        ours = partial(batch.run, bundle, "score", source, Path(folder) / "out", threads=cores, overwrite=True)
        jobs: dict[str, Callable[[], Any]] = {
            "ours": ours,
            LIMIT: bare(bundle, rows, cores),
            PYOD: pyod_vae(values[:5_000], values),
            "PyTorch loop": reconstruction(values, (128, 12, 3), DRAWS, 512),
        }
        contenders = {name: partial(timed, job, clock) for name, job in jobs.items()}
        seconds = interleaved(contenders, asked["rounds"], asked["budget"])
        return {"seconds": seconds, "rows": rows.num_rows, "batch_rows": ours().batch_rows}


def bare(bundle: Path, rows: pa.Table, threads: int) -> Callable[[], None]:
    """The session alone, on arrays made before, with the size of calls that is fastest."""
    from onnxruntime import InferenceSession, SessionOptions

    from vaekit import load
    from vaekit.arrays import take

    engine, graph = load(bundle, "onnx").engine, bundle / "graphs" / "score.onnx"
    blocks, names = engine.encode(rows), engine.architecture.graphs["score"]
    options = SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    session = InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def calls(size: int, count: int) -> list[dict[str, Any]]:
        found = []
        for start in range(0, count, size):
            part = take(blocks, slice(start, start + size))
            inputs = engine.inputs(part) | engine.noise(0, SAMPLES, len(next(iter(part.values()))), shared=True)
            found.append({name: np.ascontiguousarray(inputs[name]) for name in names.inputs})
        return found

    def through(inputs: list[dict[str, Any]]) -> None:
        for one in inputs:
            session.run(list(names.outputs), one)

    few = {size: calls(size, 16_384) for size in SIZES}
    times = {
        size: min(timed(partial(through, inputs), time.perf_counter) for _ in range(5)) for size, inputs in few.items()
    }
    return partial(through, calls(min(times, key=lambda size: times[size]), rows.num_rows))


def _table(name: str, data: Path, seed: int) -> pa.Table:
    """A table of numbers and nothing else."""
    from pyarrow import csv

    from benchmarks.data import matrix, table, table_of

    if name == "40 columns":
        return table_of(matrix(50_000, 40, seed))
    if name == "california housing":
        return table(data, "california_housing").drop_columns("ocean_proximity")
    return csv.read_csv(data / "creditcard_fraud_sample" / "creditcard_fraud_sample.csv.gz").drop_columns("Class")
