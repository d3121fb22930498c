"""Contracts from one pass over a source of rows: tallies of its batches, folded together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from vaekit.arrays import generator
from vaekit.errors import ContractError
from vaekit.fields.arrow_types import is_numeric, is_text, value_type
from vaekit.fields.base import Column, Field, Tally
from vaekit.fields.batches import Source, empty
from vaekit.fields.category import Category, common_levels, natural_likelihood, plain
from vaekit.fields.count import Count
from vaekit.fields.datetime import Datetime
from vaekit.fields.infer import infer_field, of_profile, renamed
from vaekit.fields.markers import says_missing, surely_missing, without
from vaekit.fields.number import Number
from vaekit.fields.number_text import no_numbers
from vaekit.fields.other import Other
from vaekit.fields.profile import Profile

__all__ = ["Folded", "fitted", "inferred", "sampled"]

SAMPLE = 2**16  # rows from all over a source that suggest kinds
MOST_LEVELS = 2**17  # levels of a column that are counted
_GLANCE = 50  # rows of each level that suggest a kind


class Folded:
    """Tallies of batches as they come, merged like with like: errors and work grow with the logarithm of their number.

    Args:
        tally: Tells of a column what is wanted.
        told: Gives the answer, from the tally of all rows.

    Example:
        >>> field = Number.blank("x", pa.float64(), "model")
        >>> folded = Folded(field.tally, field.fitted)
        >>> for start in (0.0, 2.0, 4.0):
        ...     folded.add(pa.chunked_array([[start, start + 1.0]]))
        >>> folded.result().bounds
        (0.0, 5.0)
    """

    def __init__(self, tally: Callable[[Column], Tally], told: Callable[[Any], Any]) -> None:
        self._tally, self._told = tally, told
        self._parts: list[tuple[int, Tally]] = []

    def add(self, column: Column) -> None:
        """Take the next rows."""
        self._parts.append((len(column), self._tally(column)))
        while len(self._parts) > 1 and self._parts[-2][0] <= self._parts[-1][0]:
            self._merge()

    def result(self) -> Any:
        """The answer for all rows so far, of which there is at least one."""
        while len(self._parts) > 1:
            self._merge()
        return self._told(self._parts[0][1])

    def _merge(self) -> None:
        (more, later), (rows, earlier) = self._parts.pop(), self._parts.pop()
        self._parts.append((rows + more, earlier.merged(later)))


def fitted(fields: Sequence[Field], source: Source) -> tuple[Field, ...]:
    """Fields fitted to all rows of a source, in one pass.

    Args:
        fields: The fields; their columns are there.
        source: The training rows.

    Raises:
        ContractError: A row breaks a field, or a field has nothing to be fitted to.
    """
    folded = [Folded(_cleaned(field, field.tally), field.fitted) for field in fields]
    rows = _pass(source.whole(), [field.name for field in fields], folded)
    if not rows:
        raise ContractError("the table has no rows to fit to")
    return tuple(one.result() for one in folded)


def inferred(source: Source) -> tuple[Field, ...]:
    """The fields that a source suggests.

    Of a source that is not in memory, a sample from all over it suggests the kinds, and whether a column is left out.
    Grids, levels, ranges and transforms then come from one pass over all of its rows, so that a fraction or a level
    that comes late is seen. Late texts that stand for "missing" become markers, and late decimals count.

    Raises:
        ContractError: The source has no rows, or a late row breaks the kind that the sample suggests, such as a number
            with a separator of thousands where the sample has none; the row is named.
    """
    sample, rest = _sample(source)
    names = sample.column_names
    guesses = [renamed(infer_field(name, sample[name]), sample.schema) for name in names]
    if rest is None:
        return tuple(guesses)
    folded = [_all_rows(guess, sample.schema.field(guess.name).type) for guess in guesses]
    _pass(rest, names, folded)
    return tuple(one.result() for one in folded)


def _all_rows(guess: Field, kind: pa.DataType) -> Folded:
    """What to tally of a column of the kind that a sample suggests, and the field that follows from all rows."""
    empty = isinstance(guess, Other) and (
        is_numeric(kind) or Category.accepts(kind)
    )  # of the sample, or constant there
    if guess.role != "model" and not empty:
        return Folded(lambda column: _Nothing(), lambda _: guess)
    if isinstance(guess, Datetime):
        return _marked(guess, kind, guess.inferred)
    if is_numeric(kind):
        reader = Number.blank(guess.name, kind, "model")
        return Folded(partial(reader.tally, strict=False), partial(_of_values, guess.name, kind))
    if isinstance(guess, Number | Count):
        return _marked(guess, kind, partial(_of_text, guess, kind))
    declared = bool(pa.types.is_dictionary(kind) and kind.ordered)
    if empty or (isinstance(guess, Category) and not declared):
        return Folded(_cleaned(guess, Counted.of), partial(_of_levels, guess, kind))
    return Folded(_cleaned(guess, guess.tally), guess.fitted)


def _of_values(name: str, kind: pa.DataType, profile: Profile) -> Field:
    """The field that all values suggest; whole numbers without gaps and repeats number the rows."""
    return of_profile(name, kind, profile, even=profile.consecutive)


def _of_text(guess: Number | Count, kind: pa.DataType, profile: Profile) -> Field:
    """Numbers in text, with grid and range from all rows; a count that is none is a number."""
    count = isinstance(guess, Count) and profile.whole and profile.count > 0 and profile.values[0] >= 0
    text = guess.text
    if text is not None and text.decimals is not None and not profile.written_with(text.decimals):
        text = msgspec.structs.replace(text, decimals=None)
    made = (Count if count else Number).infer(guess.name, kind, profile, text)
    return msgspec.structs.replace(made, markers=guess.markers, note=guess.note)


def _marked(guess: Number | Count, kind: pa.DataType, told: Callable[[Profile], Field]) -> Folded:
    """Numbers or dates, with the texts among them that stand for "missing" as markers."""

    def tally(column: Column) -> _Marked:
        found = _missing_texts(column, says_missing) if is_text(value_type(kind)) else frozenset()
        return _Marked(guess.tally(without(column, (*guess.markers, *found))), found)

    return Folded(tally, lambda all_rows: _with_markers(told(all_rows.tally), all_rows.markers))


def _missing_texts(column: Column, missing: Callable[[str], bool]) -> frozenset[str]:
    """The texts of a column that stand for "missing", without the spaces around them."""
    import pyarrow.compute as pc

    texts = [] if pa.types.is_null(column.type) else pc.unique(plain(column)).to_pylist()
    return frozenset(text.strip() for text in texts if text is not None and missing(text))


def _with_markers(field: Field, found: Iterable[str]) -> Field:
    """The field with these markers, too, and a note of all."""
    markers = tuple(sorted({*map(str, field.markers), *found}))
    if markers == field.markers:
        return field
    before, after = (f"{', '.join(map(repr, some))} read as missing" for some in (field.markers, markers))
    rest = field.note.replace(before, after) if field.markers else "; ".join(filter(None, (field.note, after)))
    return msgspec.structs.replace(field, markers=markers, note=rest)


def _of_levels(guess: Field, kind: pa.DataType, found: Counted) -> Field:
    """A category with its levels from all rows, in the order that the sample gave them."""
    known = guess.levels if isinstance(guess, Category) else ()
    known = () if list(known) == sorted(known) else known  # numbers in text have an order of their own
    place = {level: index for index, level in enumerate(known)}
    pairs = sorted(found.counts.items(), key=lambda pair: (place.get(pair[0], len(place)), pair[0]))
    levels, counts = _unzipped(pairs)
    if not isinstance(guess, Category):  # all alike in the sample
        if found.rows == 0 or (len(levels) < 2 and guess.note.startswith("constant")) or not levels:
            return guess
        values = pa.array(np.repeat(np.array(levels, object), np.minimum(counts, _GLANCE)).tolist(), value_type(kind))
        guess = infer_field(guess.name, pa.chunked_array([values]).cast(kind))
        if not isinstance(guess, Category) or guess.role != "model":
            return guess
    numbers = bool(known) and not no_numbers([str(level) for level in known])
    says = says_missing if numbers else surely_missing
    odd = {level for level in levels if isinstance(level, str) and says(level)}
    levels, counts = _unzipped([pair for pair in pairs if pair[0] not in odd])
    ordinal = guess.likelihood == "ordinal" and len(levels) > 2
    family = "ordinal" if ordinal else natural_likelihood(len(levels), ordered=False)
    made = Category.of_counts(guess.name, kind, levels, counts, found.rows, family)
    made = msgspec.structs.replace(made, markers=guess.markers, note=made.note or guess.note)
    return _with_markers(made, {level.strip() for level in odd})


def _unzipped(pairs: Sequence[tuple[Any, int]]) -> tuple[list[Any], NDArray[np.int64]]:
    """Levels and their counts."""
    return [level for level, _ in pairs], np.array([count for _, count in pairs], np.int64)


def _cleaned(field: Field, tally: Callable[[Column], Any]) -> Callable[[Column], Any]:
    return lambda column: tally(field.clean(column))


@dataclass(frozen=True)
class Counted:
    """The levels of a column, with the rows that hold each."""

    counts: dict[Any, int]
    rows: int

    @classmethod
    def of(cls, column: Column) -> Counted:
        """The levels of some rows."""
        if pa.types.is_null(column.type):
            return cls({}, len(column))
        levels, counts = common_levels(column)
        return cls(dict(zip(levels, counts.tolist(), strict=True)), len(column))

    def merged(self, other: Counted) -> Counted:
        """The levels of both."""
        counts = Counter(self.counts)
        counts.update(other.counts)
        if len(counts) > MOST_LEVELS:  # what is rare among so many is not modelled in the end
            counts = Counter(dict(counts.most_common(MOST_LEVELS // 2)))
        return Counted(dict(counts), self.rows + other.rows)


@dataclass(frozen=True)
class _Marked:
    """The tally of a column of text, and the texts in it that were taken for "missing"."""

    tally: Tally
    markers: frozenset[str]

    def merged(self, other: _Marked) -> _Marked:
        """The tally of the rows of both."""
        return _Marked(self.tally.merged(other.tally), self.markers | other.markers)


class _Nothing:
    """The tally of a column that is left out whatever it holds."""

    def merged(self, other: _Nothing) -> _Nothing:
        return self


def _pass(batches: Iterator[pa.Table], names: Sequence[str], folded: Sequence[Folded]) -> int:
    """Show every batch to every tally; returns the number of rows."""
    rows = 0
    for batch in batches:
        try:
            for name, one in zip(names, folded, strict=True):
                one.add(batch[name])
        except ContractError as error:
            raise error.after(rows) from error
        rows += batch.num_rows
    return rows


def _sample(source: Source) -> tuple[pa.Table, Iterator[pa.Table] | None]:
    """Rows from all over a source, and all of its batches; None if the rows are all there are."""
    if source.table is not None:
        return _some(source.table), None
    if source.once:
        batches = source.whole()
        first, second = next(batches, None), next(batches, None)
        if first is None or second is None:
            return _some(first), None
        return first, chain([first, second], batches)
    if source.spread is not None and (source.rows or 0) > SAMPLE:
        return source.spread(SAMPLE), source.whole()
    sample, rows = sampled(source, SAMPLE, seed=0)
    return _some(sample), None if rows <= SAMPLE else source.whole()


def _some(table: pa.Table | None) -> pa.Table:
    if table is None or table.num_rows == 0:
        raise ContractError("the table has no rows; a contract is inferred from at least one")
    return table


def sampled(source: Source, rows: int | Callable[[float], int], seed: int) -> tuple[pa.Table, int]:
    """A uniform sample without replacement, in the order of the source, from one pass.

    Every row gets a random key; the rows with the smallest keys are the sample.

    Args:
        source: The rows.
        rows: Most rows of the sample, or what tells it from the bytes of a row.
        seed: The seed: the same source and seed give the same rows.

    Returns:
        The sample, and the number of rows that it was taken from.

    References:
        Vitter, Random sampling with a reservoir, 1985, section 1.
    """
    tables, total = [empty(source.schema)], 0
    keys, limit = np.zeros(0), np.inf
    most = rows if isinstance(rows, int) else 0
    for batch in source.batches():
        if not isinstance(rows, int) and not most:
            most = rows(batch.nbytes / batch.num_rows)
        key = generator(seed, "sample", total).random(batch.num_rows)
        total += batch.num_rows
        near = np.flatnonzero(key < limit)
        tables.append(batch.take(near) if len(near) < batch.num_rows else batch)
        keys = np.concatenate([keys, key[near]])
        if len(keys) > 2 * most:
            tables, keys, limit = _nearest(tables, keys, most)
    if len(keys) > most:
        tables, keys, limit = _nearest(tables, keys, most)
    return pa.concat_tables(tables).unify_dictionaries().combine_chunks(), total


def _nearest(tables: list[pa.Table], keys: np.ndarray[Any, Any], rows: int) -> tuple[list[pa.Table], Any, float]:
    kept = np.sort(np.argpartition(keys, rows)[:rows])
    table = pa.concat_tables(tables).unify_dictionaries().combine_chunks()
    return [table.take(kept)], keys[kept], float(keys[kept].max())
