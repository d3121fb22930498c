"""The registry of queries, and what they share: importance weights, field names, tables out."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from vaekit.arrays import Array, Blocks, BlockSpec, generator, take
from vaekit.errors import BundleError, ConfigError, QueryError
from vaekit.queries.conformal import shared_draw
from vaekit.runtime.watching import Weighed

if TYPE_CHECKING:
    import pyarrow as pa

    from vaekit.runtime.engine import Engine

__all__ = [
    "QUERIES",
    "Attributes",
    "Labelled",
    "Query",
    "count",
    "model_specs",
    "observed_shares",
    "positive",
    "query",
    "register",
    "weigh",
]

Query = Callable[..., "pa.Table"]
Labelled: TypeAlias = Any  # rows with columns beyond the fields, which a query reads: hosts pass them on
Attributes: TypeAlias = Mapping[str, Any]  # values of fields, and of such columns
QUERIES: dict[str, Query] = {}


def register(function: Query) -> Query:
    """Make a function known to every host under its own name."""
    QUERIES[function.__name__] = function
    return function


def query(engine: Engine, name: str, *args: Any, **options: Any) -> pa.Table:
    """Run a query by name: what every host calls.

    Args:
        engine: The engine.
        name: Name of the query.
        args: Its table, where it takes one.
        options: Its options.

    Returns:
        The answer, an Arrow table.

    Raises:
        QueryError: If there is no such query, or it has no such option.
        BundleError: If the bundle lacks a graph that the query needs.
    """
    if name not in QUERIES:
        raise QueryError(f"unknown query {name!r}; this release answers: {', '.join(sorted(QUERIES))}")
    _bound(QUERIES[name], len(args), tuple(options))
    try:
        return QUERIES[name](engine, *args, **options)
    except BundleError as error:
        raise type(error)(f"query {name!r} cannot be answered: {error}") from error


@functools.lru_cache(maxsize=1024)
def _bound(function: Query, args: int, options: tuple[str, ...]) -> None:
    """Check that a query takes so many arguments beside the engine, and options of such names."""
    signature = inspect.signature(function)
    try:
        signature.bind(*range(args + 1), **dict.fromkeys(options))
    except TypeError as error:
        takes = ", ".join(list(signature.parameters)[1:])
        raise QueryError(f"query {function.__name__!r} takes {takes}; {error}") from error


def positive(**options: int) -> None:
    """Check options that count something.

    Raises:
        ConfigError: If one is below 1.
    """
    for name, value in options.items():
        if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 1:
            raise ConfigError(f"{name} must be a whole number of at least 1, got {value!r}")


def model_specs(engine: Engine) -> list[BlockSpec]:
    """The blocks that have a likelihood."""
    return [spec for spec in engine.architecture.blocks if spec.role == "model"]


def observed_shares(engine: Engine, blocks: Blocks) -> dict[str, Array]:
    """Which share of each model field's cell was observed: 0 or 1, in between for vectors; shape (B,) per field."""
    found: dict[str, Array] = {}
    for spec in model_specs(engine):
        observed = np.asarray(blocks[spec.name].observed)
        share = observed.mean(tuple(range(2, observed.ndim)))  # shape: (B, F)
        found |= dict(zip(spec.fields, share.T, strict=True))
    return found


def weigh(engine: Engine, blocks: Blocks, samples: int, seed: int, *, shared: bool = True) -> Iterator[Weighed]:
    """Score rows chunk by chunk, by default with one fixed draw of noise shared by all rows.

    Args:
        engine: The engine.
        blocks: Encoded rows.
        samples: Importance samples K.
        seed: Seed of the draw.
        shared: One draw for all rows, so that the answer of a row does not depend on the others. For a mean over rows a
            draw for each row is far more accurate, since its errors average out.

    Yields:
        One `Weighed` per chunk.
    """
    one: dict[str, Array] = {}
    for rows in engine.chunks(count(blocks), samples):
        inputs = engine.inputs(take(blocks, rows))
        size = rows.stop - rows.start
        if not shared:
            own = int(generator(seed, "weigh", rows.start).integers(2**62))
            noise = engine.noise(own, samples, size)
        else:  # drawn for the first chunk, which is the largest
            one = one or {n: np.ascontiguousarray(v) for n, v in shared_draw(engine, samples, seed, size).items()}
            noise = {name: value[:, :size] for name, value in one.items()}
        parts = [
            engine.backend.run("score", inputs | {name: value[some] for name, value in noise.items()})
            for some in engine.pieces(samples)
        ]
        found = parts[0] if len(parts) == 1 else {n: np.concatenate([part[n] for part in parts]) for n in parts[0]}
        log_px = {name.removeprefix("log_px."): v for name, v in found.items() if name.startswith("log_px.")}
        log_weight = found["log_ratio"].astype(np.float64)
        for value in log_px.values():
            log_weight += np.einsum("kbf->kb", value, dtype=np.float64)
        part = Weighed(rows, log_weight, found["log_ratio"], log_px, seed if shared else None)
        if engine.watcher is not None:
            engine.watcher.weighed(blocks, part)
        yield part


def count(blocks: Blocks) -> int:
    """Number of rows of some blocks."""
    return len(next(iter(blocks.values())))
