"""Text files cell by cell: rows come as text and are read afterwards, so that a bad one does not stop the others."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from vaekit.errors import ContractError
from vaekit.fields.arrow_types import is_text
from vaekit.fields.base import Column
from vaekit.fields.batches import Source, empty, plain_schema, reading
from vaekit.fields.refused import refused
from vaekit.fields.tables import to_arrow
from vaekit.fields.text_files import column_names, csv_options

__all__ = ["LINE", "open_cells", "typed", "typed_schema"]

LINE = "\0line"  # column that holds a line which has too few cells or too many, as it came
_BLOCK = 2**22  # bytes that are parsed at a time


def open_cells(path: Path, delimiter: str) -> Source:
    """A CSV or TSV file with all of its cells as text, and null for those that stand for nothing.

    A line with too few cells or too many is a row of nulls, and stands in the column `LINE`.

    Args:
        path: The file.
        delimiter: One character.

    Raises:
        ContractError: The file cannot be read.
    """
    import pyarrow.csv as csv

    with reading(path):
        names = column_names(path, delimiter)

    def read(_: int) -> Iterator[pa.Table]:
        lines: deque[tuple[int, str]] = deque()

        def keep(row: csv.InvalidRow) -> str:
            lines.append((row.number - 2, row.text))  # counted from one, with the header
            return "skip"

        parse, convert = csv_options(delimiter, keep, column_types=dict.fromkeys(places, pa.large_string()))
        block = csv.ReadOptions(block_size=_BLOCK, use_threads=False, column_names=places, skip_rows_after_names=1)
        at = 0
        with reading(path), pa.input_stream(str(path), compression="detect") as file:
            with csv.open_csv(file, block, parse, convert) as batches:
                for batch in batches:
                    table = _with_lines(batch, lines, at)
                    at += table.num_rows
                    yield table.rename_columns([*names, LINE])
            yield _with_lines(empty(batches.schema), lines, at).rename_columns([*names, LINE])

    places = [str(place) for place in range(len(names))]  # names may come again
    schema = pa.schema([pa.field(name, pa.large_string()) for name in [*names, LINE]])
    return Source(plain_schema(schema), None, None, read)


def _with_lines(batch: pa.RecordBatch | pa.Table, lines: deque[tuple[int, str]], at: int) -> pa.Table:
    """Rows from number `at` on, with the lines that belong between them, which are taken from those given."""
    places, texts = list[int](), list[str]()
    while lines and lines[0][0] <= at + batch.num_rows + len(places):
        place, text = lines.popleft()
        places.append(place - at)
        texts.append(text)
    table = to_arrow(batch)
    broken = np.zeros(batch.num_rows + len(places), np.bool_)
    broken[places] = True
    column = pa.nulls(len(broken), pa.large_string())
    if places:
        table = table.take(pa.array(np.cumsum(~broken) - 1, mask=broken))
        column = pa.array(texts, pa.large_string()).take(pa.array(np.cumsum(broken) - 1, mask=~broken))
    return table.append_column(LINE, column)


def typed_schema(schema: pa.Schema, types: Mapping[str, pa.DataType]) -> pa.Schema:
    """The schema of what `typed` returns."""
    return pa.schema([field.with_type(types.get(field.name, field.type)) for field in schema if field.name != LINE])


def typed(table: pa.Table, types: Mapping[str, pa.DataType]) -> tuple[pa.Table, dict[int, ContractError]]:
    """The values of cells of text.

    Args:
        table: Rows of `open_cells`.
        types: Column name to type, for the columns whose types are known; others stay text.

    Returns:
        The rows, with null where a cell is no value of its type; and the rows that have such a cell, or are no rows.

    Example:
        >>> cells = pa.table({"x": ["1.5", "one", None], LINE: pa.nulls(3, pa.large_string())})
        >>> values, errors = typed(cells, {"x": pa.float64()})
        >>> values["x"].to_pylist(), errors[1].got
        ([1.5, None, None], "'one'")
    """
    errors: dict[int, ContractError] = {}
    columns = {}
    for name in table.column_names:
        if name == LINE:
            continue
        columns[name], bad = _values(name, table[name], types.get(name))
        errors = bad | errors
    for row in np.flatnonzero(table[LINE].is_valid().to_numpy()).tolist():
        expected, line = f"{len(columns)} cells", table[LINE][row].as_py()
        errors[row] = ContractError("line has another number of cells", row=row, expected=expected, got=repr(line))
    return pa.table(columns, schema=typed_schema(table.schema, types)), errors


def _values(name: str, column: Column, kind: pa.DataType | None) -> tuple[Column, dict[int, ContractError]]:
    """One column in its type, and the rows whose cells are no values of it."""
    import pyarrow.compute as pc

    if kind is None or is_text(kind):
        return column.cast(kind or pa.large_string()), {}
    trimmed = pc.utf8_trim_whitespace(column)

    def check(part: slice) -> None:
        try:
            _cast(trimmed.slice(part.start, part.stop - part.start), kind)
        except pa.ArrowInvalid as error:
            row = 0 if part.stop - part.start == 1 else None
            got = repr(column[part.start].as_py())
            raise ContractError("value has the wrong type", field=name, row=row, expected=str(kind), got=got) from error

    try:
        return _cast(trimmed, kind), {}
    except pa.ArrowInvalid:
        bad = refused(len(column), check)
    mask = np.zeros(len(column), np.bool_)
    mask[list(bad)] = True
    return _cast(pc.if_else(pa.array(mask), None, trimmed), kind), bad


def _cast(column: Column, kind: pa.DataType) -> Column:
    """A column of text as its type, by the rules by which Arrow reads a text file."""
    if pa.types.is_time(kind):
        return _as_file(column, kind)
    try:
        return column.cast(kind)
    except pa.ArrowInvalid:
        if not pa.types.is_integer(kind):
            raise
    return column.cast(pa.float64()).cast(kind)  # whole numbers may be written ``3.0``


def _as_file(column: Column, kind: pa.DataType) -> Column:
    """Text read as a file of one column would be, for types to which Arrow has no cast."""
    import pyarrow.csv as csv

    sink = io.BytesIO()
    csv.write_csv(pa.table({"x": column}), sink)
    _, convert = csv_options(",", column_types={"x": kind})
    parse = csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False)
    return csv.read_csv(pa.BufferReader(sink.getvalue()), parse_options=parse, convert_options=convert)["x"]
