"""Tables in batches: any source of rows, read piece by piece in memory that does not grow with it."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa

from vaekit.errors import ContractError
from vaekit.fields.tables import csv_options, to_arrow

__all__ = ["BYTES", "ROWS", "Source", "batches", "open_source"]

ROWS = 2**16
BYTES = 2**25  # of a batch, 32 MiB
PLACES = 16  # from which rows all over a file are taken

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
    """

    schema: pa.Schema
    rows: int | None
    table: pa.Table | None
    reader: Reader
    once: bool = False
    spread: Callable[[int], pa.Table] | None = None

    def batches(self, rows: int = ROWS, size: int = BYTES) -> Iterator[pa.Table]:
        """The rows in order, at most so many of them and about so many bytes at a time.

        Raises:
            ContractError: The source cannot be read, or its parts have different columns.
        """
        return _regrouped(_alike(self.reader(rows), self.schema), rows, size)

    def whole(self) -> Iterator[pa.Table]:
        """The rows as they are if they are in memory, else in batches that are large enough to be tallied quickly."""
        return iter([self.table]) if self.table is not None else self.batches(4 * ROWS)


def batches(data: Any, rows: int = ROWS, size: int = BYTES) -> Iterator[pa.Table]:
    """Any source of rows in batches of bounded size; small pieces are put together and large ones cut.

    Args:
        data: Anything that `open_source` takes.
        rows: Most rows of a batch.
        size: Bytes of a batch, about.

    Example:
        >>> parts = ({"x": [start, start + 1]} for start in (0, 2, 4))
        >>> [table["x"].to_pylist() for table in batches(parts, rows=4)]
        [[0, 1, 2, 3], [4, 5]]
    """
    return open_source(data).batches(rows, size)


def open_source(data: Any) -> Source:
    """Any source of rows, without reading them all.

    Args:
        data: A path to a Parquet (file or folder), CSV or Arrow file; a `pyarrow.dataset.Dataset` or
            `RecordBatchReader`; a Polars `LazyFrame`; whatever streams itself as Arrow, such as a DuckDB relation; an
            iterable of tables; or any table in memory that `to_arrow` takes.

    Returns:
        The source. Types of a CSV file are settled by reading it once, as they would be if it were read as a whole.

    Raises:
        ContractError: The data is no source of rows, or cannot be read.
    """
    if isinstance(data, Source):
        return data
    if isinstance(data, str | os.PathLike):
        return _file(Path(data))
    if isinstance(data, pa.RecordBatchReader):
        return _stream(iter(data), _plain(data.schema))
    if _is_dataset(data):
        return _dataset(data)
    if _is_polars_lazy(data):
        return _peeked(lambda rows: data.collect_batches(chunk_size=rows, maintain_order=True))
    if not isinstance(data, pa.Table | pa.RecordBatch) and hasattr(data, "__arrow_c_stream__") and not _in_memory(data):
        return _peeked(lambda rows: pa.RecordBatchReader.from_stream(data))
    if isinstance(data, list | tuple):
        return _peeked(lambda rows: data)
    if isinstance(data, Iterator):
        first = next(data, None)
        if first is None:
            raise ContractError("the source has no tables")
        return _stream(chain([first], data), to_arrow(first).schema)
    table = to_arrow(data)
    return Source(table.schema, table.num_rows, table, lambda rows: [table])


def _is_dataset(data: Any) -> bool:
    return type(data).__module__ == "pyarrow._dataset" and hasattr(data, "get_fragments")


def _is_polars_lazy(data: Any) -> bool:
    import narwhals as nw

    return bool(nw.dependencies.is_polars_lazyframe(data)) and hasattr(data, "collect_batches")


def _in_memory(data: Any) -> bool:
    import narwhals as nw

    if nw.dependencies.is_pandas_dataframe(data) or nw.dependencies.is_polars_dataframe(data):
        return True
    return isinstance(nw.from_native(data, pass_through=True), nw.DataFrame)


def _stream(parts: Iterator[Any], schema: pa.Schema) -> Source:
    """A source that can be read once."""
    left = [parts]

    def read(rows: int) -> Iterable[Any]:
        if not left:
            raise ContractError("a stream of tables can be read only once; pass a path or a list of tables")
        return left.pop()

    return Source(schema, None, None, read, once=True)


def _peeked(reader: Reader) -> Source:
    """A source that can be read again; its first piece tells the schema."""
    first = next(iter(reader(ROWS)), None)
    if first is None:
        raise ContractError("the source has no tables")
    return Source(to_arrow(first).schema, None, None, reader)


def _plain(schema: pa.Schema) -> pa.Schema:
    """The schema that `to_arrow` gives tables of a schema."""
    return to_arrow(schema.empty_table()).schema


# -------------------------------------------------------------------------------------------------- one batch, the next


def _alike(parts: Iterable[Any], schema: pa.Schema) -> Iterator[pa.Table]:
    """Tables of one schema; columns may come in any order."""
    for part in parts:
        table = to_arrow(part)
        if table.schema != schema:
            table = _conformed(table, schema)
        yield table


