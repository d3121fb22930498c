"""`category`: one of a known set of levels; strings, dictionaries, booleans and numbers with two values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Self

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vaekit.arrays import Block
from vaekit.errors import ConfigError, ContractError
from vaekit.fields.arrow_types import is_number, is_text, parse_type, value_type
from vaekit.fields.base import Codec, Column, Field, Role, wrong_type

__all__ = [
    "MAX_LEVELS",
    "Category",
    "CategoryCodec",
    "Level",
    "Levels",
    "common_levels",
    "levels_of",
    "missing_count",
    "natural_likelihood",
    "plain",
]

Level = str | bool | int | float
Codes = NDArray[np.int64]

MAX_LEVELS = 256  # categories of so many levels keep all of them
MOST_LEVELS = 2000  # of larger ones the most frequent are kept,
LEAST_ROWS = 5  # if they occur at least so often,
COVERED = 0.5  # and together make up at least so many of the rows


class Category(Field, frozen=True, kw_only=True, tag="category"):
    """One of a known set of levels.

    Args:
        likelihood: ``bernoulli`` for two levels, ``categorical``, or ``ordinal`` if the order of levels has a meaning.
        levels: The known levels in the order of their codes; empty until fitted.
        unseen: What a value that is no level is: an ``error``, or ``missing``.

    Example:
        >>> field = Category.blank("origin", pa.string(), "model").fit(pa.chunked_array([["LGA", None, "EWR", "JFK"]]))
        >>> field.likelihood, field.levels
        ('categorical', ('EWR', 'JFK', 'LGA'))
    """

    likelihood: str
    levels: tuple[Level, ...] = ()
    unseen: Literal["error", "missing"] = "error"

    editable: ClassVar[frozenset[str]] = Field.editable | {"likelihood", "levels", "unseen"}

    def __post_init__(self) -> None:
        self._check_likelihood(self.likelihood, {})
        if len(set(self.levels)) < len(self.levels):
            raise ConfigError(f"field {self.name!r}: levels must differ from each other")
        if self.levels and len(self.levels) < 2:
            raise ConfigError(f"field {self.name!r}: a category needs at least two levels; got {list(self.levels)}")
        if self.likelihood == "bernoulli" and len(self.levels) > 2:
            raise ConfigError(f"field {self.name!r}: bernoulli is for two levels; this category has {len(self.levels)}")

    @property
    def detail(self) -> str:
        """The first levels."""
        shown = ", ".join(str(level) for level in self.levels[:4])
        return f"{len(self.levels)} levels: {shown}{', ...' if len(self.levels) > 4 else ''}" if self.levels else ""

    @classmethod
    def accepts(cls, kind: pa.DataType) -> bool:
        """Whether a column of this Arrow type can be a category."""
        kind = value_type(kind)
        return is_number(kind) or is_text(kind) or bool(pa.types.is_boolean(kind) or pa.types.is_decimal(kind))

    @classmethod
    def blank(cls, name: str, kind: pa.DataType, role: Role) -> Self:
        """A category whose levels are not known yet."""
        return cls(name=name, type=str(kind), role=role, likelihood="categorical")

    @classmethod
    def of_counts(
        cls, name: str, kind: pa.DataType, levels: Sequence[Level], counts: Codes, rows: int, likelihood: str
    ) -> Self:
        """The category that levels and their counts suggest.

        Up to 256 levels are kept. Of more, those are kept that enough rows hold for their chance to be learnt; the
        others are read as missing, so no density is claimed for what was hardly seen, and none of it is drawn.

        Args:
            name: Name of the column.
            kind: Its type.
            levels: Its values, in the order that they shall have.
            counts: Rows that hold each.
            rows: Rows of the column.
            likelihood: Likelihood, if the category is modelled.
        """
        if len(levels) <= MAX_LEVELS:
            missing = 1.0 - int(counts.sum()) / max(rows, 1)
            return cls(
                name=name, type=str(kind), role="model", likelihood=likelihood, levels=tuple(levels), missing=missing
            )
        often = np.flatnonzero(counts >= LEAST_ROWS)
        kept = np.sort(often[np.argsort(-counts[often], kind="stable")[:MOST_LEVELS]])
        held = int(counts[kept].sum())
        told = f"{len(levels)} distinct values in {int(counts.sum())} rows"
        if len(kept) < 2 or held < COVERED * counts.sum():
            told += ", most of them rare: looks like an identifier or text; role='model' forces it"
            return cls(name=name, type=str(kind), role="ignore", likelihood="categorical", note=told)
        if len(kept) < len(levels):
            rare = 1 - held / counts.sum()
            told += f": the {len(kept)} common ones are modelled, rarer ones ({rare:.1%}) read as missing"
        return cls(
            name=name,
            type=str(kind),
            role="model",
            likelihood="categorical",
            levels=tuple(levels[index] for index in kept),
            unseen="missing",
            missing=1.0 - held / max(rows, 1),
            note=told,
        )

    def changes(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """A changed set of levels gets the likelihood that suits it, unless one is asked for."""
        if "levels" in asked and "likelihood" not in asked and self.likelihood != "ordinal":
            return {"likelihood": natural_likelihood(len(asked["levels"]), ordered=False)}
        return {}

    @property
    def asides(self) -> dict[str, pa.DataType]:
        """The probability of a level that was filled in."""
        return {"probability": pa.float64()}

    def tally(self, column: Column, *, strict: bool = True) -> Levels:
        """The values of a column that are levels, or may become some if there are none yet."""
        if self.levels:
            read = _codes(self if strict else msgspec.structs.replace(self, unseen="missing"), column)
            return Levels(self.levels, len(column), int(read.observed.sum()))
        return Levels(tuple(levels_of(column)), len(column), len(column) - missing_count(column))

    def fitted(self, tally: Levels) -> Self:
        """The field with its levels, if it has none yet, taken from training rows."""
        missing = 1.0 - tally.observed / max(tally.rows, 1)
        if self.levels:
            return msgspec.structs.replace(self, missing=missing)
        if len(tally.values) < 2:
            message = "a category needs two values in the training rows; set its role to 'ignore'"
            raise ContractError(message, field=self.name, got=f"{len(tally.values)}")
        natural = natural_likelihood(len(tally.values), ordered=False)
        family = natural if self.likelihood in ("categorical", "bernoulli") else self.likelihood
        return msgspec.structs.replace(self, levels=tally.values, likelihood=family, missing=missing)

    def error(self, real: Column, seen: Column) -> dict[str, float]:
        """The share of levels that are right."""
        a, b = _codes(self, real), _codes(self, seen)
        both = a.observed & b.observed
        return {"accuracy": float((a.codes == b.codes)[both].mean())} if both.any() else {}

    def merge(self, column: Column, filled: pa.Array, missing: NDArray[np.bool_]) -> pa.Array | Column:
        """As in `Field`; a dictionary keeps the order of its levels."""
        import pyarrow.compute as pc

        kind = parse_type(self.type)
        if not pa.types.is_dictionary(kind) or pa.types.is_null(column.type):
            return super().merge(column, filled, missing)
        values = plain(column).cast(kind.value_type).combine_chunks()
        merged = pc.if_else(pa.array(missing), filled.cast(kind.value_type), values)
        if not kind.ordered:
            return merged.dictionary_encode().cast(kind)
        codes = pc.index_in(merged, value_set=filled.dictionary).cast(kind.index_type)
        return pa.DictionaryArray.from_arrays(codes, filled.dictionary, ordered=True)

    def codec(self, fields: Sequence[Any]) -> Codec:
        """What encodes and decodes a block of categories."""
        return CategoryCodec(fields)


class CategoryCodec(Codec):
    """Encodes and decodes all `Category` fields of a block."""

    def __init__(self, fields: Sequence[Category]) -> None:
        for field in fields:
            if not field.levels:
                raise ContractError("levels are not known; call Contract.fit with the training rows", field=field.name)
        self._fields = tuple(fields)
        self._types = [parse_type(field.type) for field in fields]
        self.levels = tuple(len(field.levels) for field in fields)
        self._lenient = any(field.unseen == "missing" for field in fields)

    def check(self, columns: Sequence[Column | None], rows: int) -> _Read:
        """Codes, what was observed and what is no level, all (F, B); the last is refused unless read as missing."""
        codes = np.zeros((len(self._fields), rows), dtype=np.int64)
        observed, unknown = (np.zeros(codes.shape, dtype=np.bool_) for _ in range(2))
        for index, (field, column) in enumerate(zip(self._fields, columns, strict=True)):
            if column is not None:
                codes[index], observed[index], unknown[index] = _codes(field, column)
        return _Read(codes, observed, unknown)

    def encode(self, columns: Sequence[Column | None], rows: int) -> Block:
        """Encode the columns into one block of B rows."""
        codes, observed, unknown = (np.ascontiguousarray(array.T) for array in self.check(columns, rows))
        return Block(codes, observed, unknown=unknown if self._lenient else None)

    def decode(self, values: NDArray[Any]) -> list[pa.Array]:
        """Levels of codes (B, F), in the columns' own types; NaN and negative codes become null."""
        encoded = np.asarray(values)
        missing = np.isnan(encoded) | (encoded < 0) if encoded.dtype.kind == "f" else encoded < 0
        codes = np.where(missing, 0, np.rint(np.where(missing, 0, encoded))).astype(np.int64)
        codes = np.minimum(codes, np.array(self.levels) - 1)
        return [
            _levels_at(field, kind, codes[:, index], missing[:, index])
            for index, (field, kind) in enumerate(zip(self._fields, self._types, strict=True))
        ]

    def summarise(self, draws: NDArray[Any], wanted: Sequence[int], interval: float) -> list[dict[str, pa.Array]]:
        """The most frequent level of each field, and its share of the draws."""
        samples, rows, fields = draws.shape
        best, share = np.zeros((rows, fields), dtype=np.int64), np.zeros((rows, fields))
        for index in wanted:  # one at a time: a category may have thousands of levels
            size = self.levels[index]
            flat = draws[:, :, index].astype(np.int64) + np.arange(rows) * size
            counts = np.bincount(flat.ravel(), minlength=rows * size).reshape(rows, size)
            best[:, index], share[:, index] = counts.argmax(-1), counts.max(-1) / samples
        decoded = self.decode(best)
        return [{"": decoded[index], "probability": pa.array(share[:, index])} for index in wanted]


