"""Queries on Ray Data: a question about the rows of a dataset, answered by its workers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from vaekit.batch.asking import Keep
from vaekit.batch.mapping import Mapper, Shipped

if TYPE_CHECKING:
    from ray.data import Dataset

__all__ = ["answers"]

_ROWS = 2**13


def answers(
    dataset: Dataset,
    bundle: str | Path,
    query: str,
    *,
    keep: Keep = "all",
    row: str | None = None,
    faults: bool = False,
    backend: str = "auto",
    ship: bool = True,
    batch_rows: int = _ROWS,
    **options: Any,
) -> Dataset:
    """Answer a query about every row of a dataset, where the rows are; arguments as in `vaekit.batch.spark.answers`.

    Args:
        dataset: The rows.
        bundle: Path to a bundle, or to a run that holds one.
        query: ``score``, ``detect``, ``embed``, ``reconstruct``, ``denoise`` or ``impute``.
        keep: Columns that go before the answer; ``all`` for those that the answer has not.
        row: Column of whole numbers that tell rows apart; `denoise` and `impute` need it.
        faults: Give rows that break the contract an answer of nulls, and say why in a column ``fault``.
        backend: ``auto``, ``onnx`` or ``torch``.
        ship: Send the bundle with the tasks; otherwise every worker reads it at the same path.
        batch_rows: Rows of one call.
        options: Options of the query.

    Returns:
        A dataset, not computed yet.

    Raises:
        ConfigError: `denoise` or `impute` without `row`, or a column to keep that is not there.
        ContractError: A column that the query needs is not there, or of a wrong type.
    """
    found = dataset.schema()
    columns = pa.schema(list(zip(found.names, found.types, strict=True)))
    mapper = Mapper(Shipped.of(bundle, backend, ship), query, columns, options, keep, row, faults)
    return dataset.map_batches(mapper.__call__, batch_format="pyarrow", batch_size=batch_rows)
