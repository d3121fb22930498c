"""Tables in batches: any source of rows, read piece by piece in memory that does not grow with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from vaekit.errors import ContractError
from vaekit.fields.tables import to_arrow

__all__ = ["BYTES", "ROWS", "Reader", "Source", "conformed", "plain_schema", "promoted", "reading", "without"]

ROWS = 2**16
BYTES = 2**25  # of a batch, 32 MiB

Reader = Callable[[int], Iterable[Any]]


@dataclass(frozen=True)
class Source:
    """Rows that can be read in batches.

    Args:
        schema: Names and types of the columns, the same in every batch.
        rows: Number of rows, if it is known without reading them.
        table: The rows themselves, if they are in memory already.
        reader: Reads pieces of about so many rows, from the start.
        once: Whether the rows can be read only once.
        spread: Reads about so many rows from all over the source, if that is possible without reading the rest.
        later: Reads as `reader` does, from a row on, if that is possible without reading those before it.
    """

    schema: pa.Schema
    rows: int | None
    table: pa.Table | None
    reader: Reader
    once: bool = False
    spread: Callable[[int], pa.Table] | None = None
    later: Callable[[int, int], Iterable[Any]] | None = None

    def batches(
        self, rows: int | None = None, size: int | None = None, *, first: int = 0, cut: int | None = None
    ) -> Iterator[pa.Table]:
        """The rows in order, at most so many of them (2¹⁶) and about so many bytes (32 MiB) at a time.

        Args:
            rows: Most rows of a batch.
            size: Bytes of a batch, about.
            first: The row to begin with.
            cut: A batch ends after every so many rows, counted from the first.

        Raises:
            ContractError: The source cannot be read, or its parts have different columns.
        """
        rows = rows or ROWS
        if first and self.later is not None:
            tables = _alike(self.later(rows, first), self.schema)
        else:
            tables = without(_alike(self.reader(rows), self.schema), first)
        return _regrouped(tables, rows, size or BYTES, cut)

    def whole(self) -> Iterator[pa.Table]:
        """The rows as they are if they are in memory, else in batches that are large enough to be tallied quickly."""
        return iter([self.table]) if self.table is not None else self.batches(4 * ROWS)


def empty(schema: pa.Schema) -> pa.Table:
    """No rows of a schema, also of one with extension types, for which pyarrow's `Schema.empty_table` is not made.

    Example:
        >>> empty(pa.schema({"x": pa.fixed_shape_tensor(pa.uint8(), (2, 2))})).num_rows
        0
    """
    return pa.Table.from_batches([], schema)


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """The schema that `to_arrow` gives tables of a schema."""
    return to_arrow(empty(schema)).schema


def promoted(schemas: Sequence[pa.Schema]) -> pa.Schema:
    """The first of some schemas, with types that hold the values of all where there are such types.

    Example:
        >>> promoted([pa.schema({"x": pa.null()}), pa.schema({"x": pa.int8()}), pa.schema({"x": pa.float64()})])
        x: double
    """
    fields = list(schemas[0])
    for schema in schemas[1:]:
        for index, field in enumerate(fields):
            place = schema.get_field_index(field.name)  # -1 also if there are several
            if place >= 0 and schema.field(place).type != field.type:
                try:
                    both = [pa.schema([one]) for one in (field, schema.field(place))]
                    fields[index] = pa.unify_schemas(both, promote_options="permissive").field(0)
                except pa.ArrowException:
                    continue  # reading the rows says so, with the name of the column
    return pa.schema(fields, schemas[0].metadata)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Errors of reading a file as errors of its rows."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ContractError(f"{path} cannot be read: {str(error).strip().splitlines()[0]}") from error


def _alike(parts: Iterable[Any], schema: pa.Schema) -> Iterator[pa.Table]:
    """Tables of one schema; columns may come in any order."""
    for part in parts:
        table = to_arrow(part)
        if table.schema != schema:
            table = conformed(table, schema)
        yield table


def conformed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """A table with the columns of a schema in its order.

    Raises:
        ContractError: The columns are others, or a type cannot be cast.
    """
    if set(table.column_names) != set(schema.names):
        odd = sorted(set(table.column_names) ^ set(schema.names))
        raise ContractError("tables of one source have different columns", field=odd[0], expected=str(schema.names))
    columns = []
    for field in schema:
        column = table[field.name]
        try:
            columns.append(column if column.type == field.type else column.cast(field.type))
        except pa.ArrowException as error:
            raise ContractError(
                "a later table of the source has another type; give all of them one, or pass a list of tables",
                field=field.name,
                expected=str(field.type),
                got=str(column.type),
            ) from error
    return pa.Table.from_arrays(columns, schema=schema)


def without(tables: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """Tables without so many rows at the start."""
    for table in tables:
        skipped = min(rows, table.num_rows)
        rows -= skipped
        if skipped < table.num_rows:
            yield table.slice(skipped)


def _regrouped(tables: Iterable[pa.Table], rows: int, size: int, cut: int | None) -> Iterator[pa.Table]:
    """Tables cut and put together to batches of so many rows, or fewer if they have more bytes than `size`."""
    held: list[pa.Table] = []
    count, room = 0, 0.0  # room: share of a batch that is taken
    left = cut or 0  # rows before the next cut
    for table in tables:
        width = table.nbytes / max(table.num_rows, 1)
        step = max(1, min(rows, int(size / max(width, 1.0))))
        start = 0
        while start < table.num_rows:
            take = min(table.num_rows - start, rows - count, max(1, round((1.0 - room) * step)))
            take = min(take, left) if cut else take
            held.append(table.slice(start, take))
            start, count, room, left = start + take, count + take, room + take / step, left - take
            if count == rows or room > 1.0 - 0.5 / step or (cut and left == 0):
                yield _joined(held)
                held, count, room, left = [], 0, 0.0, left or cut or 0
    if held:
        yield _joined(held)


def _joined(parts: list[pa.Table]) -> pa.Table:
    """One table in one piece, which holds on to none of the larger ones that it was cut from."""
    table = parts[0] if len(parts) == 1 else pa.concat_tables(parts)
    return table.unify_dictionaries().combine_chunks()
