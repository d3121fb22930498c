"""`denoise`: each row with its noise averaged away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vaekit.queries.base import count, positive, register
from vaekit.queries.filling import Filling
from vaekit.queries.impute import predict

if TYPE_CHECKING:
    import pyarrow as pa

    from vaekit.runtime.engine import Engine

__all__ = ["denoise"]


@register
def denoise(
    engine: Engine, table: Any, *, samples: int = 64, seed: int = 0, positions: Sequence[int] | None = None
) -> pa.Table:
    """The expectation of every model field given the whole row, ``E[x' | x] = Σ_k ŵ_k E[x' | z_k]``.

    What a field shares with the others is kept, what is its own is averaged away. Unlike `reconstruct`, which decodes
    one latent point, it averages over the importance-weighted posterior.

    Args:
        engine: The model.
        table: Rows, B of them; missing cells are filled.
        samples: Importance samples K around the amortised posterior.
        seed: The seed.
        positions: Position of each row, where the table is a part of a larger one, or made of several: noise belongs
            to it. 0, 1, 2, … if not given.

    Returns:
        The model fields in their own column types, none missing: means of numbers, medians of counts, most probable
        categories.

    Raises:
        ConfigError: If samples is below 1, or positions does not have one for each row.
        ContractError: If the rows do not fit the contract.

    References:
        Vincent et al., Extracting and composing robust features with denoising autoencoders, 2008 (the task).
    """
    import pyarrow as pa

    positive(samples=samples)
    blocks = engine.encode(engine.contract.table(table))
    rows = np.arange(count(blocks))
    everything = engine.contract.missing(len(rows))  # every cell is asked for
    filling = Filling(engine, pa.table({"": rows}), rows, everything, draws=1, interval=None)
    predict(engine, blocks, filling, samples=samples, seed=seed, positions=positions)
    return filling.table().select(list(engine.contract.names("model")))
