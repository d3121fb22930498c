"""A question as distributed engines ask it: shipped to processes, and put to the batches that each of them holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from vaekit.batch.asking import Keep, Question
from vaekit.batch.entry import engine_of, loaded
from vaekit.bundle import Bundle
from vaekit.bundle.manifest import bundle_root, needed, read_files, read_manifest
from vaekit.errors import ConfigError
from vaekit.runtime import Engine

__all__ = ["FAULT", "Mapper", "Shipped"]

FAULT = "fault"  # column that says what is wrong with a row


@dataclass(frozen=True)
class Shipped:
    """A bundle on its way to other processes, which load it once each.

    Args:
        version: Its version, by which a process knows whether it has it.
        backend: What runs it.
        path: Where every process finds it; None if it is shipped.
        files: Content of its files; empty if it is not shipped.
    """

    version: str
    backend: str
    path: str | None = field(compare=False)
    files: Mapping[str, bytes] = field(compare=False, repr=False)

    @classmethod
    def of(cls, bundle: str | Path, backend: str, ship: bool) -> Shipped:
        """A bundle, verified, with the files that it takes to answer, or with the path alone."""
        root = bundle_root(bundle)
        manifest = read_manifest(root)
        files = read_files(root, manifest, needed(manifest, backend)) if ship else {}
        return cls(manifest.version, backend, None if ship else str(root.resolve()), files)

    @property
    def engine(self) -> Engine:
        """Its engine, the same for all that this process asks."""
        return _engine(self)


@lru_cache(maxsize=4)
def _engine(shipped: Shipped) -> Engine:
    bundle = Bundle.read(shipped.files) if shipped.path is None else loaded(shipped.path)
    return engine_of(bundle, shipped.backend)


@dataclass(frozen=True)
class Mapper:
    """A question about batches of a table that is spread over processes.

    Args:
        shipped: The bundle.
        query: Name of the query.
        columns: Schema of the batches.
        options: Options of the query.
        keep: Columns that go before the answer; ``all`` for those that the answer has not.
        row: Column that holds the number of the row, to which noise belongs.
        faults: Give rows that break the contract an answer of nulls, and say why in a column ``fault``; otherwise the
            first one is an error.

    Raises:
        ConfigError: If the answers depend on the numbers of rows and no column holds them, or it holds no whole
            numbers.
    """

    shipped: Shipped
    query: str
    columns: pa.Schema
    options: Mapping[str, Any]
    keep: Keep
    row: str | None
    faults: bool

    def __post_init__(self) -> None:
        if self.row is not None:
            index = self.columns.get_field_index(self.row)
            if index < 0 or not pa.types.is_integer(self.columns.field(index).type):
                raise ConfigError(
                    f"row={self.row!r} must name a column of whole numbers; there are {self.columns.names}"
                )
        elif self._question.placed:
            raise ConfigError(
                f"answers of {self.query!r} depend on the number of the row, which rows that are spread over processes "
                "have not; name a column of whole numbers, different for each row, with row="
            )

    @cached_property
    def _question(self) -> Question:
        return Question(self.shipped.engine, self.query, self.columns, self.options, keep=self.keep, numbered=False)

    def __getstate__(self) -> dict[str, Any]:
        """What is shipped: not the question, which holds the engine."""
        return {name: value for name, value in self.__dict__.items() if name != "_question"}

    @property
    def schema(self) -> pa.Schema:
        """Schema of the answers."""
        fault = [pa.field(FAULT, pa.string())] if self.faults else []
        return pa.schema([*self._question.schema, *fault])

    def __call__(self, batch: pa.RecordBatch | pa.Table) -> pa.Table:
        """The answer to a batch."""
        table = pa.table(batch.columns, names=batch.schema.names).cast(self.columns).combine_chunks()
        numbers = np.arange(table.num_rows) if self.row is None else table[self.row].to_numpy()
        if not self.faults:
            return self._question.answer(table, numbers)
        found, bad = self._question.careful(table, numbers, {})
        if not bad:
            return found.append_column(FAULT, pa.nulls(found.num_rows, pa.string()))
        kept = table.take(pa.array(list(bad))).select(list(self._question.keep))
        empty = [kept[name] if name in kept.column_names else pa.nulls(len(bad), kind) for name, kind in _types(found)]
        wrong = pa.table(empty, schema=found.schema)
        reasons = pa.chunked_array(
            [pa.nulls(found.num_rows, pa.string()), pa.array([str(error) for error in bad.values()])]
        )
        return pa.concat_tables([found, wrong]).append_column(FAULT, reasons)


def _types(table: pa.Table) -> list[tuple[str, pa.DataType]]:
    return [(column.name, column.type) for column in table.schema]
