"""Text files in batches, with the types that they would have if they were read as a whole."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pyarrow as pa

from vaekit.errors import ContractError
from vaekit.fields.arrow_types import is_numeric
from vaekit.fields.batches import Source, plain_schema, reading
from vaekit.fields.text_files import column_names, csv_options, is_number, known_types

__all__ = ["open_text"]

BLOCK = 2**22  # bytes of a text file that are parsed at a time
_MISFIT = re.compile(
    r"In CSV column #(?P<column>\d+): .*?CSV conversion error to .*?: invalid value '(?P<value>.*)'", re.S
)

Types = dict[int, pa.DataType]  # by the place of the column: names may come again
TextReader = Callable[[Types], Iterator[pa.RecordBatch]]


def open_text(path: Path, delimiter: str, types: Mapping[str, str] | None = None) -> Source:
    """A CSV or TSV file: it is read once to settle the types of its columns, then as often as is asked.

    Args:
        path: The file.
        delimiter: One character.
        types: Column name to Arrow type as text, for the columns whose types are known.

    Raises:
        ContractError: The file cannot be read, or a value is none of the type of its column; its row is named.
    """
    import pyarrow.csv as csv

    def read(types: Types) -> Iterator[pa.RecordBatch]:
        kinds = {str(place): kind for place, kind in types.items()}
        parse, convert = csv_options(delimiter, column_types=kinds)
        places = [str(place) for place in range(len(names))]
        block = csv.ReadOptions(block_size=BLOCK, use_threads=False, column_names=places, skip_rows_after_names=1)
        with pa.input_stream(str(path), compression="detect") as file, csv.open_csv(file, block, parse, convert) as one:
            yield pa.RecordBatch.from_pylist([], schema=one.schema)  # a file may hold a header only
            yield from one

    with reading(path):
        names = column_names(path, delimiter)
        known = known_types(path, delimiter, types)
        wanted = {place: known[name] for place, name in enumerate(names) if name in known}
        settled, rows = _settled(read, names, wanted, fixed=types is not None)

    def again(_: int) -> Iterator[pa.RecordBatch]:
        with reading(path):
            for batch in read(settled):
                yield batch.rename_columns(names)

    schema = pa.schema([pa.field(name, settled[place]) for place, name in enumerate(names)])
    return Source(plain_schema(schema), rows, None, again)


def _settled(read: TextReader, names: list[str], known: Types, *, fixed: bool) -> tuple[Types, int]:
    """Types that hold every value of a text file, and its rows.

    A value that does not fit widens the type so far. Where the types are fixed by a contract it does not, but for
    numbers of another form, such as ``3.0`` among whole numbers.
    """
    types, whole = dict(known), False
    while True:
        rows = 0
        try:
            for batch in read(types):
                if not whole:
                    types, whole = dict(enumerate(batch.schema.types)), True
                rows += batch.num_rows
            return types, rows
        except pa.ArrowInvalid as error:
            found = _MISFIT.search(str(error))
            place = -1 if found is None else int(found["column"])
            if found is None or place not in types:
                raise
            kind, value = types[place], found["value"]
            if not fixed or place not in known:
                wider = _wider(kind, value)
            elif is_numeric(kind) and is_number(value):
                wider = pa.float64()
            else:
                row, got = _row_of(read, len(names), place, value), repr(value)
                raise ContractError(
                    "value has the wrong type", field=names[place], row=row, expected=str(known[place]), got=got
                ) from error
            if wider == kind:
                raise
            types[place] = wider


def _row_of(read: TextReader, columns: int, place: int, value: str) -> int | None:
    """The first row with a text in a column; None if Arrow tells the text in another form than it stands there."""
    import pyarrow.compute as pc

    rows = 0
    for batch in read(dict.fromkeys(range(columns), pa.large_binary()) | {place: pa.large_string()}):
        index = pc.index(pc.utf8_trim_whitespace(batch.column(place)), value.strip()).as_py()
        if index >= 0:
            return rows + int(index)
        rows += batch.num_rows
    return None


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
