"""`reconstruct`: each row as the model sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vaekit.arrays import Array, take
from vaekit.queries.base import count, register
from vaekit.queries.decoding import decode, point_values
from vaekit.queries.embed import centre
from vaekit.queries.tables import gathered

if TYPE_CHECKING:
    import pyarrow as pa

    from vaekit.runtime.engine import Engine

__all__ = ["reconstruct"]


@register
def reconstruct(engine: Engine, table: Any) -> pa.Table:
    """The point prediction of every model field at the posterior centre: medians, most probable categories.

    Args:
        engine: The model.
        table: Rows, B of them.

    Returns:
        The model fields in their own column types, none missing.

    Raises:
        ContractError: If the rows do not fit the contract.
    """
    blocks = engine.encode(engine.contract.table(table))
    parts: list[dict[str, Array]] = []
    for rows in engine.chunks(count(blocks), 1):
        part = take(blocks, rows)
        found = point_values(engine, decode(engine, centre(engine, part), part))
        parts.append({name: value[0] for name, value in found.items()})
    return engine.contract.decode(gathered(engine, parts))
