"""`sample`: new rows, free or given some of their fields."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from vaekit.arrays import Array, Block, Blocks, BlockSpec, Noise, Streams, generator, take, tempered, truncated
from vaekit.errors import ConfigError
from vaekit.queries.base import count, model_specs, observed_shares, register
from vaekit.queries.decoding import decode, draw_values, of_rows
from vaekit.queries.posterior import resampled
from vaekit.queries.tables import gathered

if TYPE_CHECKING:
    import pyarrow as pa

    from vaekit.runtime.engine import Engine

__all__ = ["sample", "sampled_like"]

GROUP = 4096  # neighbouring rows whose noise comes from one stream
_PROPOSALS = 1024  # given model fields: neighbouring rows that share their proposals


@register
def sample(
    engine: Engine,
    n: int,
    *,
    given: Mapping[str, Any] | None = None,
    temperature: float = 1.0,
    truncation: float | None = None,
    seed: int = 0,
    first: int = 0,
) -> pa.Table:
    """Draw rows from the model: z from the prior, then every field from its likelihood.

    A seed stands for an endless table, of which n rows are drawn from row `first` on: the same row has the same values
    in every call. Fields that are `given` are held fixed. A given condition field conditions the model; a given model
    field conditions the draw by importance resampling, so the other fields follow p(others | given).

    Args:
        engine: The model.
        n: Number of rows.
        given: Field name to the one value that all rows take. Condition fields must be given.
        temperature: Scales the prior's noise; below 1 draws more typical rows. Only without given model fields.
        truncation: Keeps the prior's normal noise within so many standard deviations: no row from its tails. Only
            without given model fields.
        seed: The seed; the same seed gives the same rows on every backend.
        first: Number of the first row.

    Returns:
        The model fields (and given fields) in their own column types, n rows.

    Raises:
        ConfigError: If n, first, temperature, truncation or given make no sense, or a condition field is not given.
        ContractError: If a given value does not fit its field.
    """
    import pyarrow as pa

    given = dict(given or {})
    for name, number in (("n", n), ("first", first)):
        if not isinstance(number, int | np.integer) or isinstance(number, bool) or number < 0:
            raise ConfigError(f"{name} must be a whole number of rows, got {number!r}")
    if not 0.0 < temperature < np.inf:
        raise ConfigError(f"temperature must be a number above 0, got {temperature}")
    if truncation is not None:
        _check_truncation(engine, truncation)
    _check_given(engine, given, temperature, truncation)
    fixed = pa.table({name: engine.contract.column(name, [value]) for name, value in given.items()})
    row = engine.contract.encode(fixed, partial=True) if given else engine.contract.missing(1)
    conditional = _check_known(engine, given, row)
    if conditional:
        drawn = _conditional(engine, row, first, n, seed)
    else:
        drawn = _free(engine, row, first, n, seed, temperature, truncation)
    parts = [engine.contract.decode(values) for values in drawn]
    table = pa.concat_tables(parts or [engine.contract.decode(gathered(engine, []))]).combine_chunks()
    for name in given:
        column = fixed[name].combine_chunks().take(pa.array(np.zeros(n, np.int32)))
        at = table.column_names.index(name) if name in table.column_names else table.num_columns
        table = (table.drop_columns(name) if at < table.num_columns else table).add_column(at, name, column)
    return table


def _groups(first: int, rows: int, size: int) -> Iterator[tuple[int, slice]]:
    """The groups of `size` rows that hold some of the rows wanted: number of each, and which of its rows they are."""
    at, end = first, first + rows
    while at < end:
        group, start = divmod(at, size)
        stop = min(size, start + end - at)
        yield group, slice(start, stop)
        at += stop - start


def _check_truncation(engine: Engine, truncation: float) -> None:
    if not 0.0 < truncation < np.inf:
        raise ConfigError(f"truncation is a number of standard deviations above 0, got {truncation}")
    if not any(noise.kind == "normal" for noise in engine.architecture.noise_of_prior.values()):
        raise ConfigError("truncation keeps normal noise within bounds; the prior of this model is drawn without any")


def _check_given(engine: Engine, given: Mapping[str, Any], temperature: float, truncation: float | None) -> None:
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
    if truncation is not None and set(given) & set(model):
        raise ConfigError("truncation cuts the prior and does not apply to draws given model fields; leave it out")


def _check_known(engine: Engine, given: Mapping[str, Any], row: dict[str, Block]) -> bool:
    """Whether model fields are given; a missing value can be given for a condition only."""
    known = observed_shares(engine, row)
    if empty := [name for name in known if name in given and (known[name] < 1).any()]:
        raise ConfigError(f"given needs a value for {', '.join(empty)}; leave a field out to have it drawn")
    return any(name in given for name in known)


def _free(
    engine: Engine, row: Blocks, first: int, n: int, seed: int, temperature: float, truncation: float | None
) -> Iterator[dict[str, Array]]:
    """Rows from the prior, piece by piece: encoded values by block."""
    condition = {spec.name: row[spec.name] for spec in engine.architecture.blocks if spec.role == "condition"}
    uniform = {spec.name: Noise("uniform", spec.shape) for spec in model_specs(engine)}
    spec = engine.architecture.noise_of_prior
    for group, rows in _groups(first, n, GROUP):
        streams = Streams(seed, "sample", group)
        for piece in engine.chunks(rows.stop, 1):  # noise comes in order, so that of the rows before is drawn as well
            size, before = piece.stop - piece.start, max(0, rows.start - piece.start)
            drawn = {name: streams.draw(name, one, 1, size) for name, one in spec.items()}
            chance = {name: streams.draw(f"x.{name}", one, 1, size)[:, before:] for name, one in uniform.items()}
            if before >= size:
                continue
            here = take(condition, np.zeros(size - before, np.int64))
            drawn = drawn if truncation is None else truncated(spec, drawn, truncation)
            noise = {f"noise.{name}": value[:, before:] for name, value in tempered(spec, drawn, temperature).items()}
            found = engine.backend.run("prior", engine.inputs(here) | noise)
            z = {name.removeprefix("z."): value for name, value in found.items()}
            values = draw_values(engine, decode(engine, z, here), partial(_chance, chance))
            yield {name: value[0] for name, value in values.items()}


def _chance(uniform: Mapping[str, Array], spec: BlockSpec, _: object) -> Array:
    """The uniform noise of a block."""
    return uniform[spec.name]


def _conditional(engine: Engine, row: Blocks, first: int, n: int, seed: int) -> Iterator[dict[str, Array]]:
    """Rows from the posterior given the observed cells of one row, piece by piece; each piece has fresh proposals."""
    blocks = [spec.name for spec in model_specs(engine)]
    for group, rows in _groups(first, n, _PROPOSALS):
        at = np.array([group])
        params = resampled(engine, row, blocks, samples=_PROPOSALS, draws=_PROPOSALS, seed=seed, rows=at)
        values = draw_values(engine, params, of_rows(seed, at, "sample"))
        yield {name: value[rows, 0] for name, value in values.items()}


def sampled_like(engine: Engine, table: pa.Table, rows: int, seed: int = 0) -> pa.Table:
    """New rows, with condition fields as in rows of a table taken in turn, so that both can be compared.

    Args:
        engine: The model.
        table: Real rows, not none.
        rows: How many to draw.
        seed: The seed.

    Returns:
        The model fields, `rows` rows.
    """
    if not engine.contract.names("condition"):
        return sample(engine, rows, seed=seed)
    blocks = take(engine.encode(table), np.arange(rows) % table.num_rows)
    parts = []
    for chunk in engine.chunks(count(blocks), 1):
        part = take(blocks, chunk)
        own = int(generator(seed, "sampled like", chunk.start).integers(2**62))
        found = engine.backend.run("prior", engine.inputs(part) | engine.noise(own, 1, count(part), prior=True))
        z = {name.removeprefix("z."): value for name, value in found.items()}
        values = draw_values(
            engine, decode(engine, z, part), of_rows(seed, np.arange(chunk.start, chunk.stop), "sampled like")
        )
        parts.append({name: value[0] for name, value in values.items()})
    return engine.contract.decode(gathered(engine, parts))
