"""A11: image editing on MNIST: digits turned into others, thickness and slant changed; against latent arithmetic."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

import vaekit as vk
from benchmarks.data import pictures
from benchmarks.registry import Outcome, Settings
from benchmarks.tools.pictures import classifier, features
from benchmarks.tools.pinned import cores
from vaekit.fields.tables import to_arrow

GOAL = (
    "more edited images judged right than by latent arithmetic, for class, thickness and slant, with less else changed"
)

SECONDS, QUICK_SECONDS = 420.0, 40.0
OPTIONS: dict[str, Any] = {
    "images": "dense", "width": 500, "depth": 2, "latent": 24, "epochs": 300, "batch_size": 250, "learning_rate": 2e-3,
    "mask": 0.0, "ema": 0.999, "patience": 1000, "valid": 0.02, "calibration": 0.02, "device": "cpu",
}  # fmt: skip
FIELD: dict[str, Any] = {"likelihood": "bernoulli", "options": {"binarise": "stochastic"}}


def run(settings: Settings) -> Outcome:
    """Fit one model, and edit the same images in both ways."""
    data = pictures(settings.data, "mnist")
    images = data.x_train[:10_000] if settings.quick else data.x_train
    contract = vk.Contract.infer({"image": images[:1000]}).replace("image", **FIELD)
    seconds, threads = (QUICK_SECONDS, 1) if settings.quick else (settings.seconds or SECONDS, cores(2))
    torch.set_num_threads(threads)
    model = vk.fit(
        {"image": images}, contract, seed=settings.seed, max_seconds=seconds, threads=threads, progress=False, **OPTIONS
    )
    judge = classifier(images, data.y_train[: len(images)], 2 if settings.quick else 4)
    known = 3_000 if settings.quick else 10_000
    examples = labelled(images[:known], data.y_train[:known])
    some = 200 if settings.quick else 1_000
    rows = asked(model, data.x_test[:some], data.y_test[:some])
    ours, plain = (
        {kind: _judged(model, judge, rows, examples, kind, arithmetic) for kind in ("class", "thickness", "slant")}
        for arithmetic in (False, True)
    )
    better = {kind: {name: round(ours[kind][name] - plain[kind][name], 3) for name in ours[kind]} for kind in ours}
    return Outcome(
        ours=ours,
        rivals={"latent arithmetic": plain},
        ratios={"difference": better},
        met=all(
            ours[kind]["right"] > plain[kind]["right"] and ours[kind]["else"] < plain[kind]["else"] for kind in ours
        ),
        notes=[
            "class: each test image into each other digit; right: a frozen classifier sees that digit; else: mean "
            "absolute change of thickness and slant, in standard deviations over reconstructed test images",
            "thickness, slant: one standard deviation up and down; right: share of edits whose measured change is "
            "within half of what was asked; else: share of images that the classifier takes for another digit than "
            "before, plus the mean absolute change of the other quantity",
            "both know of each test image its class and, measured on what the model reconstructs, both quantities; "
            "examples are measured as they are",
            "arithmetic: difference of class means; for a quantity, the difference of the means of its upper and lower "
            "half, scaled by the difference of its own means there",
        ],
    )


def thickness(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Ink over the length of its outline: about half the width of the strokes."""
    ink = images.astype(np.float64) / 255.0
    edges = np.abs(np.diff(ink, axis=1)).sum((1, 2)) + np.abs(np.diff(ink, axis=2)).sum((1, 2))
    return 2.0 * ink.sum((1, 2)) / np.maximum(edges, 1.0)