@dataclass(frozen=True)
class Levels:
    """Distinct values of a column.

    Args:
        values: The values, in order.
        rows: Rows of the column.
        observed: Rows whose value is not missing.

    Example:
        >>> Levels(("b",), 2, 1).merged(Levels(("a", "b"), 3, 3))
        Levels(values=('a', 'b'), rows=5, observed=4)
    """

    values: tuple[Level, ...]
    rows: int
    observed: int

    def merged(self, other: Levels) -> Levels:
        """The levels of both: sorted, unless they agree."""
        same = self.values == other.values
        values = self.values if same else tuple(sorted({*self.values, *other.values}))
        return Levels(values, self.rows + other.rows, self.observed + other.observed)


def natural_likelihood(count: int, *, ordered: bool) -> str:
    """The likelihood for a number of levels: ``bernoulli`` for two, ``ordinal`` if ordered, else ``categorical``.

    Example:
        >>> natural_likelihood(2, ordered=True), natural_likelihood(3, ordered=True)
        ('bernoulli', 'ordinal')
    """
    if count == 2:
        return "bernoulli"
    return "ordinal" if ordered else "categorical"


def levels_of(column: Column, *, spelled: bool = False) -> list[Level]:
    """Distinct values of a column: in the dictionary's own order if that is declared, else sorted.

    Args:
        column: Any column that can be a category.
        spelled: Only levels that rows hold, sorted, even if a dictionary declares more, or another order.

    Example:
        >>> levels_of(pa.chunked_array([["b", None, "a", "b"]]))
        ['a', 'b']
    """
    if pa.types.is_dictionary(column.type) and column.type.ordered and not spelled:
        declared = [level for chunk in column.chunks for level in chunk.dictionary.to_pylist()]
        return [level for level in dict.fromkeys(declared) if level is not None]
    values = plain(column).unique().to_pylist()
    return _as_levels(sorted({_plain_zero(value) for value in values if value is not None and _finite(value)}))


