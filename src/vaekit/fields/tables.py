"""Tables in: every kind of dataframe or file becomes a `pyarrow.Table`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from vaekit.errors import ContractError
from vaekit.fields.text_files import delimiter_of, read_text

__all__ = ["RENAMED", "to_arrow"]

RENAMED = b"vaekit.renamed"  # key under which a column that shared its name with another remembers it

_READABLE = ".parquet (file or folder), .csv, .csv.gz, .tsv, .tsv.gz, .arrow or .feather"


def to_arrow(data: Any, types: Mapping[str, str] | None = None) -> pa.Table:
    """Any table as a `pyarrow.Table`.

    Args:
        data: A pandas or Polars dataframe (or any other that narwhals knows), a DuckDB relation or result, anything
            with Arrow's stream interface, an Arrow table, batch or reader, a dict of columns (a 2-D array becomes a
            column of fixed-size lists), a 2-D NumPy array (columns x0, x1, ...), or a path to a Parquet (file or
            folder), CSV, or Arrow file.
        types: Column name to Arrow type as text, which the columns of a CSV file are read as.

    Returns:
        The table, without metadata of the library that it came from. Names that come again get numbers: ``a``, ``a.1``.

    Raises:
        ContractError: The data is no table, or a column cannot be read.

    Example:
        >>> to_arrow({"a": [1, None], "v": np.zeros((2, 3))}).schema.types
        [DataType(int64), FixedSizeListType(fixed_size_list<item: double>[3])]
    """
    return _unique_names(_plain_types(_table(data, types).replace_schema_metadata(None)))


def _unique_names(table: pa.Table) -> pa.Table:
    """The table with names that differ; a renamed column remembers its old name."""
    names = table.column_names
    if len(set(names)) == len(names):
        return table
    taken, fields = set(names), []
    seen: set[str] = set()
    for field in table.schema:
        old, number = field.name, 0
        if old in seen:
            while (new := f"{old}.{(number := number + 1)}") in taken:
                continue
            field = pa.field(new, field.type, field.nullable, {RENAMED: old.encode()})
        taken.add(field.name)
        seen.add(field.name)
        fields.append(field)
    return pa.Table.from_arrays(table.columns, schema=pa.schema(fields))


def _plain_types(table: pa.Table) -> pa.Table:
    """String views, for which Arrow lacks kernels, as large strings; tensors without axes that are in order anyway."""
    for index, field in enumerate(table.schema):
        tensor = isinstance(field.type, pa.FixedShapeTensorType)
        if tensor and field.type.permutation == list(range(len(field.type.shape))):
            kind = pa.fixed_shape_tensor(field.type.value_type, field.type.shape)
            chunks = [pa.ExtensionArray.from_storage(kind, chunk.storage) for chunk in table.column(index).chunks]
            table = table.set_column(index, field.name, pa.chunked_array(chunks, kind))
        if pa.types.is_string_view(field.type):
            table = table.set_column(index, field.name, table.column(index).cast(pa.large_string()))
    return table


def _table(data: Any, types: Mapping[str, str] | None) -> pa.Table:
    if isinstance(data, pa.Table):
        return data
    if isinstance(data, pa.RecordBatch):
        return pa.Table.from_batches([data])
    if isinstance(data, pa.RecordBatchReader):
        return data.read_all()
    if isinstance(data, str | os.PathLike):
        return _read(Path(data), types)
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
        return values.to_arrow() if hasattr(values, "to_arrow") else pa.array(_dense(values), from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return _mixed(values)


def _dense(values: Any) -> Any:
    """A pandas column whose extension type Arrow does not know, or keeps to itself, as one that it does."""
    kind = str(getattr(values, "dtype", ""))
    if kind.startswith("Sparse["):
        return values.sparse.to_dense() if hasattr(values, "sparse") else np.asarray(values)
    return values.dt.to_timestamp() if kind.startswith("period[") and hasattr(values, "dt") else values


def _mixed(values: Any) -> pa.Array:
    """Plain values of several types as the text that a CSV file would hold; other objects as an opaque column."""
    import datetime
    import decimal
    import numbers

    objects = values.tolist() if hasattr(values, "tolist") else list(values)
    known = (str, bool, numbers.Real, decimal.Decimal, datetime.date, datetime.time, np.generic)
    odd = [value for value in objects if value is not None and not isinstance(value, known)]
    if odd or any(isinstance(value, complex) for value in objects):
        first = odd[0] if odd else next(value for value in objects if isinstance(value, complex))
        kind = pa.opaque(pa.null(), type_name=type(first).__name__, vendor_name="python")
        return pa.ExtensionArray.from_storage(kind, pa.nulls(len(objects)))
    texts = [None if value is None or value != value else str(value) for value in objects]
    return pa.array(texts, pa.string())


def _lists(name: str, array: np.ndarray[Any, Any]) -> pa.Array:
    """Rows of a 2-D array as lists of fixed size; of an array of images (3-D or 4-D, uint8 or bool) as tensors."""
    if array.ndim in (3, 4) and array.dtype in (np.uint8, np.bool_) and not isinstance(array, np.ma.MaskedArray):
        kind = pa.fixed_shape_tensor(pa.from_numpy_dtype(array.dtype), array.shape[1:])
        flat = pa.array(np.ascontiguousarray(array).reshape(-1))
        return pa.ExtensionArray.from_storage(kind, pa.FixedSizeListArray.from_arrays(flat, type=kind.storage_type))
    if array.ndim != 2 or array.dtype.kind not in "biuf" or isinstance(array, np.ma.MaskedArray):
        got = f"{'masked ' if isinstance(array, np.ma.MaskedArray) else ''}{array.dtype} of shape {array.shape}"
        raise ContractError(
            "array cannot be a column", field=name, expected="1-D, or 2-D and numeric, or uint8 images", got=got
        )
    flat = pa.array(np.ascontiguousarray(array).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, array.shape[1])


def _from_dataframe(data: Any) -> pa.Table:
    import narwhals as nw

    if nw.dependencies.is_pandas_dataframe(data):
        return _from_columns([(_label(name), data.iloc[:, index]) for index, name in enumerate(data.columns)])
    for method in ("to_arrow_table", "fetch_arrow_table"):  # relations and results of DuckDB
        if hasattr(data, method):
            return getattr(data, method)()
    try:
        frame: Any = nw.from_native(data)
    except TypeError as error:
        if hasattr(data, "__arrow_c_stream__"):
            return _stream(data)
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


def _stream(data: Any) -> pa.Table:
    try:
        return pa.RecordBatchReader.from_stream(data).read_all()
    except (pa.ArrowException, TypeError, ValueError) as error:  # a single column has the interface, too
        raise ContractError(
            "data is not a table", expected="a stream of record batches", got=type(data).__name__
        ) from error


def _label(name: Any) -> str:
    """A label of pandas as a name; the levels of one with several are joined by dots."""
    if isinstance(name, tuple):
        return ".".join(str(part) for part in name if str(part))
    return str(name)


def _read(path: Path, types: Mapping[str, str] | None) -> pa.Table:
    if not path.exists():
        raise ContractError(f"{path} does not exist")
    name = path.name.lower()
    try:
        if path.is_dir() or name.endswith(".parquet"):
            return _read_parquet(path)
        if delimiter := delimiter_of(name):
            return read_text(path, delimiter, types)
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


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0]
