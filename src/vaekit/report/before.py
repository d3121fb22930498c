"""Facts about a table that need no model: how many rows there are to learn from, and how much there is to learn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from vaekit.arrays import Array, generator
from vaekit.metrics.association import information
from vaekit.metrics.dependence import Dependence, total_dependence
from vaekit.metrics.predictable import Predictable, predictable
from vaekit.report.columns import Seen, codes_of, look, numbers_of

if TYPE_CHECKING:
    import pyarrow as pa

    from vaekit.fields.contract import Contract

__all__ = ["TableFacts", "table_facts"]

_ROWS, _FIELDS, _DUPLICATE_ROWS = 5_000, 40, 50_000
_TELLING = 50  # rows that it takes to say that two columns are one
_CLASSES = 12  # a column with more values is no label
_SAME = 0.95  # share of what is to know of the simpler of two columns that the other tells


@dataclass(frozen=True)
class TableFacts:
    """What a table is like before any model.

    Args:
        rows: Number of rows.
        values: Free values in a row: one for a number, levels less one for a category, elements for a vector.
        ignored: Names of columns that are left out.
        compared: Number of modelled columns that the following are about.
        dependence: How much the columns tell about each other.
        pair: The two columns that tell most about each other.
        twins: Pairs of columns that tell the same.
        determined: Columns of few values that follow from all other columns, though from no single one.
        repeated: Rows that repeat an earlier row exactly in all columns, of those checked.
        checked: Rows checked for repetition; 0 where repetition means nothing, since few combinations are possible.
        row_numbers: Columns that only count rows.
    """

    rows: int
    values: int
    ignored: tuple[str, ...]
    compared: int
    dependence: Dependence
    pair: tuple[str, str]
    twins: tuple[tuple[str, str], ...]
    determined: dict[str, Predictable]
    repeated: int
    checked: int
    row_numbers: tuple[str, ...]


def table_facts(table: pa.Table, contract: Contract, seed: int = 0) -> TableFacts:
    """Look at a table: at 5,000 of its rows and 40 of its columns at most, drawn at random.

    Args:
        table: Rows, not none.
        contract: What the columns are.
        seed: Seed of the draws and shuffles.

    Returns:
        The facts.

    Example:
        >>> import pyarrow as pa
        >>> from vaekit.fields import Contract
        >>> rows = pa.table({"x": np.cos(np.arange(50.0)), "y": np.cos(np.arange(50.0)) ** 3})
        >>> table_facts(rows, Contract.infer(rows)).twins
        (('x', 'y'),)
    """
    used = [field for field in contract.fields if field.role in ("model", "condition")]
    numbered = tuple(f.name for f in used if f.kind == "number" and _counts_rows(table[f.name]))
    fields = [field for field in used if field.name not in numbered]
    rng = generator(seed, "table facts")
    if len(fields) > _FIELDS:  # categories first: there are fewer of them, and one may be a label
        order = np.lexsort((rng.random(len(fields)), np.array([field.kind != "category" for field in fields])))
        fields = [fields[at] for at in np.sort(order[:_FIELDS])]
    rows = np.sort(rng.choice(table.num_rows, min(_ROWS, table.num_rows), replace=False))
    part = table.select([field.name for field in fields]).take(rows)
    seen = [one for field in fields if (one := look(field, part[field.name])) is not None]
    codes = np.stack([codes_of(one)[0] for one in seen], 1) if seen else np.zeros((len(rows), 0), np.int64)
    numbers = np.stack([numbers_of(one, one.real) for one in seen], 1) if seen else np.zeros((len(rows), 0))
    dependence = total_dependence(codes, numbers, seed)
    twins = _twins(seen, codes)
    repeated, checked = _repeated(table, [field.name for field in used], seen)
    return TableFacts(
        rows=table.num_rows,
        values=sum(_values(field) for field in used),
        ignored=tuple(field.name for field in contract.fields if field.role == "ignore"),
        compared=len(seen),
        dependence=dependence,
        pair=(seen[dependence.pair[0]].name, seen[dependence.pair[1]].name) if len(seen) > 1 else ("", ""),
        twins=twins,
        determined=_determined(seen, codes, twins, seed),
        repeated=repeated,
        checked=checked,
        row_numbers=numbered,
    )


def _values(field: object) -> int:
    return max(1, len(getattr(field, "levels", ())) - 1, int(getattr(field, "length", 0) or 0))


def _counts_rows(column: pa.ChunkedArray) -> bool:
    """Whether whole numbers, all different, leave no gap: a row number, or an identifier that was counted up."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_integer(column.type) or column.null_count or len(column) < 50:
        return False
    ends = pc.min_max(column).as_py()
    return bool(ends["max"] - ends["min"] == len(column) - 1 and pc.count_distinct(column).as_py() == len(column))


def _twins(seen: list[Seen], codes: Array) -> tuple[tuple[str, str], ...]:
    """Pairs that share almost all that is to know about the simpler one, strongest first."""
    if len(seen) < 2 or len(codes) < _TELLING:
        return ()
    nats = information(codes).nats
    entropy = np.diag(nats)
    least = np.minimum(entropy[:, None], entropy[None])
    share = np.triu(np.where(least > 0.1, nats / np.maximum(least, 1e-9), 0.0), 1)
    pairs = sorted(np.argwhere(share >= _SAME).tolist(), key=lambda pair: -share[pair[0], pair[1]])
    return tuple((seen[a].name, seen[b].name) for a, b in pairs)


def _determined(
    seen: list[Seen], codes: Array, twins: tuple[tuple[str, str], ...], seed: int
) -> dict[str, Predictable]:
    if len(seen) < 3 or len(codes) < 100:
        return {}
    paired = {name for pair in twins for name in pair}
    found = zip(seen, predictable(codes, seed), strict=True)
    return {
        one.name: figure
        for one, figure in found
        if (one.shape == "category" or len(np.unique(one.real[np.isfinite(one.real)])) <= _CLASSES)
        and one.name not in paired
        and figure.determined
    }


def _repeated(table: pa.Table, names: list[str], seen: list[Seen]) -> tuple[int, int]:
    """Rows that repeat an earlier one, where a table has numbers with many values and repetition is no accident."""
    import pyarrow as pa

    rich = [s for s in seen if s.shape != "category" and len(np.unique(numbers_of(s, s.real))) > 0.5 * len(s.real)]
    kinds = {name: table[name].type for name in names}
    nested = (pa.types.is_nested, lambda kind: isinstance(kind, pa.BaseExtensionType))
    plain = [name for name, kind in kinds.items() if not any(one(kind) for one in nested)]
    if not rich or len(plain) < len(names) or table.num_rows < 20:
        return 0, 0
    part = table.select(plain).slice(0, _DUPLICATE_ROWS)
    distinct = part.group_by(plain).aggregate([]).num_rows
    return part.num_rows - distinct, part.num_rows
