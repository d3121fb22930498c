"""Draws from p(z | observed cells): importance resampling around the amortised posterior."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np

from vaekit.arrays import Array, Blocks, Noise, draw_rows
from vaekit.metrics.likelihood import normalized_weights
from vaekit.queries.base import model_specs
from vaekit.queries.decoding import Params, decode

if TYPE_CHECKING:
    from vaekit.runtime.engine import Engine

__all__ = ["resampled"]


def resampled(
    engine: Engine, blocks: Blocks, wanted: Collection[str], *, samples: int, draws: int, seed: int, rows: Array
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
        rows: Numbers of the rows, shape (B,); the noise of a row belongs to its number, whatever other rows there are.

    Returns:
        Parameters per block with leading shape (S, B).

    References:
        Rubin, Using the SIR algorithm, 1988. Mattei & Frellsen, MIWAE, 2019, section 3. Douc & Cappé 2005 (systematic
        resampling).
    """
    noise = engine.row_noise(seed, samples, rows)
    encoded = engine.backend.run("encode", engine.inputs(blocks) | noise)
    z = {name.removeprefix("z."): value for name, value in encoded.items() if name.startswith("z.")}
    params = decode(engine, z, blocks)
    named = {f"params.{block}.{name}": value for block, group in params.items() for name, value in group.items()}
    density = engine.backend.run("log_density", engine.inputs(blocks) | named)
    log_weight = np.zeros((samples, len(rows)))
    for name in engine.architecture.groups:
        log_weight += encoded[f"log_p.{name}"].astype(np.float64) - encoded[f"log_q.{name}"]
    for spec in model_specs(engine):
        log_weight += density[f"log_px.{spec.name}"].sum(-1, dtype=np.float64)
    uniform = draw_rows(Noise("uniform", (1 + draws,)), seed, rows, "resample").T  # shape: (1 + S, B)
    chosen = systematic(normalized_weights(log_weight), uniform)  # shape: (S, B)
    return {block: {n: _pick(v, chosen, samples) for n, v in params[block].items()} for block in wanted}


def systematic(weights: Array, uniform: Array) -> Array:
    """Systematic resampling over the first axis, in random order per row.

    Args:
        weights: Normalised weights, shape (K, B).
        uniform: Uniform noise, shape (1 + S, B): the first row places the points, the others order them.

    Returns:
        Indices, shape (S, B).
    """
    draws = len(uniform) - 1
    points = (uniform[0] + np.arange(draws)[:, None]) / draws  # shape: (S, B)
    edges = np.cumsum(weights, axis=0)[:-1]
    chosen = (edges[:, None] < points).sum(0)
    ordered: Array = np.take_along_axis(chosen, uniform[1:].argsort(axis=0), axis=0)
    return ordered


def _pick(value: Array, chosen: Array, samples: int) -> Array:
    if len(value) < samples:  # a parameter that does not depend on z
        return value
    index = chosen.reshape(*chosen.shape, *[1] * (value.ndim - 2))
    return np.take_along_axis(value, index, axis=0)
