"""VARIANTS: every recipe at the same rows, network width and steps: bounds, KL, active units, information, samples."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

import vaekit as vk
from benchmarks.cases import InCases, together
from benchmarks.data import complete, pictures
from benchmarks.registry import Outcome, Settings
from benchmarks.tools.pictures import bound_of, classifier, features
from vaekit.arrays import Blocks, open_uniform, take
from vaekit.fields.families import FAMILIES
from vaekit.fields.tables import to_arrow
from vaekit.metrics.frechet import frechet_distance
from vaekit.training import load_config, train
from vaekit.training.batches import Resident, draw_noise
from vaekit.training.fit import Trained
from vaekit.training.information import latent_figures
from vaekit.training.recipes import RECIPES

GOAL = "every recipe runs at the same budget, and its figures stand in one table"

BUDGET: dict[str, Any] = {
    "width": 200, "depth": 2, "latent": 16, "images": "dense", "epochs": 30, "batch_size": 128, "learning_rate": 2e-3,
    "mask": 0.0, "valid": 0.05, "calibration": 0.0, "patience": 1000, "choose": False, "threads": 1, "device": "cpu",
    "compile": False,
}  # fmt: skip
ROWS, QUICK_ROWS, QUICK_EPOCHS = 8_000, 1_000, 2
ELSEWHERE = {  # recipes that are about other fields than bits of images, each beside a plain VAE of the same rows
    "given": ("vae", "cvae"),
    "both": ("vae", "product-of-experts", "mixture-of-experts"),
    "numbers": ("vae", "sigma-vae", "ppca"),
}
WHAT = {
    "bits": "MNIST, bits above one half, judged on 1,000 test images",
    "given": "the same, with the label as a condition",
    "both": "the same, with the label as a second field of the model",
    "numbers": "the eleven numbers of the UCI set wine_white, 4,000 rows; judged on the 898 others",
}


@dataclass(frozen=True)
class Rows:
    """Rows to train on and to judge by, and the contract."""

    train: pa.Table
    test: pa.Table
    contract: vk.Contract


def run(settings: Settings) -> Outcome:
    """All cases, put together."""
    return together(cast(InCases, sys.modules[__name__]), settings)


def cases(settings: Settings) -> tuple[str, ...]:
    """Every recipe on the bits of images, but for those that are about other fields."""
    moved = {name for names in ELSEWHERE.values() for name in names} - {"vae"}
    plain = [f"bits.{name}" for name in RECIPES if name not in moved]
    return (*plain, *(f"{data}.{name}" for data, names in ELSEWHERE.items() for name in names))


def case(name: str, settings: Settings) -> dict[str, Any]:
    """Fit one recipe on its rows, and judge it on others."""
    torch.set_num_threads(1)
    data, _, recipe = name.partition(".")
    rows = _rows(data, settings)
    config = load_config(None, recipe).override(seed=settings.seed, **BUDGET)
    if recipe == "ppca":
        config = config.override(depth=0)
    if settings.quick:
        config = config.override(epochs=QUICK_EPOCHS)
    trained = train(rows.train, rows.contract, config, progress=False)
    vae, seconds = trained.vae.eval(), trained.history[-1]["seconds"]
    blocks = Resident(trained.contract.encode(rows.test), torch.device("cpu")).take(slice(None))
    nats, error, elbo = bound_of(vae, blocks, 50 if settings.quick else 500, seed=0)
    latent = latent_figures(vae, take(blocks, slice(0, 500)), seed=0)
    return {
        "ELBO": round(-elbo, 2),
        "nats": round(nats, 2),
        "error": round(error, 2),
        "KL": round(sum(latent["kl"].values()), 2),
        "active": f"{latent['active_units']}/{latent['units']}",
        "information": None if latent["information"] is None else round(latent["information"], 2),
        "Fréchet": round(_distance(trained, blocks, rows.test, data, settings), 2),
        "steps": trained.history[-1]["step"],
        "trained": round(seconds, 1),
    }


def gather(found: Mapping[str, dict[str, Any]], settings: Settings) -> Outcome:
    """The table."""
    names = ("ELBO", "nats", "error", "KL", "active", "information", "Fréchet", "trained")
    for data, what in WHAT.items():
        print(f"\n{what}\n{'':20s} " + " ".join(f"{name:>11s}" for name in names))
        for case, row in found.items():
            if case.startswith(f"{data}."):
                told = " ".join(f"{'–' if row[name] is None else row[name]:>11}" for name in names)
                print(f"{case.removeprefix(f'{data}.'):20s} {told}")
    return Outcome(
        ours=found,
        rivals={},
        ratios={},
        met=len(found) == len(cases(settings)),
        notes=[
            f"one seed, {ROWS:,} rows, {BUDGET}; recipes on top, ppca at its depth of 0; stages of a recipe that come "
            "after the model (prior, encoder) add to its steps",
            "nats: importance-weighted bound of 500 draws on −log p; active and information: of 500 test rows",
            "Fréchet: 1,000 samples against the test rows, in 64 features of a small frozen classifier of bits of "
            "images; of numbers in the standardised columns themselves",
        ],
    )


def _rows(data: str, settings: Settings) -> Rows:
    count = QUICK_ROWS if settings.quick else ROWS
    if data == "numbers":
        table = complete(settings.data, "wine_white")[0]
        table = table.take(pa.array(np.random.default_rng(0).permutation(table.num_rows)))
        train_rows, test = table.slice(0, min(count, 4_000)), table.slice(4_000)
        return Rows(train_rows, test, vk.Contract.infer(train_rows))
    images = pictures(settings.data, "mnist")
    order = np.random.default_rng(0).permutation(len(images.x_test))[:1_000]
    parts = []
    for x, y in ((images.x_train[:count], images.y_train[:count]), (images.x_test[order], images.y_test[order])):
        columns: dict[str, Any] = {"image": x}
        if data != "bits":
            columns["label"] = [f"d{label}" for label in y]
        parts.append(to_arrow(columns))
    contract = vk.Contract.infer(parts[0]).replace("image", likelihood="bernoulli", options={"binarise": "threshold"})
    if data == "given":
        contract = contract.replace("label", role="condition")
    return Rows(*parts, contract)


def _distance(trained: Trained, blocks: Blocks, test: pa.Table, data: str, settings: Settings) -> float:
    """Samples against rows; where there are conditions, given those of the rows."""
    drawn = _drawn(trained, blocks, test.num_rows)
    if data == "numbers":
        made, real = (np.stack([table[name].to_numpy() for name in test.column_names], 1) for table in (drawn, test))
        return frechet_distance((real - real.mean(0)) / real.std(0), (made - real.mean(0)) / real.std(0))
    images = pictures(settings.data, "mnist")
    few = 2_000 if settings.quick else 10_000
    judge = classifier(_bits(images.x_train[:few]), images.y_train[:few], 2 if settings.quick else 6)
    made, real = (features(judge, _bits(_pixels(table)))[0] for table in (drawn, test))
    return frechet_distance(real, made)


def _drawn(trained: Trained, blocks: Blocks, count: int) -> pa.Table:
    """Rows drawn from a model, each cell from its own distribution."""
    vae, rng, noise = trained.vae, torch.Generator().manual_seed(1), np.random.default_rng(2)
    given = blocks if vae.condition is not None else {}
    with torch.inference_mode():
        params = vae.decode(vae.prior(draw_noise(vae.latent.prior_noise, rng, 1, count), given), given)
    values = {}
    for name, tensors in params.items():
        arrays, spec = {key: value.numpy() for key, value in tensors.items()}, vae.specs[name]
        uniform = open_uniform(noise, (1, count, *spec.shape))
        values[name] = FAMILIES[spec.likelihood].ppf(arrays, uniform, spec)[0]
    return trained.contract.decode(values)


def _pixels(table: pa.Table) -> NDArray[np.uint8]:
    column = table["image"].combine_chunks()
    found: NDArray[np.uint8] = column.storage.flatten().to_numpy().reshape(-1, 28, 28)
    return found


def _bits(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return (images > 127).astype(np.uint8) * np.uint8(255)