def _conformed(table: pa.Table, schema: pa.Schema) -> pa.Table:
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
                "a later table of the source has another type",
                field=field.name,
                expected=str(field.type),
                got=str(column.type),
            ) from error
    return pa.Table.from_arrays(columns, schema=schema)


def _regrouped(tables: Iterable[pa.Table], rows: int, size: int) -> Iterator[pa.Table]:
    """Tables cut and put together to batches of so many rows, or fewer if they have more bytes than `size`."""
    held: list[pa.Table] = []
    count, room = 0, 0.0  # room: share of a batch that is taken
    for table in tables:
        width = table.nbytes / max(table.num_rows, 1)
        step = max(1, min(rows, int(size / max(width, 1.0))))
        start = 0
        while start < table.num_rows:
            take = min(table.num_rows - start, rows - count, max(1, round((1.0 - room) * step)))
            held.append(table.slice(start, take))
            start, count, room = start + take, count + take, room + take / step
            if count == rows or room > 1.0 - 0.5 / step:
                yield _joined(held)
                held, count, room = [], 0, 0.0
    if held:
        yield _joined(held)


def _joined(parts: list[pa.Table]) -> pa.Table:
    """One table in one piece, which holds on to none of the larger ones that it was cut from."""
    table = parts[0] if len(parts) == 1 else pa.concat_tables(parts)
    return table.unify_dictionaries().combine_chunks()


# ---------------------------------------------------------------------------------------------------------------- files


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ContractError(f"{path} cannot be read: {str(error).strip().splitlines()[0]}") from error


def _file(path: Path) -> Source:
    name = path.name.lower()
    if path.is_dir() or (path.exists() and name.endswith(".parquet")):
        return _parquet(path)
    if path.exists() and name.endswith((".csv", ".csv.gz", ".tsv", ".tsv.gz")):
        return _text(path, "\t" if ".tsv" in name else ",")
    if path.exists() and name.endswith((".arrow", ".feather")):
        return _arrow(path)
    table = to_arrow(path)  # which says what is wrong with it
    return Source(table.schema, table.num_rows, table, lambda rows: [table])


def _parquet(path: Path) -> Source:
    import pyarrow.dataset as ds

    if path.is_dir() and not any(path.rglob("*.parquet")):
        raise ContractError(f"{path} is a folder without .parquet files")
    hive = ds.HivePartitioning.discover(infer_dictionary=True) if path.is_dir() else None
    with _reading(path):
        return _dataset(ds.dataset(path, format="parquet", partitioning=hive), path)


