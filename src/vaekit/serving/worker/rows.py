"""Rows of requests before they are put together: Arrow tables, or cells as JSON gave them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Self

import pyarrow as pa

from vaekit.serving.worker.cells import Cells

__all__ = ["CellRows", "Rows", "TableRows"]


class Rows(ABC):
    """Rows of one request; those with equal keys can be merged."""

    count: int
    columns: Collection[str]

    @property
    @abstractmethod
    def key(self) -> Hashable:
        """What rows must have in common to be merged."""

    @classmethod
    @abstractmethod
    def merged(cls, parts: Sequence[Self]) -> pa.Table:
        """The rows of several requests, one after the other, as a table.

        Raises:
            ContractError: A value cannot be held in the type of its field; its row is counted over all parts.
        """


class TableRows(Rows):
    """Rows that came as an Arrow table.

    Args:
        table: The rows, with the columns that the model reads.
    """

    def __init__(self, table: pa.Table) -> None:
        self.table, self.count, self.columns = table, table.num_rows, table.column_names

    @property
    def key(self) -> Hashable:
        """Names and types of the columns."""
        return _Schema(self.table.schema, tuple(self.columns))

    @classmethod
    def merged(cls, parts: Sequence[Self]) -> pa.Table:
        """The tables, one after the other, each column in one piece."""
        return pa.concat_tables([part.table for part in parts]).combine_chunks()


@dataclass(frozen=True, eq=False)
class _Schema:
    """A schema that is quickly found among others: Arrow's own hash looks at every type."""

    schema: pa.Schema
    names: tuple[str, ...]

    def __hash__(self) -> int:
        return hash(self.names)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Schema) and bool(self.schema.equals(other.schema))


class CellRows(Rows):
    """Rows that came as plain values.

    Args:
        cells: How each field is read, by name.
        values: Values of each column that came, in the form that its `Cells.array` takes.
        count: Number of rows.
    """

    def __init__(self, cells: Mapping[str, Cells], values: Mapping[str, Sequence[Any]], count: int) -> None:
        self.cells, self.values, self.count, self.columns = cells, values, count, values.keys()

    @property
    def key(self) -> Hashable:
        """Names of the columns; each has the type of its field."""
        return tuple(self.values)

    @classmethod
    def merged(cls, parts: Sequence[Self]) -> pa.Table:
        """The values of each column, one request after the other, in the type of its field."""
        first = parts[0]
        arrays = [
            cells.array(list(chain.from_iterable(part.values[name] for part in parts)))
            for name, cells in ((name, first.cells[name]) for name in first.values)
        ]
        return pa.Table.from_arrays(arrays, names=list(first.values))
