"""Races of training loops: each is called in a process of its own by `benchmarks.tools.pinned`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.data import matrix, mnist, table_of, vectors
from benchmarks.rivals import loops
from benchmarks.rivals.ours import OurLoop
from benchmarks.tools.timing import clock_of, interleaved

__all__ = ["bits", "mixed"]

_SECONDS = 0.5  # that ours takes for a round


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
    ours = OurLoop(vectors(rows), batch, clock, seed=asked["seed"], depth=1, width=width, latent=latent)
    steps = _steps(ours)
    contenders: dict[str, loops.Steps] = {
        "DataLoader loop": loops.plain(rows, batch, loops.PlainVAE(784, width, latent), clock),
        "resident loop": loops.resident(rows, batch, loops.PlainVAE(784, width, latent), clock),
        "floor": loops.floor(batch, [(784, width), (width, 2 * latent), (latent, width), (width, 784)], clock),
    }
    failed: dict[str, str] = {}
    makers = {
        "pythae": lambda: loops.pythae_trainer(rows, batch, width, latent, steps, clock),
        "JAX scan": lambda: loops.jax_scan(rows, batch, width, latent, clock),
    }
    for name, make in makers.items():
        try:
            contenders[name] = make()
        except ImportError as error:
            failed[name] = f"not installed here: {error}"
    return _race(ours, contenders, failed, steps, asked)


def mixed(asked: dict[str, Any]) -> dict[str, Any]:
    """As `bits`: twenty numbers and twenty categories through our contract; the same forty columns as a matrix."""
    values, batch, clock = matrix(asked["rows"], 40, asked["seed"]), asked["batch"], clock_of(asked["cores"])
    plain = ((values - values.mean(0)) / values.std(0)).astype(np.float32)
    width, latent, depth = 128, 8, 2
    ours = OurLoop(table_of(values, 20), batch, clock, seed=asked["seed"], depth=depth, width=width, latent=latent)
    layers = [(40, width), (width, width), (width, 2 * latent), (latent, width), (width, width), (width, 80)]
    contenders = {
        "DataLoader loop": loops.plain(plain, batch, loops.PlainVAE(40, width, latent, depth, "gaussian"), clock),
        "resident loop": loops.resident(plain, batch, loops.PlainVAE(40, width, latent, depth, "gaussian"), clock),
        "floor": loops.floor(batch, layers, clock),
    }
    return _race(ours, contenders, {}, _steps(ours), asked)


def _race(
    ours: OurLoop, rivals: dict[str, loops.Steps], failed: dict[str, str], steps: int, asked: dict[str, Any]
) -> dict[str, Any]:
    runs = {name: partial(run, steps) for name, run in {"ours": ours.steps, **rivals}.items()}
    seconds = interleaved(runs | {"validation": ours.validation}, asked["rounds"], asked["budget"])
    validation = seconds.pop("validation")
    return {"seconds": seconds, "steps": steps, "failed": failed, "validation": validation, "every": ours.every}


def _steps(ours: OurLoop) -> int:
    """Steps of a round, so that ours takes about as long everywhere."""
    ours.steps(5)
    return max(10, min(500, round(_SECONDS * 10 / ours.steps(10))))
