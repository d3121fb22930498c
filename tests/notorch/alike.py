"""When two answers are the same answer: numbers within a tolerance, everything else identical.

`make_fixtures.py` puts a copy beside the fixtures, so this file needs NumPy and PyArrow only.
"""

import numpy as np
import pyarrow as pa

# Share of cells whose noise may lie so close to the edge between two values that rounding decides, or whose row lies so
# far out that rounding moves the weights of its draws.
TIES = 2e-3


def arguments(query, number, rows):
    """What a query is asked about: positional and named arguments beside its options."""
    if query == "sample":
        return (number,), {}
    if query == "interpolate":
        return (rows.slice(1), rows.slice(0, rows.num_rows - 1)), {}
    if query == "traverse":
        return (0,), {"at": rows.slice(0, 20)}
    return (rows,), {}


def differences(table, other, *, tolerance=1e-4, ties=TIES):
    """What tells two tables apart, in words; empty if they are the same answer.

    Args:
        table: One answer.
        other: The other answer.
        tolerance: Allowed difference of two numbers, relative and absolute (a column is measured by its own size).
        ties: Share of all cells that may differ all the same.
    """
    if table.schema != other.schema:
        return [f"schemas differ: {table.schema} / {other.schema}"]
    if table.num_rows != other.num_rows:
        return [f"{table.num_rows} rows / {other.num_rows} rows"]
    found, wrong, cells = [], 0, 0
    for name in table.column_names:
        bad = _unequal(table[name], other[name], tolerance)
        wrong, cells = wrong + int(bad.sum()), cells + bad.size
        if bad.any():
            row = int(np.argmax(bad.reshape(table.num_rows, -1).any(-1)))
            pair = f"{table[name][row].as_py()!r} / {other[name][row].as_py()!r}"
            found.append(f"{name}: {int(bad.sum())} of {bad.size} cells differ, first in row {row}: {pair}")
    return found if wrong > ties * cells else []


def storage(column):
    """A column, images as the lists that hold them."""
    if isinstance(column.type, pa.BaseExtensionType):
        chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
        return pa.chunked_array([chunk.storage for chunk in chunks], column.type.storage_type)
    return column


def numbers(column):
    """A column of numbers, or of lists of numbers, as float64 with NaN for null."""
    column = storage(column)
    kind = column.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        rows = [row if row is None else [np.nan if x is None else float(x) for x in row] for row in column.to_pylist()]
        width = max((len(row) for row in rows if row is not None), default=0)
        return np.array([[np.nan] * width if row is None else row for row in rows]).reshape(len(rows), width)
    return np.array([np.nan if x is None else float(x) for x in column.to_pylist()])


def _unequal(one, two, tolerance):
    """Which cells differ: integers and booleans exactly, floats by more than the tolerance."""
    one, two = storage(one), storage(two)
    kind = one.type
    inner = kind.value_type if pa.types.is_nested(kind) else kind
    if pa.types.is_floating(inner) or pa.types.is_integer(inner) or pa.types.is_boolean(inner):
        a, b = numbers(one), numbers(two)
        if not pa.types.is_floating(inner):
            return ~((a == b) | (np.isnan(a) & np.isnan(b)))
        size = np.nanmedian(np.abs(a)) if np.isfinite(a).any() else 0.0
        return ~np.isclose(a, b, rtol=tolerance, atol=tolerance * max(min(size, 1.0), 1e-30), equal_nan=True)
    if pa.types.is_timestamp(kind):  # single precision over the span of the column; anything coarser is exact
        a, b = (np.array(column.cast(pa.int64()).fill_null(0).to_numpy(), float) for column in (one, two))
        nulls = one.is_null().to_numpy() != two.is_null().to_numpy()
        span = np.ptp(a[a != 0]) if a.any() else 0.0
        ten_seconds = 10.0 * {"s": 1, "ms": 1e3, "us": 1e6, "ns": 1e9}[kind.unit]
        return nulls | (np.abs(a - b) > max(0.01 * tolerance * span, ten_seconds))
    return np.array([x != y for x, y in zip(one.to_pylist(), two.to_pylist(), strict=True)], dtype=bool)
