"""`interpolate` and `traverse`: rows along paths through the latent space."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vaekit.arrays import Array, Blocks, take
from vaekit.errors import ConfigError, QueryError
from vaekit.queries.base import count, positive, register
from vaekit.queries.decoding import decode, point_values
from vaekit.queries.embed import centre
from vaekit.queries.tables import gathered

if TYPE_CHECKING:
    import pyarrow as pa

    from vaekit.runtime.engine import Engine

__all__ = ["centres", "decoded", "interpolate", "traverse"]


@register
def interpolate(engine: Engine, a: Any, b: Any, *, steps: int = 8, path: str = "linear") -> pa.Table:
    """Rows on the way from the rows of one table to those of another, through the latent space.

    Args:
        engine: The model.
        a: Rows to start from, B of them; they give the condition fields as well.
        b: Rows to arrive at, as many.
        steps: Points on each path, the two ends included.
        path: ``linear``, or ``spherical`` (constant speed along a great circle, norms interpolated), which keeps to
            where a standard normal prior has its mass in many dimensions.

    Returns:
        Columns ``pair`` and ``step``, then the model fields; B · steps rows.

    Raises:
        ConfigError: If steps is below 2 or the path is unknown.
        QueryError: If the tables differ in their number of rows.
        ContractError: If the rows do not fit the contract.

    References:
        White, Sampling Generative Networks, 2016, section 2.1 (spherical interpolation).
    """
    positive(steps=steps)
    if steps < 2 or path not in ("linear", "spherical"):
        raise ConfigError(f"need steps >= 2 and path linear or spherical, got steps={steps}, path={path!r}")
    first, second = engine.encode(engine.contract.table(a)), engine.encode(engine.contract.table(b))
    if count(first) != count(second):
        raise QueryError(f"both tables need the same number of rows, got {count(first)} and {count(second)}")
    share = np.linspace(0.0, 1.0, steps)[:, None, None]
    ends = zip(centres(engine, first).items(), centres(engine, second).values(), strict=True)
    walk = {name: (_slerp if path == "spherical" else _lerp)(here, there, share) for (name, here), there in ends}
    pair, step = (part.ravel() for part in np.mgrid[: count(first), :steps])
    return decoded(engine, walk, first, {"pair": pair, "step": step})


@register
def traverse(engine: Engine, dim: int, *, at: Any = None, steps: int = 9, reach: float = 3.0) -> pa.Table:
    """What one latent dimension means: rows decoded while it moves from -reach to +reach and all others stay.

    Args:
        engine: The model.
        dim: The dimension, counted over all latent groups side by side, as `embed` gives them.
        at: Rows to start from; the centre of the prior if not given. Models with condition fields need rows.
        steps: Points on each path.
        reach: Largest absolute value of the dimension, in units of the prior.

    Returns:
        Columns ``row``, ``step`` and ``z``, then the model fields.

    Raises:
        ConfigError: If dim, steps or reach make no sense, or rows are needed and not given.
        ContractError: If the rows do not fit the contract.
    """
    positive(steps=steps)
    width = sum(engine.architecture.groups.values())
    if not (isinstance(dim, int | np.integer) and 0 <= dim < width) or not reach > 0:
        raise ConfigError(f"dim is a whole number from 0 to {width - 1} and reach is above 0, got {dim!r} and {reach}")
    if at is None and engine.contract.names("condition"):
        raise ConfigError("a model with condition fields needs rows to start from; pass them as at=")
    blocks = engine.contract.missing(1) if at is None else engine.encode(engine.contract.table(at))
    start = _prior_centre(engine, blocks) if at is None else centres(engine, blocks)
    values = np.linspace(-reach, reach, steps, dtype=np.float32)
    walk, offset = {}, 0
    for name, z in start.items():
        path = np.repeat(z[None], steps, axis=0)  # shape: (steps, B, L)
        if offset <= dim < offset + z.shape[-1]:
            path[:, :, dim - offset] = values[:, None]
        walk[name], offset = path, offset + z.shape[-1]
    row, step = (part.ravel() for part in np.mgrid[: count(blocks), :steps])
    return decoded(engine, walk, blocks, {"row": row, "step": step, "z": values[step]})


def centres(engine: Engine, blocks: Blocks) -> dict[str, Array]:
    """Posterior centres of all rows: group name to z, shape (B, L)."""
    parts = [centre(engine, take(blocks, rows)) for rows in engine.chunks(count(blocks), 1)]
    groups = engine.architecture.groups.items()
    none = {name: np.zeros((1, 0, size), np.float32) for name, size in groups}
    return {name: np.concatenate([none[name], *(part[name] for part in parts)], axis=1)[0] for name in none}


def _prior_centre(engine: Engine, blocks: Blocks) -> dict[str, Array]:
    found = engine.backend.run("prior", engine.inputs(blocks) | engine.still(count(blocks), prior=True))
    return {name.removeprefix("z."): value[0] for name, value in found.items()}


def decoded(engine: Engine, walk: dict[str, Array], blocks: Blocks, named: dict[str, Array]) -> pa.Table:
    """Points (steps, B, L) decoded, row after row of the table and step after step, beside named columns."""
    import pyarrow as pa

    parts = []
    steps, rows = next(iter(walk.values())).shape[:2]
    for chunk in engine.chunks(rows, steps):
        z = {name: value[:, chunk] for name, value in walk.items()}
        found = point_values(engine, decode(engine, z, take(blocks, chunk)))
        parts.append({n: np.moveaxis(v, 0, 1).reshape(-1, *v.shape[2:]) for n, v in found.items()})
    table = engine.contract.decode(gathered(engine, parts))
    taken = [name for name in named if name in table.column_names]
    if taken:
        raise QueryError(f"the answer adds columns that are fields of the model: {', '.join(taken)}")
    columns = [pa.array(value) for value in named.values()]
    return pa.table([*columns, *table.columns], names=[*named, *table.column_names])


def _lerp(here: Array, there: Array, share: Array) -> Array:
    walk: Array = (here + share * (there - here)).astype(np.float32)
    return walk


def _slerp(here: Array, there: Array, share: Array) -> Array:
    """Along the great circle between the directions, with the norm interpolated."""
    norms = [np.linalg.norm(end, axis=-1, keepdims=True) for end in (here, there)]
    one, other = (end / np.maximum(norm, 1e-12) for end, norm in zip((here, there), norms, strict=True))
    angle = np.arccos(np.clip((one * other).sum(-1, keepdims=True), -1.0, 1.0))
    sine = np.sin(angle)
    direction = (np.sin((1 - share) * angle) * one + np.sin(share * angle) * other) / np.maximum(sine, 1e-12)
    length = (1 - share) * norms[0] + share * norms[1]
    walk: Array = np.where(sine < 1e-4, _lerp(here, there, share), length * direction).astype(np.float32)
    return walk
