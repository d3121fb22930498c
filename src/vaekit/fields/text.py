"""Text files in batches, with the types that they would have if they were read as a whole."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pyarrow as pa

from vaekit.errors import ContractError
from vaekit.fields.batches import Source, plain_schema, reading
from vaekit.fields.text_files import csv_options, known_types

__all__ = ["open_text"]

BLOCK = 2**22  # bytes of a text file that are parsed at a time
_MISFIT = re.compile(
    r"In CSV column #(?P<column>\d+): .*?CSV conversion error to .*?: invalid value '(?P<value>.*)'", re.S
)

TextReader = Callable[[Mapping[str, pa.DataType]], Iterator[pa.RecordBatch]]


def open_text(path: Path, delimiter: str, types: Mapping[str, str] | None = None) -> Source:
    """A CSV or TSV file: it is read once to settle the types of its columns, then as often as is asked.

    Args:
        path: The file.
        delimiter: One character.
        types: Column name to Arrow type as text, for the columns whose types are known.
    """
    import pyarrow.csv as csv

    def read(types: Mapping[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
        parse, convert = csv_options(delimiter, column_types=types)
        block = csv.ReadOptions(block_size=BLOCK, use_threads=False)
        with pa.input_stream(str(path), compression="detect") as file, csv.open_csv(file, block, parse, convert) as one:
            yield pa.RecordBatch.from_pylist([], schema=one.schema)  # a file may hold a header only
            yield from one

    with reading(path):
        settled, rows = _settled(read, known_types(path, delimiter, types), fixed=types is not None)

    def again(_: int) -> Iterator[pa.RecordBatch]:
        with reading(path):
            yield from read(settled)

    return Source(plain_schema(pa.schema(settled)), rows, None, again)


def _settled(read: TextReader, known: Mapping[str, pa.DataType], *, fixed: bool) -> tuple[dict[str, pa.DataType], int]:
    """Types that hold every value of a text file, and its rows.

    A value that does not fit widens the type so far, unless the types are fixed by a contract.
    """
    types: dict[str, pa.DataType] = {}
    while True:
        rows = 0
        try:
            for batch in read(types or known):
                types = types or {field.name: field.type for field in batch.schema}
                rows += batch.num_rows
            return types, rows
        except pa.ArrowInvalid as error:
            found = _MISFIT.search(str(error))
            if found is None or not types:
                raise
            name = list(types)[int(found["column"])]
            if fixed and name in known:
                expected, got = str(known[name]), repr(found["value"])
                raise ContractError("value has the wrong type", field=name, expected=expected, got=got) from error
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
