"""P1: training throughput, in rows per second."""

from __future__ import annotations

import statistics
from typing import Any

from benchmarks.registry import Outcome, Settings
from benchmarks.tools.pinned import pinned
from benchmarks.tools.timing import medians, ratio

GOAL = (
    "784-400-20 on binarised MNIST: rows/s at least those of every rival that trains, validations included; mixed "
    "table of 40 columns: at least those of a plain loop over a 40-wide matrix; the convolutional VAE is not in it yet"
)

RACES: dict[str, tuple[str, int, int, int]] = {  # function of benchmarks.rivals.race, batch, cores, rows
    "MNIST, batch 128, 1 thread": ("bits", 128, 1, 60_000),
    "40 columns, batch 128, 1 thread": ("mixed", 128, 1, 20_000),
    "MNIST, batch 512, 2 threads": ("bits", 512, 2, 60_000),
    "40 columns, batch 512, 2 threads": ("mixed", 512, 2, 20_000),
}
QUICK = {"rows": 12_000, "rounds": 5, "budget": 10.0}


def run(settings: Settings) -> Outcome:
    """Run every race (the quick run: those on one core); print rows per second and ratios."""
    ours: dict[str, Any] = {}
    rivals: dict[str, Any] = {}
    ratios: dict[str, Any] = {}
    notes: set[str] = set()
    for name, (kind, batch, cores, rows) in RACES.items():
        if settings.quick and cores > 1:
            continue
        effort = QUICK if settings.quick else {"rows": rows, "rounds": 15, "budget": 60.0}
        function = f"benchmarks.rivals.race:{kind}"
        found = pinned(function, cores, data=str(settings.data), seed=settings.seed, batch=batch, **effort)
        ours[name], rivals[name], ratios[name] = _figures(found, batch)
        notes |= {f"{rival}: {why}" for rival, why in found["failed"].items()}
        _show(name, ours[name], rivals[name], ratios[name])
    beaten = all(value >= 1.0 for part in ratios.values() for rival, value in part.items() if rival != "floor")
    return Outcome(
        ours=ours,
        rivals=rivals,
        ratios=ratios,
        met=beaten and not notes,
        notes=[
            *sorted(notes),
            "one process per race, pinned to as many cores as threads; loops interleaved round by round; medians; a "
            "ratio is the median over rounds of rival's time over ours of the same round",
            "one thread: processor time, which other users of the machine cannot stretch; two threads: wall time, "
            "which they can, those of torch most, because its threads wait for each other in every operation",
            "ours is vaekit.training's Loop with its defaults (AdamW, clipping, mean figures, SiLU, mask of missing "
            "values); 'with validation' adds the cost of one validation per as many steps as a whole fit has between "
            "them. Contract, encoding and export are made once and not in it, nor is the like of the rivals",
            "rivals: ReLU, Adam, no clipping, no validation; 'resident loop' is the leanest eager PyTorch; the floor "
            "is the bare matrix products of one step and cannot be reached",
        ],
    )


def _figures(found: dict[str, Any], batch: int) -> tuple[dict[str, float], dict[str, float], dict[str, float]]:
    """Rows per second of ours and of the rivals, and ours against each (above 1: ours is faster)."""
    rate = {name: round(found["steps"] * batch / seconds) for name, seconds in medians(found["seconds"]).items()}
    pairs = zip(found["seconds"]["ours"], found["validation"], strict=True)
    pause = statistics.median(pause / seconds for seconds, pause in pairs) * found["steps"] / found["every"]
    share = 1.0 / (1.0 + pause)  # of the time of a fit that goes into steps
    ours = {"rows/s": rate["ours"], "with validation": round(share * rate.pop("ours"))}
    ratios = {rival: round(share * ratio(found["seconds"], rival, "ours"), 3) for rival in rate}
    return ours, rate, ratios


def _show(name: str, ours: dict[str, float], rivals: dict[str, float], ratios: dict[str, float]) -> None:
    print(f"\n{name}: ours {ours['rows/s']:,.0f} rows/s, {ours['with validation']:,.0f} with validation")
    for rival, rate in rivals.items():
        print(f"  {rival:16s} {rate:>12,.0f} rows/s   ours, with validation, is {ratios[rival]:.2f} of it", flush=True)
