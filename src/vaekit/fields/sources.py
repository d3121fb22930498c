"""Sources of rows: files, folders, datasets, readers, lazy frames and iterables, opened without reading them all."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa

from vaekit.errors import ContractError
from vaekit.fields.batches import BYTES, ROWS, Reader, Source, conformed, plain_schema, promoted, reading, without
from vaekit.fields.tables import to_arrow
from vaekit.fields.text import open_text
from vaekit.fields.text_files import delimiter_of

__all__ = ["batches", "open_source"]

TEXT, ZIPPED = 2**27, 2**25  # bytes of a text file up to which it is read as a whole
PLACES = 16  # from which rows all over a file are taken


def batches(data: Any, rows: int | None = None, size: int | None = None) -> Iterator[pa.Table]:
    """Any source of rows in batches of bounded size; small pieces are put together and large ones cut.

    Args:
        data: Anything that `open_source` takes.
        rows: Most rows of a batch; 2¹⁶ if not given.
        size: Bytes of a batch, about; 32 MiB if not given.

    Example:
        >>> parts = ({"x": [start, start + 1]} for start in (0, 2, 4))
        >>> [table["x"].to_pylist() for table in batches(parts, rows=4)]
        [[0, 1, 2, 3], [4, 5]]
    """
    return open_source(data).batches(rows, size)


def open_source(data: Any, types: Mapping[str, str] | None = None) -> Source:
    """Any source of rows, without reading them all.

    Args:
        data: A path to a Parquet (file or folder), CSV or Arrow file; a `pyarrow.dataset.Dataset` or
            `RecordBatchReader`; a Polars `LazyFrame`; whatever streams itself as Arrow, such as a DuckDB relation; an
            iterable of tables; or any table in memory that `to_arrow` takes.
        types: Column name to Arrow type as text, for the columns of a text file whose types are known.

    Returns:
        The source. Types of a CSV file are settled by reading it once, as they would be if it were read as a whole.

    Raises:
        ContractError: The data is no source of rows, or cannot be read.
    """
    if isinstance(data, Source):
        return data
    if isinstance(data, str | os.PathLike):
        return _file(Path(data), types)
    if isinstance(data, pa.RecordBatchReader):
        return _stream(iter(data), plain_schema(data.schema))
    if _is_dataset(data):
        return _dataset(data)
    if _is_polars_lazy(data):
        return _peeked(lambda rows: data.collect_batches(chunk_size=rows, maintain_order=True))
    if not isinstance(data, pa.Table | pa.RecordBatch) and hasattr(data, "__arrow_c_stream__") and not _in_memory(data):
        return _peeked(lambda rows: pa.RecordBatchReader.from_stream(data))
    if isinstance(data, list | tuple):
        if not data:
            raise ContractError("the source has no tables")
        return Source(promoted([open_source(part).schema for part in data]), None, None, lambda rows: data)
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


def _file(path: Path, types: Mapping[str, str] | None) -> Source:
    name = path.name.lower()
    if path.is_dir() or (path.exists() and name.endswith(".parquet")):
        return _parquet(path)
    delimiter = delimiter_of(name) if path.exists() else None
    if delimiter and path.stat().st_size > (ZIPPED if name.endswith(".gz") else TEXT):
        return open_text(path, delimiter, types)
    if path.exists() and name.endswith((".arrow", ".feather")) and not _is_first_feather(path):
        return _arrow(path)
    table = to_arrow(path, types)  # which says what is wrong with it
    return Source(table.schema, table.num_rows, table, lambda rows: [table])


def _parquet(path: Path) -> Source:
    import pyarrow.dataset as ds

    if path.is_dir() and not any(path.rglob("*.parquet")):
        raise ContractError(f"{path} is a folder without .parquet files")
    hive = ds.HivePartitioning.discover(infer_dictionary=True) if path.is_dir() else None
    with reading(path):
        data = ds.dataset(path, format="parquet", partitioning=hive)
        if hive is not None:
            schema = promoted([data.schema, *(fragment.physical_schema for fragment in data.get_fragments())])
            data = ds.dataset(path, schema, format="parquet", partitioning=hive)
        return _dataset(data, path)


def _dataset(data: Any, path: Path = Path("dataset")) -> Source:
    schema = plain_schema(data.schema)
    lean = {"batch_readahead": 1, "fragment_readahead": 1}

    def passing(rows: int) -> Iterator[pa.RecordBatch]:
        with reading(path):
            yield from data.to_batches(batch_size=rows, **lean)

    def read(rows: int, first: int = 0) -> Iterator[Any]:
        with reading(path):
            for fragment in data.get_fragments():
                if not hasattr(fragment, "row_groups"):
                    yield from fragment.scanner(schema=data.schema, batch_size=rows, **lean).to_batches()
                elif first >= (here := sum(group.num_rows for group in fragment.row_groups)):
                    first -= here
                else:
                    with _ParquetPart(fragment, data.schema) as part:
                        yield from (_of_file(table, schema, fragment.path) for table in part.later(rows, first))
                    first = 0

    def spread(rows: int) -> pa.Table:
        heads = []
        with reading(path):
            fragments = [one for one in data.get_fragments() if hasattr(one, "row_groups")]
            chosen = [fragments[index] for index in _evenly(len(fragments), PLACES)]
            for fragment in chosen:
                with _ParquetPart(fragment, data.schema) as part:
                    groups = [part.groups[index] for index in _evenly(len(part.groups), -(-PLACES // len(chosen)))]
                    each = -(-rows // (len(chosen) * max(len(groups), 1)))
                    heads += [to_arrow(next(part.batches(group, each))) for group in groups]
        return pa.concat_tables([conformed(head, schema) for head in heads])

    with reading(path):
        parquet = bool(getattr(data, "files", ())) and str(data.format.default_extname) == "parquet"
        if _is_filtered(data):
            return Source(schema, data.count_rows() if parquet else None, None, passing)
        rows = sum(group.num_rows for one in data.get_fragments() for group in one.row_groups) if parquet else None
        return Source(
            schema,
            rows,
            None,
            read,
            spread=spread if parquet and rows else None,
            later=read if parquet else None,
        )


def _of_file(table: pa.Table, schema: pa.Schema, path: str) -> pa.Table:
    """Rows of one file of several with the columns that all have; if they cannot have them, the file is named."""
    table = to_arrow(table)
    try:
        return table if table.schema == schema else conformed(table, schema)
    except ContractError as error:
        message = f"{path}: {error.message}"
        raise ContractError(message, field=error.field, expected=error.expected, got=error.got) from error


def _is_filtered(data: Any) -> bool:
    """Whether a dataset gives only some of its rows; such a one does not tell its files."""
    try:
        next(iter(data.get_fragments()), None)
    except ValueError:
        return True
    return False


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
        self._schema, self._width = schema, _row_bytes(schema)
        self.groups = [group.id for group in fragment.row_groups]  # which may be some of those in the file
        self._sizes = [group.num_rows for group in fragment.row_groups]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def batches(self, group: int, rows: int) -> Iterator[pa.Table]:
        """The rows of one row group, so many at a time or fewer if they are wide."""
        size = self._file.metadata.row_group(group)
        width = max(self._width, size.total_byte_size // max(size.num_rows, 1))
        rows = max(1, min(rows, BYTES // width))
        there = set(self._file.schema_arrow.names)
        names = [name for name in self._schema.names if name in there]
        for batch in self._file.iter_batches(rows, row_groups=[group], columns=names, use_threads=False):
            columns = [
                batch.column(names.index(field.name)) if field.name in there else self._constant(field, batch.num_rows)
                for field in self._schema
            ]
            yield pa.table(columns, names=self._schema.names)

    def later(self, rows: int, first: int) -> Iterator[pa.Table]:
        """All rows from one on, so many at a time or fewer."""
        for group, size in zip(self.groups, self._sizes, strict=True):
            if first < size:
                yield from without(self.batches(group, rows), first)
            first = max(0, first - size)

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


def _is_first_feather(path: Path) -> bool:
    """Whether a file has the first version of the Feather format, which is not Arrow's own."""
    with reading(path), path.open("rb") as file:
        return file.read(4) == b"FEA1"


def _arrow(path: Path) -> Source:
    def read(rows: int) -> Iterator[pa.RecordBatch]:
        with reading(path), pa.OSFile(str(path)) as file, pa.ipc.open_file(file) as reader:
            for index in range(reader.num_record_batches):
                yield reader.get_batch(index)

    def spread(rows: int) -> pa.Table:
        with reading(path), pa.OSFile(str(path)) as file, pa.ipc.open_file(file) as reader:
            chosen = _evenly(reader.num_record_batches, PLACES)
            parts = [reader.get_batch(index).slice(0, -(-rows // len(chosen))) for index in chosen]
            return to_arrow(pa.Table.from_batches(parts, reader.schema))

    with reading(path), pa.OSFile(str(path)) as file, pa.ipc.open_file(file) as reader:
        return Source(plain_schema(reader.schema), None, None, read, spread=spread)
