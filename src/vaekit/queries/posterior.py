"""Draws from p(z | observed cells): importance resampling around the amortised posterior."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np

from vaekit.arrays import Array, Blocks, generator
from vaekit.metrics.likelihood import normalized_weights
from vaekit.queries.base import count, model_specs
from vaekit.queries.decoding import Params, decode

if TYPE_CHECKING:
    from vaekit.runtime.engine import Engine

__all__ = ["resampled"]


def resampled(
    engine: Engine, blocks: Blocks, wanted: Collection[str], *, samples: int, draws: int, seed: int, stream: int
) -> Params:
    """Likelihood parameters at `draws` posterior draws of z per row.

    Proposes K draws per row from q(z | observed), weighs them by ``p(observed, z) / q(z | observed)``, and resamples by
    systematic resampling, in random order. Every row has noise of its own, so draws of different rows are independent.

    Args:
        engine: The engine.
        blocks: Encoded rows, B of them; missing cells are what is asked for.
        wanted: Names of the blocks whose parameters are returned.
        samples: Proposals K per row.
        draws: Resampled draws S per row.
        seed: The seed.
        stream: Number of this chunk of rows.

    Returns:
        Parameters per block with leading shape (S, B).

    References:
        Rubin, Using the SIR algorithm, 1988. Mattei & Frellsen, MIWAE, 2019, section 3. Douc & Cappé 2005 (systematic
        resampling).
    """
    rows = count(blocks)
    rng = generator(seed, "resample", stream)
    noise = engine.noise(int(rng.integers(2**62)), samples, rows)
    encoded = engine.backend.run("encode", engine.inputs(blocks) | noise)
    z = {name.removeprefix("z."): value for name, value in encoded.items() if name.startswith("z.")}
    params = decode(engine, z, blocks)
    named = {f"params.{block}.{name}": value for block, group in params.items() for name, value in group.items()}
    density = engine.backend.run("log_density", engine.inputs(blocks) | named)
    log_weight = np.zeros((samples, rows))
    for name in engine.architecture.groups:
        log_weight += encoded[f"log_p.{name}"].astype(np.float64) - encoded[f"log_q.{name}"]
    for spec in model_specs(engine):
        log_weight += density[f"log_px.{spec.name}"].sum(-1, dtype=np.float64)
    chosen = systematic(normalized_weights(log_weight), draws, rng)  # shape: (S, B)
    return {block: {n: _pick(v, chosen, samples) for n, v in params[block].items()} for block in wanted}


def systematic(weights: Array, draws: int, rng: np.random.Generator) -> Array:
    """Systematic resampling over the first axis: indices (S, B) from weights (K, B), in random order per row."""
    points = (rng.random(weights.shape[1]) + np.arange(draws)[:, None]) / draws  # shape: (S, B)
    edges = np.cumsum(weights, axis=0)[:-1]
    chosen = (edges[:, None] < points).sum(0)
    return rng.permuted(chosen, axis=0)


def _pick(value: Array, chosen: Array, samples: int) -> Array:
    if len(value) < samples:  # a parameter that does not depend on z
        return value
    index = chosen.reshape(*chosen.shape, *[1] * (value.ndim - 2))
    return np.take_along_axis(value, index, axis=0)
