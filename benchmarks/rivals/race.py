"""Races of training loops: each is called in a process of its own by `benchmarks.tools.pinned`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute
import torch

import vaekit as vk
from benchmarks.data import matrix, mnist, table, table_of, vectors
from benchmarks.rivals import loops
from benchmarks.rivals.ours import OurLoop
from benchmarks.tools.timing import clock_of, interleaved
from vaekit.fields.tables import to_arrow

__all__ = ["adult", "bits", "conv", "mixed"]

_SECONDS = 0.25  # that ours takes for a round
PACES: dict[str, dict[str, Any]] = {  # what `precision`, `compile` choose between
    "ours float32": {"compile": False},
    "ours float32 compiled": {"compile": True},
    "ours bfloat16": {"precision": "bfloat16", "compile": False},
    "ours bfloat16 compiled": {"precision": "bfloat16", "compile": True},
}


def bits(asked: dict[str, Any]) -> dict[str, Any]:
    """784-400-20 on binarised MNIST.

    Args:
        asked: ``data``, ``rows``, ``batch``, ``seed``, ``cores``, and ``rounds`` and ``budget`` of `interleaved`.

    Returns:
        ``seconds`` {contender: per round}, ``steps`` of a round, ``failed`` {contender: why}, ``validation`` in seconds
        per round, and ``every``, the steps between validations.
    """
    rows, batch, clock = mnist(Path(asked["data"]), asked["rows"]), asked["batch"], clock_of(asked["cores"])
    width, latent = 400, 20
    ours = _ours(vectors(rows), asked, depth=1, width=width, latent=latent)
    steps = _steps(ours)
    layers = [(784, width), (width, 2 * latent), (latent, width), (width, 784)]
    made: dict[str, Callable[[], loops.Steps]] = {
        "DataLoader loop": lambda: loops.plain(rows, batch, loops.PlainVAE(784, width, latent), clock),
        "resident loop": lambda: loops.resident(rows, batch, loops.PlainVAE(784, width, latent), clock),
        "pythae": lambda: loops.pythae_trainer(rows, batch, width, latent, steps, clock),
        "JAX scan": lambda: loops.jax_scan(rows, batch, width, latent, clock),
        "floor": lambda: loops.floor(batch, layers, clock),
        "floor bfloat16": lambda: loops.floor(batch, layers, clock, torch.bfloat16),
    }
    return _race(ours, made, steps, asked)


def conv(asked: dict[str, Any]) -> dict[str, Any]:
    """As `bits`: a small convolutional VAE, 16 to 64 channels; the rival has the very same blocks."""
    rows, batch, clock = mnist(Path(asked["data"]), asked["rows"]), asked["batch"], clock_of(asked["cores"])
    images = pa.table({"image": to_arrow({"image": (rows.reshape(-1, 28, 28) * 255).astype(np.uint8)})["image"]})
    contract = vk.Contract.infer(images.slice(0, 1000)).replace("image", likelihood="bernoulli")
    network = {"name": "conv", "channels": 16}
    ours = _ours(images, asked, contract, depth=1, width=128, latent=16, images=network, mask=0.0)
    made = {"DataLoader loop": lambda: loops.plain(rows, batch, loops.PlainConv(16, 128, 16), clock)}
    return _race(ours, made, _steps(ours), asked)


def mixed(asked: dict[str, Any]) -> dict[str, Any]:
    """As `bits`: twenty numbers and twenty categories through our contract; the same forty columns as a matrix."""
    values, batch, clock = matrix(asked["rows"], 40, asked["seed"]), asked["batch"], clock_of(asked["cores"])
    plain = ((values - values.mean(0)) / values.std(0)).astype(np.float32)
    width, latent, depth = 128, 8, 2
    ours = _ours(table_of(values, 20), asked, depth=depth, width=width, latent=latent)
    layers = [(40, width), (width, width), (width, 2 * latent), (latent, width), (width, width), (width, 80)]
    model = partial(loops.PlainVAE, 40, width, latent, depth, "gaussian")
    made: dict[str, Callable[[], loops.Steps]] = {
        "DataLoader loop": lambda: loops.plain(plain, batch, model(), clock),
        "resident loop": lambda: loops.resident(plain, batch, model(), clock),
        "floor": lambda: loops.floor(batch, layers, clock),
    }
    return _race(ours, made, _steps(ours), asked)


def adult(asked: dict[str, Any]) -> dict[str, Any]:
    """As `bits`: the fifteen columns of adult, both as they would model them by default."""
    rows, clock = table(Path(asked["data"]), "adult").slice(0, asked["rows"]), clock_of(asked["cores"])
    rows = rows.filter(pa.compute.invert(_any_null(rows)))  # TVAE takes no missing cells
    discrete = [field.name for field in rows.schema if not pa.types.is_integer(field.type)]
    ours = _ours(rows, asked, mask=0.0)
    made = {"CTGAN's TVAE": lambda: loops.tvae(rows, discrete, asked["batch"], clock)}
    return _race(ours, made, _steps(ours), asked)


def _any_null(rows: pa.Table) -> pa.Array:
    missing = [np.asarray(column.is_null()) for column in rows.columns]
    return pa.array(np.any(missing, axis=0))


def _ours(
    rows: pa.Table, asked: dict[str, Any], contract: vk.Contract | None = None, **options: Any
) -> dict[str, OurLoop]:
    clock = clock_of(asked["cores"])
    paces = {name: pace for name, pace in PACES.items() if asked.get("compiled", True) or not pace["compile"]}
    return {
        name: OurLoop(rows, asked["batch"], clock, contract, seed=asked["seed"], **options, **pace)
        for name, pace in paces.items()
    }


def _race(
    ours: dict[str, OurLoop], made: dict[str, Callable[[], loops.Steps]], steps: int, asked: dict[str, Any]
) -> dict[str, Any]:
    runs = {name: partial(loop.steps, steps) for name, loop in ours.items()}
    failed: dict[str, str] = {}
    for name, make in made.items():
        try:
            runs[name] = partial(make(), steps)
        except ImportError as error:
            failed[name] = f"not installed here: {error}"
    first = ours["ours float32"]
    seconds = interleaved(runs | {"validation": first.validation}, asked["rounds"], asked["budget"])
    validation = seconds.pop("validation")
    return {"seconds": seconds, "steps": steps, "failed": failed, "validation": validation, "every": first.every}


def _steps(ours: dict[str, OurLoop]) -> int:
    """Steps of a round, so that ours takes about as long everywhere."""
    first = ours["ours float32"]
    first.steps(5)
    return max(10, min(500, round(_SECONDS * 10 / first.steps(10))))
