"""From latent draws to likelihood parameters to encoded values, shared by every query that generates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from vaekit.arrays import Array, Blocks, Noise, draw_rows, generator, open_uniform
from vaekit.fields.families import FAMILIES
from vaekit.queries.base import model_specs

if TYPE_CHECKING:
    from vaekit.runtime.engine import Engine

__all__ = ["decode", "draw_values", "point_values"]

Params = dict[str, dict[str, Array]]


def decode(engine: Engine, z: Mapping[str, Array], blocks: Blocks) -> Params:
    """Likelihood parameters per block given latent groups (K, B, L) and condition blocks."""
    inputs = engine.inputs(blocks) | {f"z.{name}": value for name, value in z.items()}
    found = engine.backend.run("decode", inputs)
    params: Params = {spec.name: {} for spec in model_specs(engine)}
    for name, value in found.items():
        block, _, param = name.removeprefix("params.").rpartition(".")
        params[block][param] = value
    return params


def draw_values(
    engine: Engine, params: Params, seed: int, *stream: str | int, rows: Array | None = None
) -> dict[str, Array]:
    """One draw of encoded values from the likelihood of each block given, by the quantile function of uniform noise.

    With the numbers of the rows, the noise of a row is its own, whatever other rows there are.
    """
    values: dict[str, Array] = {}
    for spec in (spec for spec in model_specs(engine) if spec.name in params):
        lead = np.broadcast_shapes(*(value.shape[:2] for value in params[spec.name].values()))
        if rows is None:
            uniform = open_uniform(generator(seed, "x", spec.name, *stream), (*lead, *spec.shape))
        else:
            noise = Noise("uniform", (lead[0], *spec.shape))
            uniform = np.moveaxis(draw_rows(noise, seed, rows, "x", spec.name, *stream), 0, 1)
        values[spec.name] = FAMILIES[spec.likelihood].ppf(params[spec.name], uniform, spec)
    return values


def point_values(engine: Engine, params: Params) -> dict[str, Array]:
    """The point prediction of every block: medians, most probable categories."""
    return {spec.name: FAMILIES[spec.likelihood].point(params[spec.name], spec) for spec in model_specs(engine)}
