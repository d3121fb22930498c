"""CSV and TSV text: columns take the types of a contract where there is one, and codes keep their zeros where not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import time
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa

from vaekit.errors import ContractError
from vaekit.fields.arrow_types import is_numeric, is_text, parse_type, value_type

__all__ = [
    "Text",
    "column_names",
    "csv_options",
    "delimiter_of",
    "is_number",
    "known_types",
    "read_text",
    "readable",
]

Text: TypeAlias = Path | pa.Buffer  # a file, or its content in memory

_GLANCE = 1 << 22  # bytes in which codes with leading zeros are looked for
_CODE = r"^0[0-9]+$"


def read_text(path: Text, delimiter: str, types: Mapping[str, str] | None = None) -> pa.Table:
    """Read delimited text with a header row.

    Without types they are inferred from all rows; whole numbers with leading zeros stay text, for they are codes.

    Args:
        path: The file, compressed if its name says so, or its content.
        delimiter: One character.
        types: Column name to Arrow type as text, for the columns whose types are known.

    Raises:
        ContractError: A value is none of the type of its column; the first such row is named.
    """
    wanted = known_types(path, delimiter, types)
    if types is None:
        return _read(path, delimiter, wanted)
    try:
        return _read(path, delimiter, wanted)
    except pa.ArrowInvalid:
        table = _read(path, delimiter, dict.fromkeys(wanted, pa.large_string()))
    for index, name in enumerate(table.column_names):
        if name in wanted:
            table = table.set_column(index, name, _cast(name, table.column(index), wanted[name]))
    return table


def delimiter_of(name: str) -> str | None:
    """The delimiter that the name of a file of text stands for; None if it is no such file.

    Example:
        >>> delimiter_of("a.CSV.gz"), delimiter_of("a.parquet")
        (',', None)
    """
    name = name.lower().removesuffix(".gz")
    return "," if name.endswith(".csv") else "\t" if name.endswith(".tsv") else None


def known_types(path: Text, delimiter: str, types: Mapping[str, str] | None) -> dict[str, pa.DataType]:
    """The types that columns of a file are read with: those given, or else text for codes with leading zeros."""
    if types is None:
        return dict.fromkeys(_codes(path, delimiter), pa.string())
    names = column_names(path, delimiter)
    return {name: readable(text) for name, text in types.items() if names.count(name) == 1}


def readable(text: str) -> pa.DataType:
    """The type to read a column with: all text as large strings, and times of the day to any fraction of a second."""
    kind = value_type(parse_type(text))
    return pa.large_string() if is_text(kind) else pa.time64("ns") if pa.types.is_time(kind) else kind


def _read(path: Text, delimiter: str, types: Mapping[str, pa.DataType]) -> pa.Table:
    import pyarrow.csv as csv

    parse, convert = csv_options(delimiter, column_types=dict(types))
    return csv.read_csv(_input(path), parse_options=parse, convert_options=convert)


def _input(path: Text) -> Any:
    return path if isinstance(path, Path) else pa.BufferReader(path)


def csv_options(delimiter: str, invalid: Callable[[Any], str] | None = None, **convert: Any) -> tuple[Any, Any]:
    """How text files are parsed and converted, as a whole or in batches; `invalid` is told lines that are no rows."""
    import pyarrow.csv as csv

    parse = csv.ParseOptions(delimiter=delimiter, newlines_in_values=True, invalid_row_handler=invalid)
    return parse, csv.ConvertOptions(strings_can_be_null=True, **convert)


def _stream(path: Text, delimiter: str, **convert: Any) -> Any:
    import pyarrow.csv as csv

    parse, options = csv_options(delimiter, **convert)
    block = csv.ReadOptions(block_size=_GLANCE)
    return csv.open_csv(_input(path), read_options=block, parse_options=parse, convert_options=options)


def column_names(path: Text, delimiter: str) -> list[str]:
    """The names in the header row of a file; some may come again."""
    return list(_stream(path, delimiter, invalid=lambda _: "skip").schema.names)


def _codes(path: Text, delimiter: str) -> list[str]:
    """Columns that begin like whole numbers, of which one has a leading zero."""
    import pyarrow.compute as pc

    reader = _stream(path, delimiter)
    names = [column.name for column in reader.schema if pa.types.is_integer(column.type)]
    names = [name for name in names if reader.schema.names.count(name) == 1]
    if not names:
        return []
    kinds = dict.fromkeys(names, pa.string())
    batch = next(iter(_stream(path, delimiter, column_types=kinds, include_columns=names)), None)
    if batch is None:
        return []
    return [name for name in names if pc.any(pc.match_substring_regex(batch[name], _CODE)).as_py()]


def _cast(name: str, column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """A column of text as its type; whole numbers may also be written ``3.0``."""
    for target in (kind, pa.float64()) if is_numeric(kind) else (kind,):
        try:
            return column.cast(target)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            continue
    row = next(index for index, value in enumerate(column) if value.is_valid and not _casts(value, kind))
    got = repr(column[row].as_py())
    raise ContractError("value has the wrong type", field=name, row=row, expected=str(kind), got=got)


def _casts(value: pa.Scalar, kind: pa.DataType) -> bool:
    if pa.types.is_time(kind):  # which Arrow reads from files but does not cast from text
        return _is_time(value.as_py())
    if is_numeric(kind):
        return is_number(value.as_py())
    try:
        value.cast(kind)
    except pa.ArrowInvalid:
        return False
    return True


def is_number(text: str) -> bool:
    """Whether a text is a number to Arrow.

    Example:
        >>> is_number("3.0"), is_number("three")
        (True, False)
    """
    try:
        pa.scalar(text).cast(pa.float64())
    except pa.ArrowInvalid:
        return False
    return True


def _is_time(text: str) -> bool:
    try:
        time.fromisoformat(text)
    except ValueError:
        return False
    return True
