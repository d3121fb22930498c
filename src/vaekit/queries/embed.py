"""`embed`: one vector per row."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vaekit.arrays import Array, Blocks, take
from vaekit.queries.base import count, register
from vaekit.queries.tables import column

if TYPE_CHECKING:
    import pyarrow as pa

    from vaekit.runtime.engine import Engine

__all__ = ["centre", "embed"]


@register
def embed(engine: Engine, table: Any) -> pa.Table:
    """The posterior centre of each row, all latent groups side by side.

    Args:
        engine: The model.
        table: Rows, B of them.

    Returns:
        Column ``embedding``: fixed_size_list<float32>[L].

    Raises:
        ContractError: If the rows do not fit the contract.
    """
    import pyarrow as pa

    blocks = engine.encode(engine.contract.table(table))
    width = sum(engine.architecture.groups.values())
    found = np.empty((count(blocks), width), np.float32)
    for rows in engine.chunks(count(blocks), 1):
        z = centre(engine, take(blocks, rows))
        found[rows] = np.concatenate([z[name][0] for name in engine.architecture.groups], axis=-1)
    return pa.table({"embedding": pa.FixedSizeListArray.from_arrays(column(found.ravel()), width)})


def centre(engine: Engine, blocks: Blocks) -> dict[str, Array]:
    """The walk with all noise at its middle: group name to z, shape (1, B, L)."""
    found = engine.backend.run("encode", engine.inputs(blocks) | engine.still(count(blocks)))
    return {name.removeprefix("z."): value for name, value in found.items() if name.startswith("z.")}
