"""COMPACT: what each compact form of a model costs and saves."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import vaekit as vk
from benchmarks.data import table, vectors
from benchmarks.registry import Outcome, Settings
from benchmarks.tools.demo import demo
from vaekit.api.cost import BATCH, cost

GOAL = (
    "each compact form is smaller than the float32 bundle without weights, detections at 1 % agree on 99 % of the "
    "rows, and float16 moves no score by more than 0.1 nats plus 0.1 %"
)
FORMS = ("onnx", "float16", "int8", "pruned:0.25", "pruned:0.5")
AGREEMENT = 0.99
NATS, SHARE = 0.1, 1e-3
NUMERIC = "california_housing"


@dataclass(frozen=True)
class Case:
    """A bundle and the table that it was fitted on."""

    bundle: Path
    table: pa.Table


def run(settings: Settings) -> Outcome:
    """Export every form of every model, and measure each in a process of its own."""
    ours: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, case in _cases(settings, Path(folder)).items():
            ours[name] = {form: _measured(case, form, Path(folder) / "made") for form in FORMS}
            _show(name, ours[name])
    return Outcome(
        ours=ours,
        rivals={},
        ratios={
            name: {form: round(figures["kb"] / forms["onnx"]["kb"], 3) for form, figures in forms.items()}
            for name, forms in ours.items()
        },
        met=all(_good(figures, forms) for forms in ours.values() for figures in forms.values()),
        notes=[
            "all forms were exported without weights for torch; kb: all files; memory: most resident MiB of a process "
            "that loads the bundle and answers; ms: median of the whole query `score` (contract, 8 samples, p-values) "
            "about one row and about 256, one thread, wall clock",
            "mean and max: difference of scores, nats, from float32 on the early-stopping rows; agreement: share of "
            "them on which both detect alike at 1 %, each with its own calibration; score: mean -log p of float32",
            "pruned: hidden units that matter least go, then 2,000 steps of training at most",
        ],
    )


def _cases(settings: Settings, folder: Path) -> dict[str, Case]:
    ours = demo(5.0 if settings.quick else 100.0)
    cases = {"demo": Case(ours.bundle, ours.fitted)}
    with np.load(settings.data / "mnist" / "mnist.npz", allow_pickle=False) as stored:
        images = stored["x_train"].reshape(-1, 784) / np.float32(255)
    images = images[: 3_000 if settings.quick else 20_000]
    size = {"depth": 1, "width": 400, "latent": 20, "choose": False, "epochs": 2 if settings.quick else 10}
    tables = {
        "MNIST 784-400-20": (vectors(images, "pixels"), size),
        NUMERIC: (table(settings.data, NUMERIC), {"epochs": 3 if settings.quick else 40}),
    }
    for name, (rows, options) in tables.items():
        model = vk.fit(rows, seed=settings.seed, threads=1, progress=False, **options)
        cases[name] = Case(model.save(folder / name.partition(" ")[0]), rows)
    return cases


def _measured(case: Case, form: str, out: Path) -> dict[str, float]:
    shutil.rmtree(out, ignore_errors=True)
    model = vk.load(case.bundle)
    made = model.export(out, None if form == "onnx" else case.table, form=form, weights=False)
    found = cost(out, case.table.slice(0, BATCH))
    figures = {
        "kb": round(found.bytes / 1e3, 1),
        "memory": round(found.memory, 1),
        "one_ms": round(1e3 * found.one, 3),
        "batch_ms": round(1e3 * found.batch, 2),
    }
    quality = made.proof.quality if made.proof is not None else {}
    names = {"mean": "mean_score_difference", "max": "max_score_difference", "agreement": "agreement"}
    figures |= {short: round(quality[name], 5) for short, name in names.items() if name in quality}
    if form == "onnx":
        figures["score"] = round(float(np.mean(model.bundle.calibration["score"])), 3)
    return figures


def _good(figures: dict[str, float], forms: dict[str, dict[str, float]]) -> bool:
    whole = forms["onnx"]
    if figures is whole:
        return True
    near = figures is not forms["float16"] or figures["max"] <= NATS + SHARE * abs(whole["score"])
    return figures["kb"] < whole["kb"] and figures["agreement"] >= AGREEMENT and near


def _show(name: str, forms: dict[str, dict[str, float]]) -> None:
    print(f"\n{name}")
    for form, figures in forms.items():
        print(f"  {form:12s}", "  ".join(f"{key} {value:,g}" for key, value in figures.items()), flush=True)
