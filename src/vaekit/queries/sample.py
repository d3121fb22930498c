"""`sample`: new rows, free or given some of their fields."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from vaekit.arrays import Array, Block, generator, take
from vaekit.errors import ConfigError
from vaekit.queries.base import model_specs, observed_shares, register
from vaekit.queries.decoding import decode, draw_values
from vaekit.queries.posterior import resampled
from vaekit.queries.tables import gathered

if TYPE_CHECKING:
    import pyarrow as pa

    from vaekit.runtime.engine import Engine

__all__ = ["sample"]

_PROPOSALS = 1024


@register
def sample(
    engine: Engine, n: int, *, given: Mapping[str, Any] | None = None, temperature: float = 1.0, seed: int = 0
) -> pa.Table:
    """Draw rows from the model: z from the prior, then every field from its likelihood.

    Fields that are `given` are held fixed. A given condition field conditions the model; a given model field
    conditions the draw by importance resampling, so the other fields follow p(others | given).

    Args:
        engine: The model.
        n: Number of rows.
        given: Field name to the one value that all rows take. Condition fields must be given.
        temperature: Scales the prior's noise; below 1 draws more typical rows. Only without given model fields.
        seed: The seed; the same seed gives the same rows on every backend.

    Returns:
        The model fields (and given fields) in their own column types, n rows.

    Raises:
        ConfigError: If n, temperature or given make no sense, or a condition field is not given.
        ContractError: If a given value does not fit its field.
    """
    import pyarrow as pa

    given = dict(given or {})
    if not isinstance(n, int | np.integer) or isinstance(n, bool) or n < 0:
        raise ConfigError(f"n must be a whole number of rows, got {n!r}")
    if not 0.0 < temperature < np.inf:
        raise ConfigError(f"temperature must be a number above 0, got {temperature}")
    _check_given(engine, given, temperature)
    fixed = pa.table({name: engine.contract.column(name, [value]) for name, value in given.items()})
    row = engine.encode(fixed, partial=True) if given else engine.contract.missing(1)
    conditional = _check_known(engine, given, row)
    parts: list[dict[str, Array]] = []
    for start, rows in enumerate(_batches(n, _PROPOSALS) if conditional else engine.chunks(n, 1)):
        size = rows.stop - rows.start
        drawn = _conditional(engine, row, size, seed, start) if conditional else None
        parts.append(drawn or _free(engine, row, size, seed, start, temperature))
    table = engine.contract.decode(gathered(engine, parts))
    for name in given:
        column = pa.concat_arrays([fixed[name].combine_chunks()] * n) if n else fixed[name].slice(0, 0)
        at = table.column_names.index(name) if name in table.column_names else table.num_columns
        table = (table.drop_columns(name) if at < table.num_columns else table).add_column(at, name, column)
    return table


def _batches(rows: int, size: int) -> Iterator[slice]:
    """Conditional draws share their proposals, so each batch gets fresh ones, as many as it has draws."""
    for start in range(0, rows, size):
        yield slice(start, min(rows, start + size))


def _check_given(engine: Engine, given: Mapping[str, Any], temperature: float) -> None:
    model, condition = engine.contract.names("model"), engine.contract.names("condition")
    if unknown := sorted(set(given) - set(model) - set(condition)):
        raise ConfigError(
            f"given names {unknown}, which are not fields of the model; it has: {', '.join(model + condition)}"
        )
    if absent := [name for name in condition if name not in given]:
        raise ConfigError(
            f"condition fields must be given: {', '.join(absent)}; give each a value (given=, or --given NAME=VALUE)"
        )
    if temperature != 1.0 and set(given) & set(model):
        raise ConfigError("temperature scales the prior and does not apply to draws given model fields; leave it at 1")


def _check_known(engine: Engine, given: Mapping[str, Any], row: dict[str, Block]) -> bool:
    """Whether model fields are given; a missing value can be given for a condition only."""
    known = observed_shares(engine, row)
    if empty := [name for name in known if name in given and (known[name] < 1).any()]:
        raise ConfigError(f"given needs a value for {', '.join(empty)}; leave a field out to have it drawn")
    return any(name in given for name in known)


def _free(
    engine: Engine, row: dict[str, Block], size: int, seed: int, chunk: int, temperature: float
) -> dict[str, Array]:
    """Rows from the prior."""
    rows = take(row, np.zeros(size, np.int64))
    own = int(generator(seed, "sample", chunk).integers(2**62))
    found = engine.backend.run("prior", engine.inputs(rows) | engine.prior_noise(own, 1, size, temperature))
    z = {name.removeprefix("z."): value for name, value in found.items()}
    values = draw_values(engine, decode(engine, z, rows), seed, "sample", chunk)
    return {name: value[0] for name, value in values.items()}


def _conditional(engine: Engine, row: dict[str, Block], size: int, seed: int, chunk: int) -> dict[str, Array]:
    """Rows from the posterior given the observed cells of one row."""
    blocks = [spec.name for spec in model_specs(engine)]
    params = resampled(engine, row, blocks, samples=_PROPOSALS, draws=size, seed=seed, rows=np.array([chunk]))
    values = draw_values(engine, params, seed, "sample", chunk)
    return {name: np.broadcast_to(v, (size, *v.shape[1:]))[:, 0] for name, v in values.items()}
