"""Proof that two backends are one model: how far their graphs are apart on the same rows."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from vaekit.arrays import Array, Blocks
from vaekit.runtime.backend import Backend

if TYPE_CHECKING:
    from vaekit.runtime.engine import Engine

__all__ = ["SAMPLES", "Apart", "apart", "walk"]

SAMPLES = 4  # latent draws per row
_TINY = 1e-6  # of an output that is zero everywhere
_NATS = 1e-2  # least size of a log-density


class Apart(NamedTuple):
    """How far one graph is from the same graph elsewhere.

    Args:
        difference: Largest relative difference of all its outputs.
        output: The output that has it.
    """

    difference: float
    output: str


def walk(engine: Engine, blocks: Blocks, graphs: Collection[str], seed: int = 0) -> dict[str, dict[str, Array]]:
    """What each graph is asked about some rows, each on what the one before it answered.

    Args:
        engine: Any engine of the model that can run all graphs that come before the wanted ones.
        blocks: Encoded rows, B of them.
        graphs: The wanted graphs.
        seed: Seed of the noise.

    Returns:
        Inputs by name, of each wanted graph.
    """
    rows = len(next(iter(blocks.values())))
    asked = engine.inputs(blocks) | engine.noise(seed, SAMPLES, rows)
    found = {name: asked for name in ("encode", "score")}
    found["prior"] = engine.inputs(blocks) | engine.noise(seed, SAMPLES, rows, prior=True)
    if not set(graphs) <= found.keys():
        found["decode"] = asked | engine.backend.run("encode", asked)
    if "log_density" in graphs:
        found["log_density"] = asked | engine.backend.run("decode", found["decode"])
    return {name: found[name] for name in graphs}


def apart(
    reference: Backend, other: Backend, engine: Engine, blocks: Blocks, graphs: Collection[str]
) -> dict[str, Apart]:
    """The largest relative difference between two backends, graph by graph, on the same rows and noise.

    A difference is relative to the value, or to the root mean square of its output where that is larger: a value that
    happens to be close to zero has no digits of its own. Log-densities are relative to a hundredth of a nat at least:
    where all are next to zero, as those of a category that the rest of the row decides, no digit means anything.

    Args:
        reference: What is right.
        other: What is compared with it.
        engine: The engine that walks; see `walk`.
        blocks: Encoded rows.
        graphs: Which graphs.
    """
    found: dict[str, Apart] = {}
    for name, inputs in walk(engine, blocks, graphs).items():
        expected, got = reference.run(name, inputs), other.run(name, inputs)
        differences = (Apart(_difference(v, got[output], _least(output)), output) for output, v in expected.items())
        found[name] = max(differences, key=_worst)
    return found


def _least(output: str) -> float:
    return _NATS if output.startswith("log_") else _TINY


def _difference(expected: Array, got: Array, least: float) -> float:
    if expected.size == 0:
        return 0.0
    expected, got = expected.astype(np.float64), got.astype(np.float64)
    if not np.isfinite(got).all() and np.isfinite(expected).all():
        return float("inf")
    scale = np.maximum(np.abs(expected), max(float(np.sqrt(np.mean(np.square(expected)))), least))
    return float(np.max(np.abs(expected - got) / scale))


def _worst(one: Apart) -> float:
    return one.difference if one.difference == one.difference else float("inf")
