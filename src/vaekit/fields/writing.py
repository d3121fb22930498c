"""Tables out: files are written atomically, as a whole or batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa

from vaekit.errors import ConfigError, ContractError
from vaekit.fields.pixels import holds_images
from vaekit.files import replace_file

__all__ = ["SUFFIXES", "write", "write_batches"]

SUFFIXES = (".parquet", ".csv", ".csv.gz", ".arrow", ".feather")


def write(table: pa.Table, path: str | Path) -> Path:
    """Write a table atomically, in the format that the suffix names.

    Args:
        table: The rows.
        path: Ends in .parquet, .csv, .csv.gz, .arrow or .feather.

    Returns:
        The path.

    Raises:
        ConfigError: The suffix is not one of these, or the folder does not exist.
        ContractError: The format cannot hold a column.
    """
    return write_batches([table], path)


def write_batches(tables: Iterable[pa.Table], path: str | Path) -> Path:
    """Write tables of one schema below each other as they come, in memory that holds one at a time.

    Args:
        tables: At least one table. If one cannot be made, no file is left behind, and an older one stays as it was.
        path: As in `write`.

    Returns:
        The path.

    Raises:
        ConfigError: The suffix is not one of these, or the folder does not exist.
        ContractError: The format cannot hold a column.
    """
    name = Path(path).name.lower()
    if not name.endswith(SUFFIXES):
        raise ConfigError(f"{path}: cannot tell the format; end the name with {', '.join(SUFFIXES)}")

    def fill(target: Path) -> None:
        parts = iter(tables)
        first = next(parts)
        with ExitStack() as stack:
            put = _writer(name, target, first.schema, stack)
            for table in chain([first], parts):
                put(table)

    path = Path(path)
    if not path.parent.is_dir():
        raise ConfigError(f"{path}: the folder {path.parent} does not exist")
    replace_file(path, fill)
    return path


def _writer(name: str, target: Path, schema: pa.Schema, stack: ExitStack) -> Callable[[pa.Table], Any]:
    """What appends a table to a file of the format that a name asks for."""
    if name.endswith(".parquet"):
        import pyarrow.parquet as pq

        return stack.enter_context(pq.ParquetWriter(target, schema)).write_table  # type: ignore[no-any-return]
    if name.endswith((".arrow", ".feather")):
        options = pa.ipc.IpcWriteOptions(compression="lz4", emit_dictionary_deltas=True)
        file = stack.enter_context(pa.ipc.new_file(str(target), schema, options=options))
        dictionaries = _Dictionaries()
        return lambda table: file.write_table(dictionaries.shared(table), max_chunksize=2**16)
    import pyarrow.csv as csv

    for column in schema:
        if pa.types.is_nested(column.type) or holds_images(column.type):
            what = "images" if holds_images(column.type) else "lists"
            told = f"CSV cannot hold {what}; write .parquet instead"
            raise ContractError(told, field=column.name, got=str(column.type))
    sink = stack.enter_context(pa.output_stream(target, compression="gzip" if name.endswith(".gz") else None))
    return stack.enter_context(csv.CSVWriter(sink, schema)).write_table  # type: ignore[no-any-return]


class _Dictionaries:
    """One growing dictionary per column: an Arrow file can add values to a dictionary, not put another in its place."""

    def __init__(self) -> None:
        self._known: dict[str, pa.Array] = {}

    def shared(self, table: pa.Table) -> pa.Table:
        """The table with its dictionaries extended by what earlier tables held."""
        import pyarrow.compute as pc

        for index, field in enumerate(table.schema):
            if not pa.types.is_dictionary(field.type):
                continue
            column = table.column(index).unify_dictionaries().combine_chunks()
            column = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
            known = self._known.get(field.name, column.dictionary)
            fresh = column.dictionary.filter(pc.invert(pc.is_in(column.dictionary, value_set=known)))
            known = pa.concat_arrays([known, fresh]) if len(fresh) else known
            codes = pc.index_in(column.dictionary, value_set=known).take(column.indices).cast(field.type.index_type)
            self._known[field.name] = known
            array = pa.DictionaryArray.from_arrays(codes, known, ordered=field.type.ordered)
            table = table.set_column(index, field, array)
        return table