def _dataset(data: Any, path: Path = Path("dataset")) -> Source:
    schema = _plain(data.schema)
    width = _row_bytes(data.schema)

    def read(rows: int) -> Iterator[Any]:
        few = max(1, min(rows, BYTES // width))
        with _reading(path):
            for fragment in data.get_fragments():
                if hasattr(fragment, "row_groups"):
                    with _ParquetPart(fragment, data.schema) as part:
                        for group in range(part.groups):
                            yield from part.batches(group, few)
                else:
                    lean = {"batch_readahead": 1, "fragment_readahead": 1}
                    yield from fragment.scanner(schema=data.schema, batch_size=few, **lean).to_batches()

    def spread(rows: int) -> pa.Table:
        heads = []
        with _reading(path):
            fragments = [one for one in data.get_fragments() if hasattr(one, "row_groups")]
            chosen = [fragments[index] for index in _evenly(len(fragments), PLACES)]
            for fragment in chosen:
                with _ParquetPart(fragment, data.schema) as part:
                    groups = _evenly(part.groups, -(-PLACES // len(chosen)))
                    each = -(-rows // (len(chosen) * max(len(groups), 1)))
                    heads += [to_arrow(next(part.batches(group, each))) for group in groups]
        return pa.concat_tables([_conformed(head, schema) for head in heads])

    with _reading(path):
        parquet = bool(getattr(data, "files", ())) and str(data.format.default_extname) == "parquet"
        rows = data.count_rows() if parquet else None
        return Source(schema, rows, None, read, spread=spread if parquet and rows else None)


class _ParquetPart:
    """One file of a dataset, read a few rows at a time: a scanner would hold whole row groups, and read ahead.

    Args:
        fragment: The file, with the values of the columns that its folder stands for.
        schema: Columns of the dataset; those that the file lacks are missing.
    """

    def __init__(self, fragment: Any, schema: pa.Schema) -> None:
        import pyarrow.dataset as ds
        import pyarrow.parquet as pq

        self._file = pq.ParquetFile(
            fragment.filesystem.open_input_file(fragment.path), buffer_size=2**20, pre_buffer=False
        )
        self._keys = ds.get_partition_keys(fragment.partition_expression)
        self._schema = schema
        self.groups = self._file.num_row_groups

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def batches(self, group: int, rows: int) -> Iterator[pa.Table]:
        """The rows of one row group."""
        there = set(self._file.schema_arrow.names)
        names = [name for name in self._schema.names if name in there]
        for batch in self._file.iter_batches(rows, row_groups=[group], columns=names, use_threads=False):
            columns = [
                batch.column(names.index(field.name)) if field.name in there else self._constant(field, batch.num_rows)
                for field in self._schema
            ]
            yield pa.table(columns, names=self._schema.names)

    def _constant(self, field: pa.Field, rows: int) -> pa.Array:
        """A column that is not in the file: the value that the folder stands for, or nothing."""
        if field.name not in self._keys:
            return pa.nulls(rows, field.type)
        one, coded = pa.array([self._keys[field.name]]), pa.types.is_dictionary(field.type)
        one = one.cast(field.type.value_type).dictionary_encode().cast(field.type) if coded else one.cast(field.type)
        return one.take(pa.array(np.zeros(rows, np.int32)))


def _evenly(count: int, most: int) -> list[int]:
    """At most so many of the numbers from 0, evenly spaced, ends included."""
    if count <= most:
        return list(range(count))
    return [round(index * (count - 1) / (most - 1)) for index in range(most)]


def _row_bytes(schema: pa.Schema) -> int:
    """Bytes of a row of columns of fixed width; a few for each of the others."""

    def width(kind: pa.DataType) -> int:
        if pa.types.is_fixed_size_list(kind):
            return int(kind.list_size) * width(kind.value_type)
        try:
            return max(1, int(kind.bit_width) // 8)
        except ValueError:
            return 16

    return max(1, sum(width(field.type) for field in schema))


def _arrow(path: Path) -> Source:
    def read(rows: int) -> Iterator[pa.RecordBatch]:
        with _reading(path), pa.OSFile(str(path)) as file, pa.ipc.open_file(file) as reader:
            for index in range(reader.num_record_batches):
                yield reader.get_batch(index)

    def spread(rows: int) -> pa.Table:
        with _reading(path), pa.OSFile(str(path)) as file, pa.ipc.open_file(file) as reader:
            chosen = _evenly(reader.num_record_batches, PLACES)
            parts = [reader.get_batch(index).slice(0, -(-rows // len(chosen))) for index in chosen]
            return to_arrow(pa.Table.from_batches(parts, reader.schema))

    with _reading(path), pa.OSFile(str(path)) as file, pa.ipc.open_file(file) as reader:
        return Source(_plain(reader.schema), None, None, read, spread=spread)


# ----------------------------------------------------------------------------------------------------------------- text


BLOCK = 2**22  # bytes of a text file that are parsed at a time
_MISFIT = re.compile(
    r"In CSV column #(?P<column>\d+): .*?CSV conversion error to .*?: invalid value '(?P<value>.*)'", re.S
)

TextReader = Callable[[Mapping[str, pa.DataType]], Iterator[pa.RecordBatch]]


def _text(path: Path, delimiter: str) -> Source:
    import pyarrow.csv as csv

    def read(types: Mapping[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
        parse, convert = csv_options(delimiter)
        convert.column_types = types
        block = csv.ReadOptions(block_size=BLOCK, use_threads=False)
        with pa.input_stream(str(path), compression="detect") as file, csv.open_csv(file, block, parse, convert) as one:
            yield pa.RecordBatch.from_pylist([], schema=one.schema)  # a file may hold a header only
            yield from one

    with _reading(path):
        types, rows = _settled(read)

    def again(_: int) -> Iterator[pa.RecordBatch]:
        with _reading(path):
            yield from read(types)

    return Source(_plain(pa.schema(types)), rows, None, again)


def _settled(read: TextReader) -> tuple[dict[str, pa.DataType], int]:
    """Types that hold every value of a text file, and its rows; a value that does not fit widens the type so far."""
    types: dict[str, pa.DataType] = {}
    while True:
        rows = 0
        try:
            for batch in read(types):
                types = types or {field.name: field.type for field in batch.schema}
                rows += batch.num_rows
            return types, rows
        except pa.ArrowInvalid as error:
            found = _MISFIT.search(str(error))
            if found is None or not types:
                raise
            name = list(types)[int(found["column"])]
            wider = _wider(types[name], found["value"])
            if wider == types[name]:
                raise
            types[name] = wider


def _wider(kind: pa.DataType, value: str) -> pa.DataType:
    """The type that Arrow infers for values of a type and one more together, as it does in a file read as a whole."""
    import pyarrow.csv as csv

    quoted = value.replace('"', '""')
    found = csv.read_csv(io.BytesIO(f'x\n"{quoted}"\n'.encode())).schema.field(0).type
    if pa.types.is_null(kind):
        return pa.string() if pa.types.is_null(found) else found
    for family in (
        [pa.int64(), pa.float64()],
        [pa.int64(), pa.bool_()],
        [pa.date32(), pa.timestamp("s"), pa.timestamp("ns")],
    ):
        if kind in family and found in family and family.index(found) > family.index(kind):
            return found
    return pa.string()
