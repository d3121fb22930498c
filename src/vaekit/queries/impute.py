"""`impute`: missing cells filled, with their uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vaekit.arrays import Array, Block, Blocks, take
from vaekit.errors import ConfigError
from vaekit.queries.base import count, observed_shares, positive, register
from vaekit.queries.decoding import draw_values, of_rows
from vaekit.queries.filling import Filling
from vaekit.queries.posterior import resampled

if TYPE_CHECKING:
    import pyarrow as pa

    from vaekit.runtime.engine import Engine

__all__ = ["impute", "predict"]

_PREDICTIVE = 200  # draws behind a point estimate and an interval


@register
def impute(
    engine: Engine,
    table: Any,
    *,
    draws: int = 1,
    interval: float | None = None,
    samples: int = 64,
    seed: int = 0,
    positions: Sequence[int] | None = None,
) -> pa.Table:
    """Fill the missing cells of model fields from p(missing | observed).

    With one draw (the default) a cell gets its point estimate: the posterior mean of a number, the median of a
    count, the most probable category. With more draws the table comes back once per draw, each cell filled with an
    independent draw, for multiple imputation.

    Args:
        engine: The model.
        table: Rows, B of them; absent model columns count as missing everywhere.
        draws: Number of completed tables; above 1 a column ``draw`` tells them apart.
        interval: With one draw, for example 0.9: add ``<field>.low`` and ``<field>.high`` for numbers and counts, and
            ``<field>.probability`` of the filled category; null where the cell was observed. Vectors have none.
        samples: Importance samples K around the amortised posterior.
        seed: The seed. Noise belongs to the position of a row, so rows are independent of each other, and a row gets
            the same answer whatever other rows have holes.
        positions: Position of each row, where the table is a part of a larger one, or made of several; 0, 1, 2, … if
            not given.

    Returns:
        The table with model fields complete, other columns as they came.

    Raises:
        ConfigError: If draws, samples, interval or positions make no sense, or the table already has a column that
            would be added.
        ContractError: If the rows do not fit the contract.

    References:
        Mattei & Frellsen, MIWAE, 2019, section 3. Rubin, Multiple Imputation, 1987, chapter 3 (combining draws).
    """
    positive(draws=draws, samples=samples)
    if interval is not None and (draws != 1 or not 0.0 < interval < 1.0):
        raise ConfigError(
            f"interval is a coverage between 0 and 1 and needs draws=1, got interval={interval}, draws={draws}"
        )
    data = engine.contract.table(table)
    blocks = engine.encode(data, partial=True)
    wanted = np.flatnonzero(_incomplete(engine, blocks))
    filling = Filling(engine, data, wanted, blocks, draws, interval)
    predict(engine, blocks, filling, samples=samples, seed=seed, positions=positions)
    return filling.table()


def predict(
    engine: Engine,
    blocks: Blocks,
    filling: Filling,
    *,
    samples: int,
    seed: int,
    positions: Sequence[int] | None = None,
) -> None:
    """Draw from p(wanted | observed cells) chunk by chunk, and hand the draws to a `Filling`.

    Args:
        engine: The engine.
        blocks: Encoded rows; their observed cells are conditioned on.
        filling: Says which rows and blocks are wanted, and collects the draws.
        samples: Importance samples K.
        seed: The seed.
        positions: Position of each row; 0, 1, 2, … if not given.

    Raises:
        ConfigError: If positions does not have one for each row.
    """
    places = np.arange(count(blocks)) if positions is None else np.asarray(positions, np.int64)
    if places.shape != (count(blocks),):
        raise ConfigError(f"positions has one whole number for each of {count(blocks)} rows, got {places.size}")
    draws = filling.draws if filling.draws > 1 else _PREDICTIVE
    for chunk in engine.chunks(len(filling.wanted), max(samples, draws)):
        rows = filling.wanted[chunk]
        part = take(blocks, rows)
        at = places[rows]
        params = resampled(engine, part, filling.blocks, samples=samples, draws=draws, seed=seed, rows=at)
        filling.add(draw_values(engine, params, of_rows(seed, at, "impute")))


def _incomplete(engine: Engine, blocks: dict[str, Block]) -> Array:
    """Rows with at least one missing model cell, shape (B,)."""
    incomplete: Array = np.any([share < 1.0 for share in observed_shares(engine, blocks).values()], axis=0)
    return incomplete
