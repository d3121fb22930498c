"""How far a model can be trusted on rows it has not seen: false alarms, intervals for hidden cells, sampled rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vaekit.arrays import Array, generator
from vaekit.queries.base import query
from vaekit.report.columns import look

if TYPE_CHECKING:
    import pyarrow as pa

    from vaekit.runtime.engine import Engine

__all__ = ["LEVELS", "Alarm", "Coverage", "coverage", "false_alarms", "hidden"]

LEVELS = (0.5, 0.8, 0.9, 0.95)
_DRAWS = 39  # with the hidden value itself 40 places: every level of LEVELS is a whole number of them
_MOST_ROWS, _CELLS = 1_000, 2_000_000
_HIDDEN = 0.2  # of the cells of a row
_RATES = (0.01, 0.02, 0.05, 0.1, 0.2)


@dataclass(frozen=True)
class Alarm:
    """A promised rate of false alarms and what came of it.

    Args:
        promised: The rate alpha.
        realised: Share of rows with a p-value of at most alpha.
        se: Standard error of that share if the promise holds, over draws of rows and of calibration rows.
    """

    promised: float
    realised: float
    se: float


@dataclass(frozen=True)
class Coverage:
    """How often central predictive intervals held a hidden cell.

    Args:
        cells: Number of hidden cells.
        shares: Level to the share of cells inside.
    """

    cells: int
    shares: dict[float, float]


def false_alarms(p_values: Array, calibration: int) -> list[Alarm]:
    """Promised against realised false-alarm rates, for the rates that the calibration rows can support.

    Args:
        p_values: Conformal p-values of rows that were not used for calibration, shape (B,).
        calibration: Number of calibration rows.

    Example:
        >>> [(one.promised, one.realised) for one in false_alarms(np.arange(1, 101) / 100, 20)]
        [(0.05, 0.05), (0.1, 0.1), (0.2, 0.2)]
    """
    rates = [rate for rate in _RATES if rate * (calibration + 1) >= 1.0]
    spread = 1.0 / max(len(p_values), 1) + 1.0 / calibration if calibration else 0.0
    return [Alarm(a, float((p_values <= a + 1e-12).mean()), float(np.sqrt(a * (1 - a) * spread))) for a in rates]


def coverage(engine: Engine, table: pa.Table, names: Sequence[str], seed: int = 0) -> dict[str, Coverage]:
    """Hide a fifth of the cells of each row, predict them from the others, and count which intervals hold the truth.

    With 39 draws from p(hidden | seen), the hidden value has one of 40 ranks among them, equal values at random. If the
    predictive distribution is right all ranks are equally probable, so intervals between draws have their level.

    Args:
        engine: The model.
        table: Held-out rows; some of them are used.
        names: Fields to hide; those that are no numbers are passed over.
        seed: Seed of the choice and the draws.

    Returns:
        Field name to coverage, for number-like fields with at least one hidden cell.

    References:
        Gneiting & Raftery, Strictly proper scoring rules, prediction, and estimation, JASA 2007, section 6.
    """
    used = [*engine.contract.names("model"), *engine.contract.names("condition")]
    rng = generator(seed, "coverage")
    most = max(1, min(_MOST_ROWS, table.num_rows, _CELLS // (_DRAWS * len(used))))
    part = table.select(used).take(np.sort(rng.choice(table.num_rows, most, replace=False)))
    real = {name: look(engine.contract[name], part[name]) for name in names}
    truth = {name: seen.real for name, seen in real.items() if seen is not None and seen.shape in ("number", "time")}
    if not truth:
        return {}
    each = max(1, round(_HIDDEN * len(truth)))
    chosen = rng.random((most, len(truth))).argsort(1) < each
    masks = dict(zip(truth, chosen.T, strict=True))
    drawn = query(engine, "impute", hidden(part, masks), draws=_DRAWS, seed=seed)
    found: dict[str, Coverage] = {}
    for name, mask in masks.items():
        asked = mask & np.isfinite(truth[name])
        if not asked.any():
            continue
        seen = look(engine.contract[name], drawn[name])
        if seen is None:
            continue
        draws, value = seen.real.reshape(_DRAWS, most)[:, asked], truth[name][asked]
        less, equal = (draws < value).sum(0), (draws == value).sum(0)
        rank = less + rng.integers(0, equal + 1)
        shares = {level: float(_inside(rank, level).mean()) for level in LEVELS}
        found[name] = Coverage(int(asked.sum()), shares)
    return found


def _inside(rank: Array, level: float) -> Array:
    out = round((1.0 - level) / 2.0 * (_DRAWS + 1))
    inside: Array = (rank >= out) & (rank <= _DRAWS - out)
    return inside


def hidden(table: pa.Table, masks: dict[str, Array]) -> pa.Table:
    """The table with cells made missing where the mask of their column says so."""
    import pyarrow as pa
    import pyarrow.compute as pc

    for name, mask in masks.items():
        column = table[name].combine_chunks()
        if pa.types.is_dictionary(column.type):
            codes = pc.if_else(pa.array(mask), pa.scalar(None, column.type.index_type), column.indices)
            column = pa.DictionaryArray.from_arrays(codes, column.dictionary, ordered=column.type.ordered)
        elif isinstance(column.type, pa.BaseExtensionType):  # which cannot be chosen between
            column = column.take(pa.array(np.arange(len(column)), mask=mask))
        else:
            column = pc.if_else(pa.array(mask), pa.scalar(None, column.type), column)
        table = table.set_column(table.schema.get_field_index(name), name, column)
    return table
