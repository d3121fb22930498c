"""Drawn rows that meet a constraint: rows are drawn until enough of them do."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from vaekit.errors import QueryError
from vaekit.fields.constraint import Constraint

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["accepted"]

_PIECE, _LARGEST = 256, 16_384  # rows of the first try, and of the largest
_TRIES, _LEAST = 500, 50_000  # rows drawn for each that is wanted, and in any case, before giving up


def accepted(draw: Callable[..., pa.Table], n: int, where: str | None) -> pa.Table:
    """The first n of an endless table of drawn rows that meet a constraint: draws from p(row | constraint).

    Args:
        draw: Draws so many rows, from row ``first`` on.
        n: How many are wanted.
        where: The constraint; without one these are the first n rows.

    Returns:
        n rows.

    Raises:
        ConfigError: If the constraint cannot be read.
        ContractError: If it names a column that is not drawn, or compares one with what it does not hold.
        QueryError: If too few rows meet it.
    """
    if where is None:
        return draw(n)
    import pyarrow as pa

    constraint = Constraint.parse(where)
    found = [draw(0)]
    constraint.holds(found[0])  # names and types are wrong at once, or never
    have, at, size = 0, 0, max(_PIECE, n)
    while have < n:
        if at >= max(_LEAST, _TRIES * n):
            raise QueryError(
                f"only {have:,} of {at:,} drawn rows meet {where!r}; ask for fewer, for more likely rows, or hold a "
                "field at a value (given=, --given)"
            )
        rows = draw(size, first=at)
        kept = rows.filter(pa.array(constraint.holds(rows)))
        found.append(kept)
        have, at = have + kept.num_rows, at + size
        rate = max(have, 1) / at
        size = int(np.clip(1.1 * (n - have) / rate, _PIECE, _LARGEST))
    return pa.concat_tables(found).slice(0, n).combine_chunks()
