"""Queries about the rows of a source, as work of a batch job."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from vaekit.batch.asking import Answered, Question
from vaekit.batch.work import Task
from vaekit.fields.batches import Source
from vaekit.fields.contract import Contract
from vaekit.fields.sources import open_source
from vaekit.fields.text_cells import LINE, open_cells, typed
from vaekit.fields.text_files import delimiter_of, readable

__all__ = ["Rows", "opened"]

_WHOLE = 2**62  # bytes: batches are bounded by rows alone


class Rows:
    """The rows of a source, to be asked about.

    Args:
        question: What is asked.
        source: The rows.
        types: Types of the columns, where they come as text.
    """

    def __init__(self, question: Question, source: Source, types: Mapping[str, pa.DataType] | None) -> None:
        self._question, self._source, self._types = question, source, types
        self.schema, self.total = question.schema, source.rows

    def tasks(self, first: int, rows: int, part: int) -> Iterator[Task]:
        """Batches of the source."""
        for table in self._source.batches(rows, _WHOLE, first=first, cut=part):
            yield Task(first, table.num_rows, table)
            first += table.num_rows

    def answer(self, task: Task) -> Answered:
        """Ask about a batch, and set aside the rows that do not fit the contract."""
        assert task.table is not None
        numbers = np.arange(task.first, task.first + task.rows)
        table, bad = (task.table, {}) if self._types is None else typed(task.table, self._types)
        found, bad = self._question.careful(table, numbers, bad)
        cells = task.table.drop_columns(LINE) if self._types is not None else table
        return Answered(task.first, task.rows, found, self._question.faults(cells, numbers, bad))

    def trial(self, most: int) -> Callable[[int], int] | None:
        """Ask about the first rows, again and again."""
        if self._source.once:
            return None
        table = next(self._source.batches(most, _WHOLE), None)
        if table is None:
            return None

        def call(rows: int) -> int:
            some = table.slice(0, rows)
            return int(some.nbytes + self.answer(Task(0, some.num_rows, some)).table.nbytes)

        return call


def opened(data: Any, contract: Contract) -> tuple[Source, Mapping[str, pa.DataType] | None]:
    """The rows, and types for them if they come as text: then a cell that is no value costs its row and no more."""
    path = Path(data) if isinstance(data, str | os.PathLike) else None
    delimiter = delimiter_of(path.name) if path is not None and path.is_file() else None
    if path is None or delimiter is None:
        return open_source(data, contract.types), None
    return open_cells(path, delimiter), {name: readable(text) for name, text in contract.types.items()}