def common_levels(column: Column) -> tuple[list[Level], Codes]:
    """Distinct values of a column, sorted, with the number of rows that hold each.

    Example:
        >>> common_levels(pa.chunked_array([["b", None, "a", "b"]]))
        (['a', 'b'], array([1, 2]))
    """
    import pyarrow.compute as pc

    values, counts = pc.value_counts(plain(column).drop_null()).flatten()
    found: dict[Any, int] = {}
    for value, count in zip(values.to_pylist(), counts.to_pylist(), strict=True):
        if _finite(value):
            found[_plain_zero(value)] = found.get(_plain_zero(value), 0) + count
    pairs = sorted(found.items())
    return _as_levels([value for value, _ in pairs]), np.array([count for _, count in pairs], dtype=np.int64)


def _finite(value: Any) -> bool:
    """Whether a value can be a level: infinite numbers and NaN cannot."""
    return not isinstance(value, float) or math.isfinite(value)


def _plain_zero(value: Any) -> Any:
    """The value itself, but for a zero with a sign."""
    return value + 0.0 if isinstance(value, float) else value


def _as_levels(found: list[Any]) -> list[Level]:
    """Sorted values as levels: floats that are all whole become integers."""
    whole = all(isinstance(value, float) and value.is_integer() and abs(value) < 2**53 for value in found)
    return [int(value) for value in found] if whole else found


