"""How a column is looked at: what a kind of field is for a picture, and the bins that let all kinds be compared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from vaekit.arrays import Array
from vaekit.fields.numeric import Numeric
from vaekit.fields.temporal import EPOCH

if TYPE_CHECKING:
    import pyarrow as pa

    from vaekit.fields.base import Field

__all__ = ["BINS", "SHAPES", "Seen", "codes_of", "look", "numbers_of"]

Shape = Literal["number", "time", "category", "vector"]
BINS = 8  # of a number, by quantiles
_LEVELS = 15  # of a category; the others go together


@dataclass(frozen=True)
class Seen:
    """One column of real rows, and the same of sampled rows, as pictures and bins need them.

    Args:
        name: Name of the field.
        kind: Kind of the field.
        shape: ``number`` and ``time`` hold float64 with NaN where missing (a time in seconds since 1970), ``category``
            holds codes with -1 where missing, ``vector`` holds float64 of shape (B, D).
        real: Values of real rows.
        sampled: Values of sampled rows; without rows where there are none.
        labels: Names of the codes of a category, most frequent first; the last may stand for all others.
    """

    name: str
    kind: str
    shape: Shape
    real: Array
    sampled: Array
    labels: tuple[str, ...] = ()


def look(field: Field, real: pa.ChunkedArray, sampled: pa.ChunkedArray | None = None) -> Seen | None:
    """A column as the report looks at it: by the kind of its field if that is known, else by its Arrow type.

    Args:
        field: The field.
        real: Values of real rows.
        sampled: Values of sampled rows.

    Returns:
        The values, or None if neither kind nor type is known or nothing is observed; such a field has no picture.

    Example:
        >>> import pyarrow as pa
        >>> from vaekit.fields import Contract
        >>> table = pa.table({"origin": ["JFK", None, "EWR", "JFK"]})
        >>> look(Contract.infer(table)["origin"], table["origin"]).real.tolist()
        [0, -1, 1, 0]
    """
    name, kind, real = field.name, field.kind, field.clean(real)
    shape = SHAPES.get(kind) or (None if kind == "image" else _by_type(real.type))
    if shape is None or len(real) == real.null_count:
        return None
    there = real.slice(0, 0) if sampled is None else sampled
    if shape == "category":
        labels, first, second = _levels(real, there)
        return Seen(name, kind, shape, first, second, labels)
    read = _numeric(field) if isinstance(field, Numeric) else _READ[shape]
    first, second = (read(column) for column in (real, there))
    return Seen(name, kind, shape, first, second) if np.isfinite(first).any() else None


# What each kind of field is; a kind that is not here is looked at by the Arrow type of its column.
SHAPES: dict[str, Shape] = {
    "number": "number",
    "count": "number",
    "category": "category",
    "vector": "vector",
    "datetime": "time",
}


def numbers_of(seen: Seen, values: Array) -> Array:
    """Any column as one number per row, NaN where missing: a vector by its first principal component; shape (B,).

    Categories have no order, so they are all NaN.
    """
    if seen.shape == "category":
        return np.full(len(values), np.nan)
    if seen.shape != "vector" or len(values) == 0:
        return values.reshape(-1)
    centre = np.nan_to_num(np.nanmean(np.where(np.isfinite(seen.real).any(0), seen.real, 0.0), axis=0))
    filled = np.where(np.isfinite(seen.real), seen.real - centre, 0.0)
    _, _, axes = np.linalg.svd(filled, full_matrices=False)
    score: Array = np.where(np.isfinite(values), values - centre, 0.0) @ axes[0]
    return np.where(np.isfinite(values).any(1), score, np.nan)


def codes_of(seen: Seen, bins: int = BINS) -> tuple[Array, Array]:
    """Bins of real and of sampled values: levels, few values one by one, or quantiles; -1 where missing. Shape (B,)."""
    if seen.shape == "category":
        return seen.real, seen.sampled
    real, sampled = (numbers_of(seen, values) for values in (seen.real, seen.sampled))
    values = np.unique(real[np.isfinite(real)])
    few = len(values) <= 2 * bins
    edges = values[:-1] if few else np.unique(np.quantile(real[np.isfinite(real)], np.arange(1, bins) / bins))
    first, second = (np.where(np.isfinite(v), np.searchsorted(edges, v, side="left"), -1) for v in (real, sampled))
    return first, second


def _by_type(kind: pa.DataType) -> Shape | None:
    import pyarrow as pa

    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return "time"
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return "number"
    text = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_boolean(kind)
    return "category" if text or pa.types.is_dictionary(kind) else None


def _numeric(field: Numeric) -> Callable[[pa.ChunkedArray], Array]:
    """How the columns of a field become numbers: its own reading, with points in time in seconds since 1970."""
    start = EPOCH if field.kind == "datetime" else 0.0

    def read(column: pa.ChunkedArray) -> Array:
        values = field.read(column) + start
        return np.where(np.isfinite(values), values, np.nan)

    return read


def _floats(column: pa.ChunkedArray) -> Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    values = np.asarray(pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False), np.float64)
    return np.where(np.isfinite(values), values, np.nan)


def _seconds(column: pa.ChunkedArray) -> Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    zone = getattr(column.type, "tz", None)
    stamps = pc.cast(column, pa.timestamp("us", tz=zone), safe=False)
    return _floats(pc.cast(stamps, pa.int64())) / 1e6


def _matrix(column: pa.ChunkedArray) -> Array:
    """Lists of one length as a matrix (B, D); NaN where an element or the whole list is missing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    chunk = column.combine_chunks()
    if len(chunk) == 0:
        return np.zeros((0, 0))
    width = int(pc.max(pc.list_value_length(chunk)).as_py() or 0)
    values = np.full((len(chunk), width), np.nan)
    held = np.flatnonzero(np.asarray(pc.is_valid(chunk)))
    flat = pc.list_flatten(chunk)
    values[held] = _floats(pa.chunked_array([flat])).reshape(len(held), width)
    return values


_READ: dict[str, Callable[[Any], Array]] = {"number": _floats, "time": _seconds, "vector": _matrix}


def _levels(real: pa.ChunkedArray, sampled: pa.ChunkedArray) -> tuple[tuple[str, ...], Array, Array]:
    """Labels by frequency in real rows, and codes; levels beyond the most frequent ones share the last code."""
    first, second = (_texts(column) for column in (real, sampled))
    names, counts = np.unique(first[first != None], return_counts=True)  # noqa: E711 - element by element
    order = names[np.argsort(-counts, kind="stable")].tolist()
    more = [name for name in dict.fromkeys(second[second != None].tolist()) if name not in set(order)]  # noqa: E711
    order += more
    kept = order if len(order) <= _LEVELS else order[: _LEVELS - 1]
    place = {name: code for code, name in enumerate(kept)} | {None: -1}
    rest = len(kept)
    found = [np.array([place.get(text, rest) for text in texts], np.int64) for texts in (first, second)]
    labels = (*kept, f"{len(order) - rest} others") if len(order) > rest else tuple(kept)
    return labels, found[0], found[1]


def _texts(column: pa.ChunkedArray) -> Array:
    """Values as text, None where missing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    plain = pc.cast(column, column.type.value_type) if pa.types.is_dictionary(column.type) else column
    found = np.empty(len(plain), object)
    found[:] = [None if value is None else str(value) for value in plain.to_pylist()]
    return found
