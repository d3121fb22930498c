"""P6: drawing rows, in rows per second, against the samplers of SDV."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from benchmarks.registry import Outcome, Settings
from benchmarks.tools.pinned import pinned
from benchmarks.tools.timing import clock_of, interleaved, ratio, timed

GOAL = "adult: at least 300,000 rows/s into Parquet on two cores, and more than SDV's TVAE and CTGAN on one and on two"

LEAST = 300_000
FULL = {"rows": 262_144, "rounds": 9, "budget": 120.0, "epochs": 20}
QUICK = {"rows": 65_536, "rounds": 3, "budget": 10.0, "epochs": 2}


def run(settings: Settings) -> Outcome:
    """Draw rows on one core and on two; print rows per second and ratios."""
    ours: dict[str, Any] = {}
    rivals: dict[str, Any] = {}
    ratios: dict[str, Any] = {}
    for cores in (1, 2):
        effort = QUICK if settings.quick else FULL
        asked = {"data": str(settings.data), "seed": settings.seed}
        found = pinned("benchmarks.lines.sampling:measure", cores, **asked, **effort)
        seconds, name = found["seconds"], f"{cores} core{'s' * (cores > 1)}"
        rate = {one: round(found["rows"] / statistics.median(times)) for one, times in seconds.items()}
        ratios[name] = {
            rival: round(ratio(seconds, rival, "batch"), 2) for rival in seconds if rival not in ("batch", "memory")
        }
        ours[name] = {"rows/s": rate.pop("batch"), "in memory": rate.pop("memory"), "rows a call": found["batch_rows"]}
        rivals[name] = rate
        told = "  ".join(f"{rival} {speed:,} ({ratios[name][rival]:.1f})" for rival, speed in rate.items())
        print(
            f"{name}: ours {ours[name]['rows/s']:,} rows/s, in memory {ours[name]['in memory']:,}  {told}", flush=True
        )
    fast = ours["2 cores"]["rows/s"] >= LEAST
    return Outcome(
        ours=ours,
        rivals=rivals,
        ratios=ratios,
        met=fast and all(value > 1.0 for part in ratios.values() for value in part.values()),
        notes=[
            "adult, 15 columns; ours is the default model, drawn by vae batch sample's engine into a folder of Parquet "
            "and, 'in memory', by one call of Model.sample into an Arrow table; TVAE and CTGAN have their default "
            "sizes and draw into a DataFrame",
            "one core: processor time of the process; two: wall time; interleaved round by round; medians; a ratio is "
            "the median over rounds of rival's time over that of ours into Parquet, in the same round",
        ],
    )


def measure(asked: dict[str, Any]) -> dict[str, Any]:
    """Time all samplers; called in a process that is pinned.

    Args:
        asked: ``data``, ``rows``, ``epochs``, ``seed``, ``cores``, ``rounds`` and ``budget``.

    Returns:
        ``seconds`` {sampler: per round}, ``rows`` and ``batch_rows`` of ours.
    """
    from benchmarks.data import table
    from benchmarks.rivals.samplers import SAMPLERS, sampler
    from vaekit import batch, fit, load

    cores, rows, clock = asked["cores"], asked["rows"], clock_of(asked["cores"])
    data = table(Path(asked["data"]), "adult")
    model = fit(data, epochs=asked["epochs"], seed=asked["seed"], progress=False)
    discrete = [field.name for field in data.schema if pa.types.is_string(field.type)]
    with tempfile.TemporaryDirectory() as folder:
        bundle = model.save(Path(folder) / "bundle")
        again = load(bundle, "onnx", cores)
        ours = partial(batch.run, bundle, "sample", rows, Path(folder) / "out", threads=cores, overwrite=True)
        jobs: dict[str, Callable[[], Any]] = {"batch": ours, "memory": lambda: again.sample(rows)}
        jobs |= {name: sampler(name, data, discrete, rows) for name in SAMPLERS}
        contenders = {name: partial(timed, job, clock) for name, job in jobs.items()}
        seconds = interleaved(contenders, asked["rounds"], asked["budget"])
        return {"seconds": seconds, "rows": rows, "batch_rows": ours().batch_rows}
