"""Splits: rows for training, early stopping and calibration, disjoint in rows, entities and time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from vaekit.arrays import Array, generator
from vaekit.errors import TrainingError
from vaekit.fields.contract import Contract
from vaekit.fields.numeric import Numeric

__all__ = ["Splits", "split"]


@dataclass(frozen=True)
class Splits:
    """Disjoint row numbers.

    Args:
        train: Rows that transforms and weights are fitted on.
        valid: Rows for early stopping.
        calibration: Rows that neither training nor early stopping sees.
        by: What the split respects: ``rows``, ``entity`` or ``time``.
    """

    train: Array
    valid: Array
    calibration: Array
    by: str = "rows"

    @classmethod
    def random(cls, rows: int, valid: float, calibration: float, seed: int) -> Splits:
        """A random split of some rows; early stopping has at least one."""
        order = generator(seed, "split").permutation(rows)
        stop, rest = max(1, round(valid * rows)), round(calibration * rows)
        return cls(np.sort(order[stop + rest :]), order[:stop], np.sort(order[stop : stop + rest]))

    def sizes(self) -> dict[str, int]:
        """Number of rows of each part."""
        return {"train": len(self.train), "valid": len(self.valid), "calibration": len(self.calibration)}


def split(table: pa.Table, contract: Contract, valid: float, calibration: float, seed: int) -> Splits:
    """Split the rows of a table as its contract asks.

    Without the roles ``time`` and ``entity`` rows are split at random. With a ``time`` field, training rows come first,
    then those for early stopping, then those for calibration, and rows of one instant stay together. With an ``entity``
    field and no time, all rows of an entity are in one part. With both, time decides: a model is asked about the same
    entities later. Several fields of a role are compared in contract order.

    Args:
        table: All rows.
        contract: The contract.
        valid: Share of rows for early stopping.
        calibration: Share of rows for calibration.
        seed: Seed of random splits.

    Returns:
        The parts; training rows are sorted.

    Raises:
        TrainingError: If there are too few entities or instants for three parts.

    Example:
        >>> table = pa.table({"x": range(100)})
        >>> split(table, Contract.infer(table), 0.1, 0.2, seed=0).sizes()
        {'train': 70, 'valid': 10, 'calibration': 20}
    """
    rows = table.num_rows
    stop, rest = max(1, round(valid * rows)), round(calibration * rows)
    times, entities = contract.names("time"), contract.names("entity")
    if times:
        return _by_time(_codes(table, contract, times, ordered=True), stop, rest, ", ".join(times))
    if entities:
        codes = _codes(table, contract, entities, ordered=False)
        shuffled = generator(seed, "split").permutation(int(codes.max()) + 1)[codes]
        return _by_entity(shuffled, stop, rest, ", ".join(entities))
    return Splits.random(rows, valid, calibration, seed)


def _by_time(instants: Array, stop: int, rest: int, name: str) -> Splits:
    """Training, early stopping and calibration one after the other; rows without an instant train."""
    dated = np.flatnonzero(instants >= 0)
    order = dated[np.argsort(instants[dated], kind="stable")]
    sorted_instants = instants[order]
    # a cut may not part rows of one instant: move it to the start of the instant that it falls into
    late = int(np.searchsorted(sorted_instants, sorted_instants[len(order) - rest])) if rest else len(order)
    early = int(np.searchsorted(sorted_instants, sorted_instants[max(late - stop, 0)]))
    if early == 0 or early == late:
        count = len(np.unique(sorted_instants))
        raise TrainingError(f"splitting by {name} needs more instants than the {count} there are; change its role")
    train = np.sort(np.concatenate([order[:early], np.flatnonzero(instants < 0)]))
    return Splits(train, order[early:late], np.sort(order[late:]), by="time")


def _by_entity(codes: Array, stop: int, rest: int, name: str) -> Splits:
    """Whole entities, in random order, until each part has its rows."""
    sizes = np.bincount(codes)
    filled = np.cumsum(sizes)
    part = np.where(filled <= stop, 0, np.where(filled <= stop + rest, 1, 2))
    part[0] = 0  # at least one entity stops training early
    if part[-1] != 2 or (rest and not (part == 1).any()):
        raise TrainingError(f"splitting by {name} needs more, or smaller, entities than the {len(sizes)} there are")
    found = part[codes]
    train, valid, calibration = (np.flatnonzero(found == one) for one in (2, 0, 1))
    return Splits(train, valid, calibration, by="entity")


def _codes(table: pa.Table, contract: Contract, names: tuple[str, ...], ordered: bool) -> Array:
    """One whole number per row that tells its combination of values; -1 for a missing instant. Shape (B,)."""
    import pyarrow.compute as pc

    codes = np.zeros(table.num_rows, np.int64)
    missing = np.zeros(table.num_rows, bool)
    for name in names:
        field = contract[name]
        clean = field.clean(table[name])
        # text need not sort as numbers and times do
        read = pa.array(field.read(clean), from_pandas=True) if isinstance(field, Numeric) else None
        column = clean.combine_chunks() if read is None else read
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        values = pc.unique(column).drop_null()
        if ordered:
            values = values.take(pc.sort_indices(values))
        one = pc.index_in(column, value_set=values).to_numpy(zero_copy_only=False)
        lost = np.isnan(one) if one.dtype.kind == "f" else np.zeros(len(one), bool)
        missing |= lost
        codes = codes * (len(values) + 1) + np.where(lost, len(values), one).astype(np.int64)
    _, dense = np.unique(codes, return_inverse=True)
    return np.where(missing & ordered, -1, dense)