def slant(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Shear of the ink: covariance of columns and rows over the variance of rows."""
    ink = images.astype(np.float64) + 1e-9
    y, x = np.mgrid[: images.shape[1], : images.shape[2]]
    total = ink.sum((1, 2))
    my, mx = (ink * y).sum((1, 2)) / total, (ink * x).sum((1, 2)) / total
    dy, dx = y - my[:, None, None], x - mx[:, None, None]
    return -(ink * dy * dx).sum((1, 2)) / np.maximum((ink * dy * dy).sum((1, 2)), 1e-9)


MEASURES = {"thickness": thickness, "slant": slant}


def labelled(images: NDArray[np.uint8], labels: NDArray[Any]) -> pa.Table:
    """Images with their attributes."""
    return to_arrow(
        {"image": images, "digit": [f"d{label}" for label in labels]} | {n: f(images) for n, f in MEASURES.items()}
    )


def asked(model: Any, images: NDArray[np.uint8], labels: NDArray[Any]) -> pa.Table:
    """Images to edit, with the attributes of what the model makes of them: an edit starts from there."""
    rows = labelled(images, labels)
    seen = _images(model.reconstruct(rows.select(["image"])))
    for name, measure in MEASURES.items():
        rows = rows.set_column(rows.column_names.index(name), name, pa.array(measure(seen)))
    return rows


def _images(table: pa.Table) -> NDArray[np.uint8]:
    column = table["image"].combine_chunks()
    return column.storage.flatten().to_numpy().reshape(-1, *column.type.shape)


def _judged(
    model: Any, judge: Any, rows: pa.Table, examples: pa.Table, kind: str, arithmetic: bool
) -> dict[str, float]:
    """Share of edits that are right, and what else changed."""
    spread = {name: float(np.std(rows[name].to_numpy())) for name in MEASURES}
    edit = _Arithmetic(model, examples) if arithmetic else lambda rows, name, value: model.edit(
        rows, examples, set={name: value}
    )  # fmt: skip
    seen = _images(model.reconstruct(rows.select(["image"])))
    right, other = [], []
    if kind == "class":
        digits = rows["digit"].to_numpy(zero_copy_only=False)
        for target in range(10):
            some = np.flatnonzero(digits != f"d{target}")
            found = _images(edit(rows.take(some), "digit", f"d{target}"))
            right.append((features(judge, found)[1] == target).mean())
            other.append(np.mean([np.abs(f(found) - f(seen[some])).mean() / spread[n] for n, f in MEASURES.items()]))
    else:
        rest = "slant" if kind == "thickness" else "thickness"
        before = MEASURES[kind](seen)
        classes = features(judge, seen)[1]
        for sign in (-1.0, 1.0):
            value = float(np.mean(before) + sign * spread[kind])
            found = _images(edit(rows, kind, value))
            gap = np.abs(MEASURES[kind](found) - value)
            right.append((gap < 0.5 * spread[kind]).mean())
            changed = (features(judge, found)[1] != classes).mean()
            other.append(changed + np.abs(MEASURES[rest](found) - MEASURES[rest](seen)).mean() / spread[rest])
    return {"right": round(float(np.mean(right)), 3), "else": round(float(np.mean(other)), 3)}


class _Arithmetic:
    """Attribute vectors as in the literature: differences of mean codes."""

    def __init__(self, model: Any, examples: pa.Table) -> None:
        self.model, self.examples = model, examples
        self.codes = self._embed(examples)

    def __call__(self, rows: pa.Table, name: str, value: Any) -> pa.Table:
        z, known = self._embed(rows), self.examples[name].to_numpy(zero_copy_only=False)
        if isinstance(value, str):
            means = {one: self.codes[known == one].mean(0) for one in np.unique(known)}
            source = rows[name].to_numpy(zero_copy_only=False)
            z = z + means[value] - np.stack([means[one] for one in source])
        else:
            high, low = known > np.median(known), known <= np.median(known)
            vector = (self.codes[high].mean(0) - self.codes[low].mean(0)) / (known[high].mean() - known[low].mean())
            z = z + (value - rows[name].to_numpy())[:, None] * vector
        engine = self.model.engine
        from vaekit.queries.decoding import decode, point_values

        blocks = engine.contract.missing(len(z))
        values = point_values(engine, decode(engine, {"z": z[None].astype(np.float32)}, blocks))
        return engine.contract.decode({block: value[0] for block, value in values.items()})

    def _embed(self, rows: pa.Table) -> NDArray[np.float64]:
        column = self.model.embed(rows)["embedding"].combine_chunks()
        return column.flatten().to_numpy().reshape(len(rows), -1).astype(np.float64)
