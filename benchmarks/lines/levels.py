"""D3: bits per dimension of 8-bit images: a spatial hierarchy against a flat VAE, tuned, at equal time."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from benchmarks.data import pictures
from benchmarks.registry import Outcome, Settings
from benchmarks.tools.pictures import bound, fit_images

GOAL = "bits per dimension at least 5 % below the better of two flat VAEs with the same networks and time, on both sets"

LESS = 0.95
SETS = ("fashion_mnist", "cifar10_subset")
SECONDS, QUICK_SECONDS = 300.0, 12.0
FIELD: dict[str, Any] = {"likelihood": "logistic_mixture", "options": {"components": 5}}
SHARED: dict[str, Any] = {
    "width": 256, "depth": 2, "epochs": 400, "batch_size": 64, "learning_rate": 1e-3, "warmup": 0.1, "ema": 0.999,
 "patience": 1000, "images": {"name": "conv", "channels": 24, "smallest": 7},
}  # fmt: skip
FLAT = {"flat, 32": {"latent": 32}, "flat, 128": {"latent": 128}}
OURS: dict[str, Any] = {"latent": 32, "structure": {"name": "spatial", "layers": 3, "depth": 4}}
QUICK: dict[str, Any] = {"images": {"name": "conv", "channels": 8, "smallest": 7}, "width": 128}


def run(settings: Settings) -> Outcome:
    """Train and evaluate all three on both sets."""
    torch.set_num_threads(1 if settings.quick else 2)
    ours: dict[str, Any] = {}
    rivals: dict[str, dict[str, Any]] = {name: {} for name in FLAT}
    shares: dict[str, float] = {}
    shared = SHARED | (QUICK if settings.quick else {})
    for name in SETS:
        data = pictures(settings.data, name)
        images = data.x_train[:3_000] if settings.quick else data.x_train
        rows, samples = (60, 10) if settings.quick else (1_000, 100)
        test = data.x_test[np.random.default_rng(0).permutation(len(data.x_test))[:rows]]
        for model, options in {"ours": OURS, **FLAT}.items():
            seconds = QUICK_SECONDS if settings.quick else SECONDS
            fitted = fit_images(images, FIELD, settings.seed, **shared, **options, max_seconds=seconds)
            nats, error, _ = bound(fitted, test, samples, seed=0)
            unit = test[0].size * np.log(2.0)
            figure = {
                "bits": round(nats / unit, 4),
                "error": round(error / unit, 4),
                "epochs": fitted.history[-1]["epoch"],
            }
            print(f"{name}, {model}: {figure}", flush=True)
            (ours if model == "ours" else rivals[model])[name] = figure
        shares[name] = round(ours[name]["bits"] / min(rival[name]["bits"] for rival in rivals.values()), 4)
    return Outcome(
        ours=ours,
        rivals=rivals,
        ratios={"of the better flat model": shares},
        met=all(share <= LESS for share in shares.values()),
        notes=[
            f"importance-weighted bound of 100 draws on 1,000 test images; {SECONDS:.0f} s of training each, 2 threads",
            "cifar10_subset has 10,000 of 50,000 training images: not comparable with published figures",
            f"shared {SHARED}; ours {OURS}; likelihood {FIELD}",
        ],
    )
