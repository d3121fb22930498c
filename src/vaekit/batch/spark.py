"""Queries on Spark: a question about the rows of a DataFrame, answered by its executors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from vaekit.batch.asking import Keep
from vaekit.batch.mapping import Mapper, Shipped

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

__all__ = ["answers"]

_WIDER = {pa.uint8(): pa.int16(), pa.uint16(): pa.int32(), pa.uint32(): pa.int64(), pa.uint64(): pa.decimal128(20)}


def answers(
    df: DataFrame,
    bundle: str | Path,
    query: str,
    *,
    keep: Keep = "all",
    row: str | None = None,
    faults: bool = False,
    backend: str = "auto",
    ship: bool = True,
    **options: Any,
) -> DataFrame:
    """Answer a query about every row of a DataFrame, where the rows are.

    The answers are those of `vaekit.batch.run`, however the rows are partitioned: those of `score`, `detect`, `embed`
    and `reconstruct` depend on the row alone, those of `denoise` and `impute` also on the number that column `row`
    holds. Executors need vaekit (without torch) and PyArrow.

    Args:
        df: The rows.
        bundle: Path to a bundle, or to a run that holds one.
        query: ``score``, ``detect``, ``embed``, ``reconstruct``, ``denoise`` or ``impute``.
        keep: Columns that go before the answer; ``all`` for those that the answer has not.
        row: Column of whole numbers that tell rows apart.
        faults: Give rows that break the contract an answer of nulls, and say why in a column ``fault``; otherwise the
            first one ends the job.
        backend: ``auto``, ``onnx`` or ``torch``.
        ship: Send the bundle with the tasks; otherwise every executor reads it at the same path.
        options: Options of the query.

    Returns:
        A DataFrame, not computed yet. Spark has no dictionaries and no unsigned integers: they become plain and wider.

    Raises:
        ConfigError: `denoise` or `impute` without `row`, or a column to keep that is not there.
        ContractError: A column that the query needs is not there, or of a wrong type.
    """
    from pyspark.sql.pandas.types import from_arrow_schema, to_arrow_schema

    columns = pa.schema([pa.field(one.name, one.type) for one in to_arrow_schema(df.schema)])
    mapper = Mapper(Shipped.of(bundle, backend, ship), query, columns, options, keep, row, faults)
    schema = pa.schema([pa.field(one.name, _plain(one.type)) for one in mapper.schema])

    def answered(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield from mapper(batch).cast(schema).combine_chunks().to_batches()

    return df.mapInArrow(answered, from_arrow_schema(schema))


def _plain(kind: pa.DataType) -> pa.DataType:
    """The type of a column on Spark that holds values of a type."""
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    if pa.types.is_fixed_size_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(_plain(kind.value_type))
    if pa.types.is_large_string(kind):
        return pa.string()
    return pa.float32() if pa.types.is_float16(kind) else _WIDER.get(kind, kind)
