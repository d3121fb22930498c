"""Rows drawn from a model, as work of a batch job."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from vaekit.batch.asking import ROW, Answered
from vaekit.batch.work import Task
from vaekit.errors import ConfigError
from vaekit.queries import query
from vaekit.queries.tables import column
from vaekit.runtime import Engine

__all__ = ["Draws"]


class Draws:
    """Rows to be drawn. A row is the same whatever is drawn beside it.

    Args:
        engine: The model.
        rows: How many.
        options: Options of the query `sample`.

    Raises:
        ConfigError: If the rows are no number, or an option makes no sense.
    """

    def __init__(self, engine: Engine, rows: int, options: Mapping[str, Any]) -> None:
        if not isinstance(rows, int) or isinstance(rows, bool) or rows < 0:
            raise ConfigError(f"rows to sample must be a whole number, got {rows!r}")
        self._engine, self._options, self.total = engine, dict(options), rows
        drawn = query(engine, "sample", 1, **options)
        if ROW in drawn.column_names:
            raise ConfigError(f"the answer would have two columns of the name {ROW!r}; rename the field of the model")
        self.schema = pa.schema([pa.field(ROW, pa.int64()), *drawn.schema])

    def tasks(self, first: int, rows: int, part: int) -> Iterator[Task]:
        """So many rows at a time."""
        while first < self.total:
            size = min(rows, part - first % part, self.total - first)
            yield Task(first, size)
            first += size

    def answer(self, task: Task) -> Answered:
        """Draw some rows."""
        drawn = query(self._engine, "sample", task.rows, first=task.first, **self._options)
        numbers = column(np.arange(task.first, task.first + task.rows))
        return Answered(task.first, task.rows, pa.table([numbers, *drawn.columns], schema=self.schema))

    def trial(self, most: int) -> Callable[[int], int] | None:
        """Draw the first rows, again and again."""
        return lambda rows: int(self.answer(Task(0, rows)).table.nbytes)
