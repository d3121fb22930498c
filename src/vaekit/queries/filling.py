"""Predictive draws into completed tables: point estimates, intervals, or one table per draw."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vaekit.arrays import Array, Blocks
from vaekit.errors import ConfigError
from vaekit.queries.base import model_specs, observed_shares
from vaekit.queries.tables import gathered

if TYPE_CHECKING:
    import pyarrow as pa

    from vaekit.runtime.engine import Engine

__all__ = ["Filling"]


class Filling:
    """Collects predictive draws chunk by chunk, and completes the table at the end.

    Args:
        engine: The engine.
        data: The table with missing cells.
        wanted: Numbers of the rows that have missing cells, in order.
        blocks: The encoded table.
        draws: Completed tables wanted; 1 asks for point estimates.
        interval: Coverage of the intervals beside point estimates, or None.
    """

    def __init__(
        self, engine: Engine, data: pa.Table, wanted: Array, blocks: Blocks, draws: int, interval: float | None
    ) -> None:
        self.engine, self.data, self.wanted = engine, data, wanted
        self.draws, self.interval = draws, interval
        self.place = np.full(data.num_rows, -1)
        self.place[wanted] = np.arange(len(wanted))
        self.missing = {name: share < 1.0 for name, share in observed_shares(engine, blocks).items()}
        for spec in model_specs(engine):  # a category that the model does not know is no gap in the data
            if blocks[spec.name].unknown is not None:
                for name, unknown in zip(spec.fields, blocks[spec.name].unknown.T, strict=True):
                    self.missing[name] &= ~unknown
        absent = set(self.missing) - set(data.column_names)
        self.names = [name for name in engine.contract.names("model") if name in absent or self.missing[name].any()]
        self.blocks = [spec.name for spec in model_specs(engine) if not set(self.names).isdisjoint(spec.fields)]
        self.chunks: list[dict[str, pa.Array]] = []
        added = [*(["draw"] if draws > 1 else []), *self._aside()]
        if taken := [name for name in added if name in data.column_names]:
            columns = ", ".join(taken)
            raise ConfigError(f"the answer adds columns that the table already has: {columns}; rename or drop them")

    def add(self, values: dict[str, Array]) -> None:
        """Take the predictive draws of one chunk of rows: block name to encoded values (S, B, F, *event)."""
        if self.draws > 1:
            decoded = self._decode(values)
            self.chunks.append({name: decoded[name].combine_chunks() for name in self.names})
        else:
            self.chunks.append(self._points(values))

    def table(self) -> pa.Table:
        """The completed table; with several draws all of them below each other, told apart by column ``draw``."""
        import pyarrow as pa

        if self.draws == 1:
            columns = list(self.chunks[0]) if self.chunks else self.names
            return self._complete({name: self._joined(name, None) for name in columns})
        tables = []
        for draw in range(self.draws):
            table = self._complete({name: self._joined(name, draw) for name in self.names})
            number = pa.array(np.full(table.num_rows, draw, np.int32))
            tables.append(table.append_column("draw", number))
        return pa.concat_tables(tables)

    def _aside(self) -> dict[str, tuple[str, pa.DataType]]:
        """Columns beside the point estimates with field and type of each: the same whatever is missing."""
        if self.interval is None:
            return {}
        contract = self.engine.contract
        return {
            f"{name}.{aside}": (name, kind)
            for name in contract.names("model")
            for aside, kind in contract[name].asides.items()
        }

    def _decode(self, values: dict[str, Array]) -> pa.Table:
        flat = {name: value.reshape(-1, *value.shape[2:]) for name, value in values.items()}
        return self.engine.contract.decode(flat, self.names)

    def _points(self, values: dict[str, Array]) -> dict[str, pa.Array]:
        """Point estimates of a chunk, and what is told beside them."""
        told = self.engine.contract.summarise(values, self.names, self.interval or 0.5)
        return {
            f"{name}.{aside}" if aside else name: column
            for name, columns in told.items()
            for aside, column in columns.items()
            if not aside or self.interval is not None
        }

    def _joined(self, name: str, draw: int | None) -> pa.Array:
        """One column of all chunks, for one draw: one value per wanted row."""
        import pyarrow as pa

        if not self.chunks:  # no row is wanted
            return self.engine.contract.decode(gathered(self.engine, []), [name])[name].combine_chunks()
        parts = [chunk[name] for chunk in self.chunks]
        if draw is not None:
            parts = [part.slice(draw * (len(part) // self.draws), len(part) // self.draws) for part in parts]
        return pa.concat_arrays(parts)

    def _complete(self, filled: dict[str, pa.Array]) -> pa.Table:
        """The table with its missing cells filled, and what goes beside them; null where nothing was missing."""
        import pyarrow as pa

        table = self.data
        for name in self.names:
            spread = self._spread(filled[name], name)
            if name not in table.column_names:
                table = table.append_column(name, spread)
                continue
            merged = self.engine.contract[name].merge(table[name], spread, self.missing[name])
            table = table.set_column(table.column_names.index(name), name, merged)
        for column, (name, kind) in self._aside().items():
            nothing = pa.nulls(table.num_rows, kind)
            table = table.append_column(column, self._spread(filled[column], name) if column in filled else nothing)
        return table

    def _spread(self, values: pa.Array, name: str) -> pa.Array:
        """Values of the wanted rows at their places in the table; null where the field was observed."""
        import pyarrow as pa

        return values.take(pa.array(self.place, mask=~self.missing[name]))
