"""Tables in: every kind of dataframe or file becomes a `pyarrow.Table`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from vaekit.errors import ContractError

__all__ = ["csv_options", "to_arrow"]

_READABLE = ".parquet (file or folder), .csv, .csv.gz, .tsv, .tsv.gz, .arrow or .feather"


def to_arrow(data: Any) -> pa.Table:
    """Any table as a `pyarrow.Table`.

    Args:
        data: A pandas or Polars dataframe (or any other that narwhals knows), an Arrow table, batch or reader, a dict
            of columns (a 2-D array becomes a column of fixed-size lists), a 2-D NumPy array (columns x0, x1, ...), or a
            path to a Parquet (file or folder), CSV, or Arrow file.

    Returns:
        The table, without metadata of the library that it came from.

    Raises:
        ContractError: The data is no table, a column cannot be read, or two columns have one name.

    Example:
        >>> to_arrow({"a": [1, None], "v": np.zeros((2, 3))}).schema.types
        [DataType(int64), FixedSizeListType(fixed_size_list<item: double>[3])]
    """
    table = _plain_text(_table(data).replace_schema_metadata(None))
    names = table.column_names
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ContractError("two columns have the same name; rename one", field=twice)
    return table


def _plain_text(table: pa.Table) -> pa.Table:
    """String views, for which Arrow lacks kernels, as large strings."""
    for index, field in enumerate(table.schema):
        if pa.types.is_string_view(field.type):
            table = table.set_column(index, field.name, table.column(index).cast(pa.large_string()))
    return table


def _table(data: Any) -> pa.Table:
    if isinstance(data, pa.Table):
        return data
    if isinstance(data, pa.RecordBatch):
        return pa.Table.from_batches([data])
    if isinstance(data, pa.RecordBatchReader):
        return data.read_all()
    if isinstance(data, str | os.PathLike):
        return _read(Path(data))
    if isinstance(data, np.ndarray):
        return _from_matrix(data)
    if isinstance(data, Mapping):
        return _from_columns([(str(name), values) for name, values in data.items()])
    return _from_dataframe(data)


def _from_matrix(data: np.ndarray[Any, Any]) -> pa.Table:
    if data.ndim != 2 or data.dtype.names:
        got = f"shape {data.shape}" if not data.dtype.names else "a structured array"
        raise ContractError("an array is a table of rows and columns", expected="a 2-D array", got=got)
    return _from_columns([(f"x{index}", data[:, index]) for index in range(data.shape[1])])


def _from_columns(columns: list[tuple[str, Any]]) -> pa.Table:
    """A table from names and values, with one error that names the column for all that can go wrong."""
    arrays = [_column(name, values) for name, values in columns]
    rows = [len(array) for array in arrays]
    for (name, _), count in zip(columns, rows, strict=True):
        if count != rows[0]:
            raise ContractError(
                "columns have different lengths", field=name, expected=f"{rows[0]} rows", got=f"{count}"
            )
    return pa.Table.from_arrays(arrays, names=[name for name, _ in columns])


def _column(name: str, values: Any) -> pa.Array | pa.ChunkedArray:
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return values
    if isinstance(values, str | bytes) or not hasattr(values, "__len__"):
        raise ContractError("column is not a sequence of values", field=name, got=type(values).__name__)
    if isinstance(values, np.ndarray) and values.ndim != 1:
        return _lists(name, values)
    try:
        return values.to_arrow() if hasattr(values, "to_arrow") else pa.array(values, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise ContractError(
            f"column cannot be read, convert it or leave it out: {_first_line(error)}", field=name
        ) from error


def _lists(name: str, array: np.ndarray[Any, Any]) -> pa.Array:
    """Rows of a 2-D array as lists of fixed size."""
    if array.ndim != 2 or array.dtype.kind not in "biuf" or isinstance(array, np.ma.MaskedArray):
        got = f"{'masked ' if isinstance(array, np.ma.MaskedArray) else ''}{array.dtype} of shape {array.shape}"
        raise ContractError("array cannot be a column", field=name, expected="1-D, or 2-D and numeric", got=got)
    flat = pa.array(np.ascontiguousarray(array).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, array.shape[1])


def _from_dataframe(data: Any) -> pa.Table:
    import narwhals as nw

    if nw.dependencies.is_pandas_dataframe(data):
        return _from_columns([(str(name), data.iloc[:, index]) for index, name in enumerate(data.columns)])
    try:
        frame: Any = nw.from_native(data)
    except TypeError as error:
        expected = "a dataframe, an Arrow table, a dict of columns, a 2-D array, or a path"
        raise ContractError("data is not a table", expected=expected, got=type(data).__name__) from error
    if isinstance(frame, nw.LazyFrame):
        frame = frame.collect()
    native = frame.to_native()
    if nw.dependencies.is_polars_dataframe(native):
        return _from_columns([(series.name, series) for series in native.get_columns()])
    try:
        table: pa.Table = frame.to_arrow()
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise ContractError(f"dataframe cannot be turned into Arrow: {_first_line(error)}") from error
    return table


def _read(path: Path) -> pa.Table:
    if not path.exists():
        raise ContractError(f"{path} does not exist")
    name = path.name.lower()
    try:
        if path.is_dir() or name.endswith(".parquet"):
            return _read_parquet(path)
        if name.endswith((".csv", ".csv.gz", ".tsv", ".tsv.gz")):
            return _read_text(path, "\t" if ".tsv" in name else ",")
        if name.endswith((".arrow", ".feather")):
            import pyarrow.feather as feather

            return feather.read_table(path)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ContractError(f"{path} cannot be read: {_first_line(error)}") from error
    raise ContractError(f"{path}: cannot tell the format", expected=_READABLE, got=path.suffix or "no suffix")


def _read_parquet(path: Path) -> pa.Table:
    import pyarrow.parquet as pq

    if path.is_dir() and not any(path.rglob("*.parquet")):
        raise ContractError(f"{path} is a folder without .parquet files")
    return pq.read_table(path, partitioning="hive" if path.is_dir() else None)


def _read_text(path: Path, delimiter: str) -> pa.Table:
    import pyarrow.csv as csv

    parse, convert = csv_options(delimiter)
    return csv.read_csv(path, parse_options=parse, convert_options=convert)


def csv_options(delimiter: str) -> tuple[Any, Any]:
    """How text files are parsed and converted, as a whole or in batches."""
    import pyarrow.csv as csv

    parse = csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    return parse, csv.ConvertOptions(strings_can_be_null=True)


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0]