def missing_count(column: Column) -> int:
    """Number of rows that hold null or NaN."""
    import pyarrow.compute as pc

    if pa.types.is_null(column.type):
        return len(column)
    column = plain(column)
    nan = pc.sum(pc.is_nan(column)).as_py() or 0 if pa.types.is_floating(column.type) else 0
    return int(column.null_count + nan)


def plain(column: Column) -> Column:
    """A column with its dictionary resolved and its strings in a layout that every kernel knows."""
    kind = value_type(column.type)
    target = pa.large_string() if is_text(kind) else pa.float64() if pa.types.is_decimal(kind) else kind
    if not pa.types.is_dictionary(column.type):
        return column.cast(target)
    return pa.chunked_array([chunk.dictionary.cast(target).take(chunk.indices) for chunk in column.chunks], type=target)


class _Read(NamedTuple):
    """Categories as they were read: codes (0 where missing), what was observed, and what is there but no level."""

    codes: Codes
    observed: NDArray[np.bool_]
    unknown: NDArray[np.bool_]


def _codes(field: Category, column: Column) -> _Read:
    """One column as it was read, each array of shape (B,)."""
    if pa.types.is_null(column.type):
        nothing = np.zeros(len(column), dtype=np.bool_)
        return _Read(nothing.astype(np.int64), nothing, nothing)
    if field.levels and isinstance(field.levels[0], str) and pa.types.is_integer(column.type):
        column = column.cast(pa.large_string())  # codes: a text file of some rows may hold numbers alone
    table = _value_set(field, column.type)
    if len(column) == 0:
        return _Read(np.zeros(0, dtype=np.int64), *np.zeros((2, 0), dtype=np.bool_))
    parts = [_chunk_codes(chunk, table) for chunk in column.chunks]
    codes, valid = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    unseen = valid & (codes < 0)
    if field.unseen == "error" and unseen.any():
        row = int(np.argmax(unseen))
        shown = ", ".join(repr(level) for level in field.levels[:5])
        expected = f"one of {shown}{f' and {len(field.levels) - 5} more' if len(field.levels) > 5 else ''}"
        got = repr(column[row].as_py())
        raise ContractError("value is not a known category", field=field.name, row=row, expected=expected, got=got)
    observed = valid & ~unseen
    return _Read(np.where(observed, codes, 0), observed, unseen)


