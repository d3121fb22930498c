"""A query over more rows than memory holds: batch by batch, with the answers that it would give to all at once."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from vaekit.errors import ContractError, QueryError
from vaekit.queries.base import QUERIES, query

if TYPE_CHECKING:
    import pyarrow as pa

    from vaekit.runtime.engine import Engine

__all__ = ["Piece", "answer_schema", "stream"]


class Piece(NamedTuple):
    """A batch of rows and its answer.

    Args:
        first: Position of its first row among all rows.
        asked: The rows.
        answer: What the query says of them.
    """

    first: int
    asked: pa.Table
    answer: pa.Table


def stream(
    engine: Engine, name: str, data: Any, *, rows: int | None = None, first: int = 0, **options: Any
) -> Iterator[Piece]:
    """Ask a query about a source of any size, batch by batch.

    Row by row the answers are those of the query asked about all rows at once (within 1e-5 relative: single precision
    depends on the size of a batch); with several draws each batch comes with all of its draws. All have one schema. A
    source without rows gives one empty answer.

    Args:
        engine: The model.
        name: Name of a query that takes a table and answers row by row.
        data: Anything that `vaekit.fields.sources.open_source` takes.
        rows: Most rows of a batch; 65,536 if not given.
        first: Position of the first row, where the source is a part of a larger one: rows are counted from it.
        options: Options of the query.

    Yields:
        One `Piece` per batch, in order.

    Raises:
        QueryError: If there is no such query, or it does not answer row by row.
        ContractError: If the rows do not fit the contract; the row is counted from `first`.
    """
    able = {known: set(inspect.signature(one).parameters) for known, one in QUERIES.items()}
    if "table" not in able.get(name, {"table"}):
        streamable = ", ".join(sorted(known for known, takes in able.items() if "table" in takes))
        raise QueryError(f"query {name!r} does not answer row by row; those that do: {streamable}")
    source = engine.contract.source(data)
    at, schema = first, answer_schema(engine, name, source.schema, options)
    for batch in source.batches(rows):
        place = {"positions": range(at, at + batch.num_rows)} if "positions" in able[name] else {}
        try:
            answer = query(engine, name, batch, **options | place)
        except ContractError as error:
            raise error.after(at) from error
        yield Piece(at, batch, answer if answer.schema == schema else answer.cast(schema))
        at += batch.num_rows
    if at == first:
        nothing = source.schema.empty_table()
        yield Piece(first, nothing, query(engine, name, nothing, **options))


def answer_schema(engine: Engine, name: str, rows: pa.Schema, options: Mapping[str, Any]) -> pa.Schema:
    """The schema that answers to rows of a schema have, whatever is missing in them.

    It is that of the answer to a row with nothing in it, which asks for all there can be.

    Args:
        engine: The model.
        name: Name of a query that takes a table.
        rows: Schema of the table.
        options: Options of the query.

    Raises:
        ContractError: If the columns do not fit the contract.
    """
    import pyarrow as pa

    row = pa.table([pa.nulls(1, field.type) for field in rows], schema=rows)
    return query(engine, name, row, **options).schema
