"""Real rows beside sampled ones: how alike single columns are, and how columns depend on each other in both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vaekit.arrays import Array, generator
from vaekit.metrics.association import association
from vaekit.report.columns import Seen, codes_of, look

if TYPE_CHECKING:
    import pyarrow as pa

    from vaekit.fields.contract import Contract

__all__ = ["Pairs", "pairs", "similarity", "views"]


@dataclass(frozen=True)
class Pairs:
    """Association of each pair of fields in real and in sampled rows.

    Args:
        names: Fields, F of them.
        real: Informational coefficient of correlation in real rows, shape (F, F).
        sampled: The same in as many sampled rows.
        difference: Mean absolute difference over pairs.
        floor: The same between two random halves of the real rows: what chance alone makes of it.
        rows: Rows on each side.
    """

    names: tuple[str, ...]
    real: Array
    sampled: Array
    difference: float
    floor: float
    rows: int


def views(contract: Contract, names: Sequence[str], real: pa.Table, sampled: pa.Table) -> list[Seen]:
    """The fields as pictures need them; fields without a picture are left out."""
    fields = (contract[name] for name in names)
    found = (look(one.name, one.kind, one.seen(real[one.name]), one.seen(sampled[one.name])) for one in fields)
    return [seen for seen in found if seen is not None]


def similarity(seen: Seen) -> float | None:
    """One minus the total variation distance between the bins of real and of sampled values; None without values.

    Example:
        >>> look_alike = Seen("x", "number", "number", np.arange(100.0), np.arange(100.0))
        >>> similarity(look_alike)
        1.0
    """
    real, sampled = codes_of(seen)
    size = int(max(real.max(initial=0), sampled.max(initial=0))) + 1
    first, second = (np.bincount(codes[codes >= 0], minlength=size) for codes in (real, sampled))
    if not first.sum() or not second.sum():
        return None
    return float(1.0 - 0.5 * np.abs(first / first.sum() - second / second.sum()).sum())


def pairs(seen: Sequence[Seen], seed: int = 0) -> Pairs | None:
    """How much each pair of fields depends on each other in real and in sampled rows; None below two fields or 20 rows.

    Args:
        seen: Fields with real and sampled rows.
        seed: Seed of the halves.
    """
    if len(seen) < 2:
        return None
    codes = [np.stack(side, 1) for side in zip(*(codes_of(one) for one in seen), strict=True)]
    rows = min(len(side) for side in codes)
    if rows < 20:
        return None
    real, sampled = (association(side[:rows]) for side in codes)
    order = generator(seed, "halves").permutation(rows)
    halves = [association(codes[0][order[part::2]]) for part in (0, 1)]
    names = tuple(one.name for one in seen)
    return Pairs(names, real, sampled, _apart(real, sampled), _apart(*halves), rows)


def _apart(first: Array, second: Array) -> float:
    return float(np.abs(first - second)[np.triu_indices(len(first), 1)].mean())