def _value_set(field: Category, kind: pa.DataType) -> pa.Array:
    """The levels as an Arrow array in which values of a column of type `kind` can be looked up."""
    kind, sample = value_type(kind), field.levels[0]
    if isinstance(sample, str) and is_text(kind):
        return pa.array(field.levels, type=pa.large_string())
    if isinstance(sample, bool) and pa.types.is_boolean(kind):
        return pa.array(field.levels, type=pa.bool_())
    if (
        isinstance(sample, int | float)
        and not isinstance(sample, bool)
        and (is_number(kind) or pa.types.is_decimal(kind))
    ):
        whole = all(isinstance(level, int) for level in field.levels)
        wide = pa.uint64() if max(field.levels) >= 2**63 else pa.int64()  # type: ignore[operator]
        return pa.array(field.levels, type=wide if whole and pa.types.is_integer(kind) else pa.float64())
    expected = {str: "strings", bool: "booleans"}.get(type(sample), "numbers")
    raise wrong_type(field, f"{expected} ({field.type})", kind)


def _chunk_codes(chunk: pa.Array, table: pa.Array) -> tuple[Codes, NDArray[np.bool_]]:
    """Codes of one contiguous array, -1 for what is not in the table, and what is neither null nor NaN."""
    import pyarrow.compute as pc

    if pa.types.is_dictionary(chunk.type):
        inner, known = _chunk_codes(chunk.dictionary, table)
        indices = chunk.indices.fill_null(0).to_numpy(zero_copy_only=False)
        if not len(inner):
            return np.full(len(chunk), -1), np.zeros(len(chunk), dtype=np.bool_)
        return inner[indices], known[indices] & chunk.indices.is_valid().to_numpy(zero_copy_only=False)
    if chunk.type != table.type:
        chunk = chunk.cast(table.type, safe=False)
    if pa.types.is_floating(chunk.type):
        chunk = pc.add(chunk, 0.0)  # minus zero is zero
    codes = pc.index_in(chunk, value_set=table).fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    valid = chunk.is_valid()
    if pa.types.is_floating(chunk.type):
        valid = pc.and_(valid, pc.invert(pc.is_nan(chunk).fill_null(False)))
    return codes, valid.to_numpy(zero_copy_only=False)


def _levels_at(field: Category, kind: pa.DataType, codes: Codes, missing: NDArray[np.bool_]) -> pa.Array:
    """The levels of one column of codes as an Arrow array of the column's type."""
    mask = missing if missing.any() else None
    if pa.types.is_dictionary(kind):
        indices = pa.array(codes, type=kind.index_type, mask=mask)
        return pa.DictionaryArray.from_arrays(indices, _written(field.levels, kind.value_type), ordered=kind.ordered)
    return (
        _written(field.levels, pa.large_string() if is_text(kind) else kind).take(pa.array(codes, mask=mask)).cast(kind)
    )


def _written(levels: Sequence[Level], kind: pa.DataType) -> pa.Array:
    """Levels as an array of a type."""
    through = pa.types.is_decimal(kind) or pa.types.is_floating(kind)
    return pa.array(levels, pa.float64()).cast(kind, safe=False) if through else pa.array(levels, type=kind)
