"""One query put to table after table: columns carried along, and rows that break the contract set aside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import numpy as np
import pyarrow as pa

from vaekit.arrays import Array
from vaekit.errors import ConfigError, ContractError
from vaekit.fields.refused import refused
from vaekit.queries import RowQuery
from vaekit.queries.tables import column
from vaekit.runtime import Engine

__all__ = ["ROW", "Answered", "Fault", "Keep", "Question"]

Keep = Sequence[str] | Literal["all"]
ROW = "row"  # column that holds the number of the row


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """A row that was not answered.

    Args:
        row: Its number, counted from 0 over the whole input.
        field: The field to blame, if there is one.
        kind: Kind of the field.
        problem: What is wrong.
        expected: What the contract asks for.
        got: What came instead.
        cells: All cells of the row as text, null where they are missing.
    """

    row: int
    field: str | None
    kind: str | None
    problem: str
    expected: str | None
    got: str | None
    cells: dict[str, str | None]


@dataclass(frozen=True)
class Answered:
    """The answer to some rows.

    Args:
        first: Number of the first row that was asked about.
        rows: How many were asked about.
        table: The answer, without the rows that are at fault.
        faults: Those rows.
    """

    first: int
    rows: int
    table: pa.Table
    faults: Sequence[Fault] = ()


class Question:
    """A query with its options, to be put to one table after another.

    Args:
        engine: The model.
        name: Name of a query that answers row by row.
        columns: Schema of the tables.
        options: Options of the query.
        keep: Columns of the tables that go before the answer; ``all`` for those that the answer has not.
        numbered: Put the number of the row before them, as column ``row``.

    Attributes:
        schema: Schema of the answers.
        keep: Names of the columns that are carried along.
        placed: Whether answers depend on the numbers of rows.

    Raises:
        QueryError: If there is no such query, or it does not answer row by row.
        ConfigError: If a column to keep is not there, or the answer has one of its name.
        ContractError: If a column that the query needs is not there, or of a wrong type.
    """

    def __init__(
        self,
        engine: Engine,
        name: str,
        columns: pa.Schema,
        options: Mapping[str, Any],
        *,
        keep: Keep = (),
        numbered: bool = True,
    ) -> None:
        self._engine, self._ask, self._numbered = engine, RowQuery(engine, name, columns, options), numbered
        self.placed = self._ask.placed
        self.keep = _kept(columns, self._ask.schema, keep)
        lead = [pa.field(ROW, pa.int64())] if numbered else []
        self.schema = pa.schema([*lead, *(columns.field(one) for one in self.keep), *self._ask.schema])
        if twice := {one for one in self.schema.names if self.schema.names.count(one) > 1}:
            raise ConfigError(f"the answer would have two columns of the name {min(twice)!r}; rename that of the input")

    def answer(self, table: pa.Table, numbers: Array) -> pa.Table:
        """The answer to rows that all fit the contract.

        Args:
            table: The rows.
            numbers: Number of each row, shape (B,).

        Raises:
            ContractError: If a row does not fit; its place in the table is named.
        """
        found = self._ask(table, numbers)
        draws = found.num_rows // max(table.num_rows, 1)  # a query may answer with several rows for each
        columns = [column(np.tile(numbers, draws))] if self._numbered else []
        columns += [pa.chunked_array(table[name].chunks * draws, table[name].type) for name in self.keep]
        return pa.table([*columns, *found.columns], schema=self.schema)

    def careful(
        self, table: pa.Table, numbers: Array, known: Mapping[int, ContractError]
    ) -> tuple[pa.Table, dict[int, ContractError]]:
        """The answer to the rows that fit the contract, and what is wrong with the others.

        Rows at fault are asked about as rows with nothing in them, so the others keep their places and their answers.

        Args:
            table: The rows.
            numbers: Number of each row, shape (B,).
            known: Rows that are known to be at fault, by their place in the table.

        Raises:
            ContractError: If the rows do not fit and none is to blame.
        """
        bad = dict(known)
        clean = _blanked(table, bad)
        try:
            found = self.answer(clean, numbers)
        except ContractError as error:
            contract = self._engine.contract
            more = refused(
                clean.num_rows,
                lambda part: contract.validate(clean.slice(part.start, part.stop - part.start), partial=True),
            )
            if not more:
                raise error.after(int(numbers[0])) from error
            bad |= more
            found = self.answer(_blanked(clean, more), numbers)
        if bad:
            fits = np.ones(table.num_rows, np.bool_)
            fits[list(bad)] = False
            found = found.filter(pa.array(np.tile(fits, found.num_rows // len(fits))))
        return found, dict(sorted(bad.items()))

    def faults(self, table: pa.Table, numbers: Array, bad: Mapping[int, ContractError]) -> list[Fault]:
        """What is wrong with rows, for people.

        Args:
            table: The rows as they came.
            numbers: Number of each row, shape (B,).
            bad: Rows at fault, by their place in the table.
        """
        rows = table.take(pa.array(list(bad), pa.int64())).to_pylist() if bad else []
        kinds = {field.name: field.kind for field in self._engine.contract.fields}
        return [
            Fault(
                row=int(numbers[place]),
                field=error.field,
                kind=kinds.get(error.field or ""),
                problem=error.message,
                expected=error.expected,
                got=error.got,
                cells={name: None if value is None else str(value) for name, value in cells.items()},
            )
            for (place, error), cells in zip(bad.items(), rows, strict=True)
        ]


def _kept(columns: pa.Schema, answer: pa.Schema, keep: Keep) -> tuple[str, ...]:
    """Names of the columns to carry along; none that the answer holds as they came."""
    if keep == "all":
        return tuple(name for name in columns.names if name not in answer.names)
    if absent := [name for name in keep if name not in columns.names]:
        there = ", ".join(columns.names[:20])
        raise ConfigError(f"columns to keep are not in the input: {', '.join(absent)}; it has {there}")
    whole = set(columns.names) <= set(answer.names)  # the answer is the table itself, completed
    return tuple(name for name in dict.fromkeys(keep) if not (whole and name in answer.names))


def _blanked(table: pa.Table, rows: Mapping[int, object]) -> pa.Table:
    """The table with nothing in some of its rows."""
    if not rows:
        return table
    blank = np.zeros(table.num_rows, np.bool_)
    blank[list(rows)] = True
    return table.take(pa.array(np.arange(table.num_rows), mask=blank))
