"""Samplers of tables as others build them: TVAE and CTGAN of the ctgan package, which SDV uses."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pyarrow as pa

__all__ = ["SAMPLERS", "sampler"]

SAMPLERS = ("TVAE", "CTGAN")


def sampler(name: str, table: pa.Table, discrete: list[str], rows: int) -> Callable[[], Any]:
    """Draws rows from a model with its default sizes, fitted for one epoch: its speed does not depend on how well.

    Args:
        name: One of `SAMPLERS`.
        table: Training rows, complete.
        discrete: Columns of categories.
        rows: Rows to draw at a time.
    """
    import ctgan

    model = getattr(ctgan, name)(epochs=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(table.to_pandas(), discrete)
    return lambda: model.sample(rows)
