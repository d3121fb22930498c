"""From latent draws to likelihood parameters to encoded values, shared by every query that generates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from vaekit.arrays import Array, Blocks, BlockSpec, Noise, draw_rows
from vaekit.fields.families import FAMILIES
from vaekit.queries.base import model_specs

if TYPE_CHECKING:
    from vaekit.runtime.engine import Engine

__all__ = ["Params", "Uniform", "decode", "draw_values", "of_rows", "point_values"]

Params = dict[str, dict[str, Array]]
Uniform = Callable[[BlockSpec, tuple[int, ...]], Array]
"""Gives uniform noise for the values of a block: shape (*lead, *spec.shape)."""


def decode(engine: Engine, z: Mapping[str, Array], blocks: Blocks) -> Params:
    """Likelihood parameters per block given latent groups (K, B, L) and condition blocks."""
    inputs = engine.inputs(blocks) | {f"z.{name}": value for name, value in z.items()}
    found = engine.backend.run("decode", inputs)
    params: Params = {spec.name: {} for spec in model_specs(engine)}
    for name, value in found.items():
        block, _, param = name.removeprefix("params.").rpartition(".")
        params[block][param] = value
    return params


def draw_values(engine: Engine, params: Params, uniform: Uniform) -> dict[str, Array]:
    """One draw of encoded values from the likelihood of each block given, by the quantile function of uniform noise."""
    values: dict[str, Array] = {}
    for spec in (spec for spec in model_specs(engine) if spec.name in params):
        lead = np.broadcast_shapes(*(value.shape[:2] for value in params[spec.name].values()))
        values[spec.name] = FAMILIES[spec.likelihood].ppf(params[spec.name], uniform(spec, lead), spec)
    return values


def of_rows(seed: int, rows: Array, *stream: str | int) -> Uniform:
    """Noise that belongs to the numbers of the rows (B,), whatever other rows there are."""

    def uniform(spec: BlockSpec, lead: tuple[int, ...]) -> Array:
        noise = Noise("uniform", (lead[0], *spec.shape))
        return np.moveaxis(draw_rows(noise, seed, rows, "x", spec.name, *stream), 0, 1)

    return uniform


def point_values(engine: Engine, params: Params) -> dict[str, Array]:
    """The point prediction of every block: medians, most probable categories."""
    return {spec.name: FAMILIES[spec.likelihood].point(params[spec.name], spec) for spec in model_specs(engine)}
