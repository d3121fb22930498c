"""D5: samples of MNIST: Fréchet distance in features of a small frozen classifier, learned prior against N(0, I)."""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.data import pictures
from benchmarks.registry import Outcome, Settings
from benchmarks.tools.pictures import classifier, decoded, features, fit_images
from vaekit.metrics.frechet import frechet_distance, precision_recall

GOAL = "Fréchet distance of 10,000 samples with a learned prior at most a third of that of the same VAE with N(0, I)"

SHARE = 1.0 / 3.0
SECONDS, QUICK_SECONDS = 360.0, 30.0
FIELD: dict[str, Any] = {"likelihood": "bernoulli", "options": {"binarise": "stochastic"}}
SHARED: dict[str, Any] = {
    "images": "dense", "width": 500, "depth": 2, "latent": 40, "epochs": 400, "batch_size": 250, "learning_rate": 2e-3,
    "warmup": 0.05, "ema": 0.999, "patience": 1000,
}  # fmt: skip
MODELS: dict[str, dict[str, Any]] = {
    "ours": {"prior": {"name": "flow", "layers": 8, "hidden": 256}},
    "standard normal prior": {},
}


def run(settings: Settings) -> Outcome:
    """Train both, draw from both, and compare both with test images."""
    torch.set_num_threads(1 if settings.quick else 2)
    data = pictures(settings.data, "mnist")
    images, count = (data.x_train[:10_000], 2_000) if settings.quick else (data.x_train, 10_000)
    judge = classifier(
        data.x_train[:10_000] if settings.quick else data.x_train, data.y_train, 2 if settings.quick else 4
    )
    real, labels = features(judge, data.x_test[:count])
    found: dict[str, Any] = {}
    for name, options in MODELS.items():
        seconds = QUICK_SECONDS if settings.quick else SECONDS
        fitted = fit_images(images, FIELD, settings.seed, **SHARED, **options, max_seconds=seconds)
        drawn, _ = features(judge, decoded(fitted, count, seed=1)[..., 0])
        few = precision_recall(real[:2_000], drawn[:2_000])
        found[name] = {"distance": round(frechet_distance(real, drawn), 3)} | {k: round(v, 3) for k, v in few.items()}
        print(f"{name}: {found[name]}", flush=True)
    train, _ = features(judge, data.x_train[: len(real)])
    share = found["ours"]["distance"] / found["standard normal prior"]["distance"]
    return Outcome(
        ours=found["ours"],
        rivals={
            "standard normal prior": found["standard normal prior"],
            "training images": {"distance": round(frechet_distance(real, train), 3)},
        },
        ratios={"of the standard prior": round(share, 3)},
        met=share <= SHARE,
        notes=[
            f"features: 64 units of a classifier with {float((labels == data.y_test[:count]).mean()):.1%} of test "
            f"images right; {count} samples at the means of their pixels, against as many test images; "
            f"{SECONDS:.0f} s each",
        ],
    )
