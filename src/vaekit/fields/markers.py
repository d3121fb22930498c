"""Values that stand for "missing": what they look like in text and among numbers, and how they become nulls."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from vaekit.fields.arrow_types import is_numeric, is_text, value_type
from vaekit.fields.profile import Profile

__all__ = ["says_missing", "sentinels", "surely_missing", "without"]

# Beside values that are numbers or dates, each of these can only mean that there is none.
_BESIDE_NUMBERS = frozenset({
    "",
    "na", "n/a", "n.a.", "n.a", "na.", "#n/a", "#na", "nan", "-nan", "null", "(null)", "nil", "none", "missing",
    "unknown", "undefined", "nd", "n.d.", "tbd", "nat", "<na>", "\\n", "#value!", "#div/0!", "#ref!", "#name?",
    "#num!", ".", "..", "...", "-", "--", "---", "—", "–", "?", "??", "???", "*", "**", "_", "__",
})  # fmt: skip
# A level of a category could be called "none", "unknown" or "NA" (Namibia); it would hardly be called any of these.
_ALONE = frozenset({"", "?", "??", "???", "#n/a", "<na>", "nan", "null", "(null)", "\\n", "n/a"})
# What people type where a number is not known.
_NUMBERS = tuple(
    sign * value
    for value in (99, 999, 9999, 99999, 999999, 99.9, 999.9, 9999.9, 99.99, 999.99, 9999.99)
    for sign in (-1, 1)
)
_FAR = {-1: 1.0, 1: 2.0}  # how many times the range of the rest a marker of this sign lies away from it
_OFTEN = 2


def says_missing(value: str) -> bool:
    """Whether a text among numbers or dates means that there is no value.

    Example:
        >>> says_missing("N/A"), says_missing(" - "), says_missing("none"), says_missing("many")
        (True, True, True, False)
    """
    return value.strip().lower() in _BESIDE_NUMBERS


def surely_missing(value: str) -> bool:
    """Whether a text means that there is no value, whatever stands in the other rows.

    Example:
        >>> surely_missing("?"), surely_missing("none")
        (True, False)
    """
    return value.strip().lower() in _ALONE


def sentinels(profile: Profile) -> tuple[int | float, ...]:
    """Numbers such as -999 that stand for "missing": repeated, at an end, and far away from all others.

    Example:
        >>> sentinels(Profile.of_values(np.array([1.0, 2.5, 7.0, -999.0, -999.0])))
        (-999,)
        >>> sentinels(Profile.of_values(np.array([1.0, 950.0, 999.0, 999.0])))
        ()
    """
    values, counts = profile.values, profile.counts
    low, high = 0, len(values)
    found: list[int | float] = []
    while high - low > 2:  # what is left must be more than a single value
        for sign, end in ((-1, low), (1, high - 1)):
            value = float(values[end])
            rest = values[low + 1 : high] if sign < 0 else values[low : high - 1]
            reach = max(float(rest[-1] - rest[0]), 1e-9 * abs(value))
            near = float(rest[0]) - value if sign < 0 else value - float(rest[-1])
            marker = next((one for one in _NUMBERS if abs(value - one) <= profile.precision * abs(one)), None)
            if marker is not None and sign * value > 0 and counts[end] >= _OFTEN and near >= _FAR[sign] * reach:
                found.append(int(marker) if float(marker).is_integer() else marker)
                low, high = (low + 1, high) if sign < 0 else (low, high - 1)
                break
        else:
            break
    return tuple(sorted(found))


def without(column: pa.ChunkedArray, markers: Sequence[str | int | float]) -> pa.ChunkedArray:
    """A column with null where it holds a marker; text is compared without the spaces around it.

    Args:
        column: Any column; one that holds neither text nor numbers comes back as it is.
        markers: Texts for a column of text, numbers for one of numbers; others are passed over.

    Example:
        >>> without(pa.chunked_array([["a", " ?", "b"]]), ("?",)).to_pylist()
        ['a', None, 'b']
    """
    import pyarrow.compute as pc

    kind = value_type(column.type)
    if pa.types.is_dictionary(column.type):
        chunks = [_without_levels(chunk, markers) for chunk in column.chunks]
        return pa.chunked_array(chunks, type=column.type)
    if is_text(kind):
        wanted = pa.array([marker for marker in markers if isinstance(marker, str)], pa.large_string())
        hit = pc.is_in(pc.utf8_trim_whitespace(column.cast(pa.large_string())), value_set=wanted)
    elif is_numeric(kind) and not pa.types.is_temporal(kind):
        wanted = pa.array([float(marker) for marker in markers if not isinstance(marker, str)], pa.float64())
        if pa.types.is_floating(kind):  # a marker as the column would hold it
            wanted = wanted.cast(kind, safe=False).cast(pa.float64())
        hit = pc.is_in(column.cast(pa.float64(), safe=False), value_set=wanted)
    else:
        return column
    if not len(wanted) or not pc.any(hit).as_py():
        return column
    return pc.if_else(hit, pa.scalar(None, column.type), column)


def _without_levels(chunk: pa.DictionaryArray, markers: Sequence[str | int | float]) -> pa.DictionaryArray:
    """A dictionary array in which rows that hold a marker are null; its dictionary stays."""
    inner = without(pa.chunked_array([chunk.dictionary]), markers).combine_chunks()
    if inner.null_count == chunk.dictionary.null_count:
        return chunk
    indices = chunk.indices.fill_null(0).to_numpy(zero_copy_only=False)
    gone = inner.is_null().to_numpy(zero_copy_only=False)[indices] | chunk.indices.is_null().to_numpy(
        zero_copy_only=False
    )
    codes = pa.array(indices, type=chunk.type.index_type, mask=np.asarray(gone))
    return pa.DictionaryArray.from_arrays(codes, chunk.dictionary, ordered=chunk.type.ordered)
