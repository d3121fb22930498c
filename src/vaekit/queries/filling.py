"""Predictive draws into completed tables: point estimates, intervals, or one table per draw."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from vaekit.arrays import Array, Blocks, BlockSpec
from vaekit.errors import ConfigError
from vaekit.fields.arrow_types import parse_type
from vaekit.fields.number import Number
from vaekit.fields.numeric import write
from vaekit.fields.vector import Vector, element_matrix, write_lists
from vaekit.queries.base import model_specs, observed_shares
from vaekit.queries.tables import gathered

if TYPE_CHECKING:
    import pyarrow as pa

    from vaekit.runtime.engine import Engine

__all__ = ["Filling"]

_ASIDE = {"number": ("low", "high"), "count": ("low", "high"), "category": ("probability",)}  # beside a point estimate


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
        for name in self.missing:  # a category that the model does not know is no gap in the data
            if name in data.column_names and engine.contract[name].kind == "category":
                self.missing[name] &= data[name].is_null().to_numpy()
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

    def _aside(self) -> dict[str, str]:
        """Columns beside the point estimates, and the field of each: the same whatever is missing."""
        found: dict[str, str] = {}
        if self.interval is not None:
            for name in self.engine.contract.names("model"):
                found |= {f"{name}.{aside}": name for aside in _ASIDE.get(self.engine.contract[name].kind, ())}
        return found

    def _decode(self, values: dict[str, Array]) -> pa.Table:
        flat = {name: value.reshape(-1, *value.shape[2:]) for name, value in values.items()}
        return self.engine.contract.decode(flat, self.names)

    def _points(self, values: dict[str, Array]) -> dict[str, pa.Array]:
        """Point estimates of a chunk, and their intervals or probabilities."""
        import pyarrow as pa

        decoded, found = self._decode(values), dict[str, "pa.Array"]()
        for spec in model_specs(self.engine):
            names = [name for name in spec.fields if name in self.names]
            if not names:
                continue
            if spec.kind == "category":
                mode, share = _modes(values[spec.name], max(spec.levels))
                columns = self.engine.contract.decode({spec.name: mode}, names)
                for name in names:
                    found[name] = columns[name].combine_chunks()
                    if self.interval is not None:
                        found[f"{name}.probability"] = pa.array(share[:, spec.fields.index(name)])
                continue
            for name in names:
                found |= self._numbers(name, spec, decoded[name], values[spec.name].shape[0])
        return found

    def _numbers(self, name: str, spec: BlockSpec, column: Any, draws: int) -> dict[str, pa.Array]:
        import pyarrow as pa

        field = self.engine.contract[name]
        if isinstance(field, Vector):
            mean = element_matrix(field, column, field.length).reshape(draws, -1, field.length).mean(0)
            point = (mean >= 0.5).astype(np.float64) if spec.likelihood == "bernoulli" else mean
            return {name: write_lists(point, parse_type(field.type))}
        drawn = np.asarray(column.to_numpy(), np.float64).reshape(draws, -1)
        point = np.median(drawn, axis=0) if spec.kind == "count" else drawn.mean(0)
        if isinstance(field, Number) and field.lattice is not None:
            point = field.lattice.snap(point)
        found = {name: write(point, parse_type(field.type))}
        if self.interval is not None:
            tail = 0.5 * (1.0 - self.interval)
            low, high = np.quantile(drawn, [tail, 1.0 - tail], axis=0)
            found |= {f"{name}.low": pa.array(low), f"{name}.high": pa.array(high)}
        return found

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
            merged = _merge(self.engine, name, table[name], spread, self.missing[name])
            table = table.set_column(table.column_names.index(name), name, merged)
        for column, name in self._aside().items():
            nothing = pa.nulls(table.num_rows, pa.float64())
            table = table.append_column(column, self._spread(filled[column], name) if column in filled else nothing)
        return table

    def _spread(self, values: pa.Array, name: str) -> pa.Array:
        """Values of the wanted rows at their places in the table; null where the field was observed."""
        import pyarrow as pa

        return values.take(pa.array(self.place, mask=~self.missing[name]))


def _modes(codes: Array, levels: int) -> tuple[Array, Array]:
    """Most frequent code over the first axis, and its share: (S, B, F) to two arrays (B, F)."""
    draws, rows, fields = codes.shape
    flat = codes.astype(np.int64) + np.arange(rows * fields).reshape(rows, fields) * levels
    counts = np.bincount(flat.ravel(), minlength=rows * fields * levels).reshape(rows, fields, levels)
    return counts.argmax(-1), counts.max(-1) / draws


def _merge(engine: Engine, name: str, column: Any, filled: Any, missing: Array) -> Any:
    """The column with its missing cells filled; observed cells and elements stay exactly as they came."""
    import pyarrow as pa
    import pyarrow.compute as pc

    field = engine.contract[name]
    kind = parse_type(field.type)
    if isinstance(field, Vector):
        seen, new = (
            element_matrix(field, column, field.length),
            element_matrix(field, pa.chunked_array([filled]), field.length),
        )
        return write_lists(np.where(np.isnan(seen), new, seen), kind)
    if pa.types.is_dictionary(kind) and not pa.types.is_null(column.type):
        plain = pc.if_else(
            pa.array(missing), filled.cast(kind.value_type), column.combine_chunks().cast(kind.value_type)
        )
        return plain.dictionary_encode().cast(kind) if not kind.ordered else _ordered(plain, kind, filled)
    if pa.types.is_null(column.type):
        return filled
    if pa.types.is_integer(column.type) and not column.type.equals(filled.type):  # which may not hold the filled values
        wide = np.promote_types(column.type.to_pandas_dtype(), filled.type.to_pandas_dtype())
        column = column.cast(pa.from_numpy_dtype(wide))
    return pc.if_else(pa.array(missing), filled.cast(column.type), column)


def _ordered(plain: Any, kind: Any, like: Any) -> Any:
    """Values as an ordered dictionary with the levels, and their order, of another column."""
    import pyarrow as pa
    import pyarrow.compute as pc

    codes = pc.index_in(plain, value_set=like.dictionary).cast(kind.index_type)
    return pa.DictionaryArray.from_arrays(codes, like.dictionary, ordered=True)
