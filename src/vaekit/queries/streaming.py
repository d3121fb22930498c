"""A query over more rows than memory holds: batch by batch, with the answers that it would give to all at once."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from vaekit.arrays import Array
from vaekit.errors import ContractError, QueryError
from vaekit.fields.batches import empty
from vaekit.queries.base import QUERIES, query

if TYPE_CHECKING:
    import pyarrow as pa

    from vaekit.runtime.engine import Engine

__all__ = ["Piece", "RowQuery", "answer_schema", "stream"]


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
    _placed(name)
    source = engine.contract.source(data)
    ask, at = RowQuery(engine, name, source.schema, options), first
    for batch in source.batches(rows):
        try:
            answer = ask(batch, range(at, at + batch.num_rows))
        except ContractError as error:
            raise error.after(at) from error
        yield Piece(at, batch, answer)
        at += batch.num_rows
    if at == first:
        nothing = empty(source.schema)
        yield Piece(first, nothing, ask(nothing, ()))


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


class RowQuery:
    """A query that answers row by row, with its options, to be put to one table after another.

    Args:
        engine: The model.
        name: Name of the query.
        columns: Schema of the tables.
        options: Options of the query.

    Attributes:
        schema: Schema of all answers.
        placed: Whether answers depend on the positions of rows.

    Raises:
        QueryError: If there is no such query, or it does not answer row by row.
        ContractError: If a column is missing, or of a wrong type.
    """

    def __init__(self, engine: Engine, name: str, columns: pa.Schema, options: Mapping[str, Any]) -> None:
        self.placed = _placed(name)
        self._engine, self._name, self._options = engine, name, dict(options)
        self.schema = answer_schema(engine, name, columns, options)

    def __call__(self, table: pa.Table, positions: Sequence[int] | Array) -> pa.Table:
        """The answer to a table.

        Args:
            table: The rows.
            positions: Position of each row among all rows, to which noise belongs; not looked at if not `placed`.
        """
        place = {"positions": positions} if self.placed else {}
        answer = query(self._engine, self._name, table, **self._options | place)
        return answer if answer.schema == self.schema else answer.cast(self.schema)


def _placed(name: str) -> bool:
    """Whether the answers of a query depend on the positions of rows.

    Raises:
        QueryError: If there is such a query, and it does not answer row by row.
    """
    able = {known: set(inspect.signature(one).parameters) for known, one in QUERIES.items()}
    takes = able.get(name, {"table"})  # of an unknown one is told when it is asked
    if "table" not in takes:
        streamable = ", ".join(sorted(known for known, others in able.items() if "table" in others))
        raise QueryError(f"query {name!r} does not answer row by row; those that do: {streamable}")
    return "positions" in takes
