"""D5: samples of MNIST: Fréchet distance in features of a small frozen classifier, learned prior against N(0, I)."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, cast

import torch

from benchmarks.cases import InCases, together
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
    "warmup": 0.05, "ema": 0.999, "patience": 1000, "precision": "bfloat16",
}  # fmt: skip
MODELS: dict[str, dict[str, Any]] = {
    "ours": {"prior": {"name": "flow", "layers": 8, "hidden": 256}},
    "standard": {},
}


def run(settings: Settings) -> Outcome:
    """All cases, put together."""
    return together(cast(InCases, sys.modules[__name__]), settings)


def cases(settings: Settings) -> tuple[str, ...]:
    """The models."""
    return tuple(MODELS)


def case(name: str, settings: Settings) -> dict[str, Any]:
    """Train one model, draw from it, and compare with test images."""
    torch.set_num_threads(1 if settings.quick else 2)
    data = pictures(settings.data, "mnist")
    images, count = (data.x_train[:10_000], 2_000) if settings.quick else (data.x_train, 10_000)
    judge = classifier(images, data.y_train[: len(images)], 2 if settings.quick else 4)
    real, labels = features(judge, data.x_test[:count])
    seconds = settings.seconds or (QUICK_SECONDS if settings.quick else SECONDS)
    options = {"max_seconds": seconds, "device": settings.device}
    fitted = fit_images(images, FIELD, settings.seed, **SHARED, **MODELS[name], **options)
    drawn, _ = features(judge, decoded(fitted, count, seed=1)[..., 0])
    train, _ = features(judge, data.x_train[:count])
    few = precision_recall(real[:2_000], drawn[:2_000])
    return {"distance": round(frechet_distance(real, drawn), 3)} | {
        **{name: round(value, 3) for name, value in few.items()},
        "of training images": round(frechet_distance(real, train), 3),
        "classifier": round(float((labels == data.y_test[:count]).mean()), 4),
        "trained": round(fitted.seconds, 1),
    }


def gather(found: Mapping[str, dict[str, Any]], settings: Settings) -> Outcome:
    """The distance of the learned prior as a share of that of the standard one."""
    whole = len(found) == len(MODELS)
    share = found["ours"]["distance"] / found["standard"]["distance"] if whole else float("inf")
    return Outcome(
        ours=found.get("ours", {}),
        rivals={name: one for name, one in found.items() if name != "ours"},
        ratios={"of the standard prior": round(share, 3)},
        met=share <= SHARE,
        notes=[
            "features: 64 units of a small frozen classifier, whose share of test images right is told with the "
            "figures; 10,000 samples at the means of their pixels, against as many test images",
            f"shared {SHARED}; models {MODELS}",
        ],
    )
