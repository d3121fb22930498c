"""Contracts from one pass over a source of rows: tallies of its batches, folded together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa

from vaekit.arrays import generator
from vaekit.errors import ContractError
from vaekit.fields.base import Column, Field
from vaekit.fields.batches import Source
from vaekit.fields.infer import infer_field, survey_of

__all__ = ["Folded", "fitted", "inferred", "sampled"]

SAMPLE = 2**16  # rows from all over a source that suggest kinds


class Folded:
    """Tallies of batches as they come, merged like with like: errors and work grow with the logarithm of their number.

    Args:
        tally: Tells of a column what is wanted.
        told: Gives the answer, from the tally of all rows.

    Example:
        >>> from vaekit.fields.number import Number
        >>> field = Number.blank("x", pa.float64(), "model")
        >>> folded = Folded(field.tally, field.fitted)
        >>> for start in (0.0, 2.0, 4.0):
        ...     folded.add(pa.chunked_array([[start, start + 1.0]]))
        >>> folded.result().bounds
        (0.0, 5.0)
    """

    def __init__(self, tally: Callable[[Column], Any], told: Callable[[Any], Any]) -> None:
        self._tally, self._told = tally, told
        self._parts: list[tuple[int, Any]] = []
        self.nulls = 0

    def add(self, column: Column) -> None:
        """Take the next rows."""
        self.nulls += column.null_count
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
    folded = [Folded(field.tally, field.fitted) for field in fields]
    rows = _pass(source.whole(), [field.name for field in fields], folded)
    if not rows:
        raise ContractError("the table has no rows to fit to")
    return tuple(one.result() for one in folded)


def inferred(source: Source) -> tuple[Field, ...]:
    """The fields that a source suggests, from one pass over all of its rows.

    A sample from all over the source is looked at first. Numbers, text and lists are then decided on by what the pass
    found in all rows, as if they had been in memory at once: a level, a fraction or a third value that comes late is
    seen. A column of any other kind keeps the kind that the sample suggests, and is fitted to all rows.

    Raises:
        ContractError: The source has no rows, or a late row breaks the kind that the sample suggests.
    """
    sample, rest = _sample(source)
    if rest is None:
        return tuple(infer_field(name, sample[name]) for name in sample.column_names)
    folded = [_decision(name, sample[name]) for name in source.schema.names]
    rows = _pass(rest, source.schema.names, folded)
    empty = pa.chunked_array([pa.nulls(1)])
    return tuple(
        infer_field(field.name, empty.cast(field.type)) if one.nulls == rows else one.result()
        for field, one in zip(source.schema, folded, strict=True)
    )


def _decision(name: str, sample: Column) -> Folded:
    """What to tally of a column, and the field that follows from it."""
    guess = infer_field(name, sample)
    known = survey_of(sample.type)
    if known is not None:
        survey, decide = known
        if sample.null_count == len(sample) or decide(name, sample.type, survey(sample)) == guess:
            return Folded(survey, lambda total: decide(name, sample.type, total))
    if guess.role == "model":
        return Folded(lambda column: guess.tally(column, strict=False), guess.fitted)
    return Folded(lambda column: _Nothing(), lambda _: guess)


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
    tables, total = [source.schema.empty_table()], 0
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
