"""P1: training throughput, in rows per second."""

from __future__ import annotations

import statistics
from typing import Any

from benchmarks.registry import Outcome, Settings
from benchmarks.tools.pinned import pinned
from benchmarks.tools.timing import medians, ratio

GOAL = (
    "784-400-20 on binarised MNIST, validations included: at least 1.5 times the plain loop in float32; at least twice "
    "the plain loop and pythae, and at batch 512 at least JAX, with automatic precision; a small convolutional VAE at "
    "least 1.5 times the plain loop; the columns of adult at least three times CTGAN's TVAE"
)

RACES: dict[str, tuple[str, int, int, int]] = {  # function of benchmarks.rivals.race, batch, cores, rows
    "MNIST, batch 128, 1 thread": ("bits", 128, 1, 60_000),
    "MNIST, batch 512, 1 thread": ("bits", 512, 1, 60_000),
    "MNIST, batch 512, 2 threads": ("bits", 512, 2, 60_000),
    "convolutional, batch 128, 1 thread": ("conv", 128, 1, 12_000),
    "40 columns, batch 128, 1 thread": ("mixed", 128, 1, 20_000),
    "adult, batch 500, 1 thread": ("adult", 500, 1, 32_000),
}
QUICK = {"rows": 6_000, "rounds": 5, "budget": 8.0, "compiled": False}

# What is asked: (race begins with, ours, rival, least ratio).
MUSTS: list[tuple[str, str, str, float]] = [
    ("MNIST", "float32", "DataLoader loop", 1.5),
    ("MNIST", "automatic", "DataLoader loop", 2.0),
    ("MNIST", "automatic", "pythae", 2.0),
    ("MNIST, batch 512", "automatic", "JAX scan", 1.0),
    ("convolutional", "automatic", "DataLoader loop", 1.5),
    ("adult", "automatic", "CTGAN's TVAE", 3.0),
]


def run(settings: Settings) -> Outcome:
    """Run every race (the quick run: those on one core, nothing compiled); print rows per second and ratios."""
    ours: dict[str, Any] = {}
    rivals: dict[str, Any] = {}
    ratios: dict[str, Any] = {}
    notes: set[str] = set()
    for name, (kind, batch, cores, rows) in RACES.items():
        if settings.quick and cores > 1:
            continue
        effort = QUICK if settings.quick else {"rows": rows, "rounds": 9, "budget": 30.0}
        function = f"benchmarks.rivals.race:{kind}"
        found = pinned(function, cores, data=str(settings.data), seed=settings.seed, batch=batch, **effort)
        ours[name], rivals[name], ratios[name] = _figures(found, batch)
        notes |= {f"{rival}: {why}" for rival, why in found["failed"].items()}
        _show(name, ours[name], rivals[name], ratios[name])
    short = [
        f"{race}: {mine} is {ratios[race][mine][rival]:.2f} of {rival}, not {least}"
        for begins, mine, rival, least in MUSTS
        for race in ratios
        if race.startswith(begins) and ratios[race][mine].get(rival, least) < least
    ]
    return Outcome(
        ours=ours,
        rivals=rivals,
        ratios=ratios,
        met=not short and not notes,
        notes=[
            *short,
            *sorted(notes),
            "one process per race, pinned to as many cores as threads; loops interleaved round by round; medians; a "
            "ratio is the median over rounds of rival's time over ours of the same round, times the share of a fit "
            "that goes into steps and not into validations",
            "one thread: processor time, which other users of the machine cannot stretch; two threads: wall time, "
            "which they can, those of torch most, because its threads wait for each other in every operation",
            "ours is the training step with its defaults (AdamW, clipping, mean figures, checks, SiLU, mask of missing "
            "values); 'automatic' is the fastest of float32 and bfloat16, compiled and not, which is what precision "
            "'auto' and compile 'auto' choose; 'float32' the faster of two. Contract, encoding, compilation and export "
            "are made once and not in it, nor is the like of the rivals",
            "rivals: ReLU, Adam, no clipping, no validation; 'resident loop' is the leanest eager PyTorch; the floors "
            "are the bare matrix products of one step and cannot be reached",
        ],
    )


def _figures(found: dict[str, Any], batch: int) -> tuple[dict[str, float], dict[str, float], dict[str, Any]]:
    """Rows per second of ours and of the rivals, and ours against each (above 1: ours is faster)."""
    seconds = found["seconds"]
    rate = {name: round(found["steps"] * batch / taken) for name, taken in medians(seconds).items()}
    mine = [name for name in rate if name.startswith("ours")]
    kinds = {"float32": [name for name in mine if "float32" in name], "automatic": mine}
    best = {kind: max(names, key=rate.__getitem__) for kind, names in kinds.items()}

    def share(name: str) -> float:  # of the time of a fit that goes into steps
        pause = statistics.median(
            pause / taken for taken, pause in zip(seconds[name], found["validation"], strict=True)
        )
        return 1.0 / (1.0 + pause * found["steps"] / found["every"])

    ratios = {
        kind: {rival: round(share(name) * ratio(seconds, rival, name), 3) for rival in rate if rival not in mine}
        for kind, name in best.items()
    }
    return {name: rate.pop(name) for name in mine}, rate, ratios


def _show(name: str, ours: dict[str, float], rivals: dict[str, float], ratios: dict[str, Any]) -> None:
    print(f"\n{name}")
    for loop, rate in ours.items():
        print(f"  {loop:24s} {rate:>10,.0f} rows/s")
    for rival, rate in rivals.items():
        told = ", ".join(f"{kind} is {found[rival]:.2f} of it" for kind, found in ratios.items())
        print(f"  {rival:24s} {rate:>10,.0f} rows/s   ours, with validations, {told}", flush=True)
