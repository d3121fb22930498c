"""Splits of rows that are not in memory: the part of a row follows from its number, its entity or its time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa

from vaekit.arrays import Array, generator
from vaekit.errors import TrainingError
from vaekit.fields.batches import Source
from vaekit.fields.contract import Contract
from vaekit.fields.numeric import Numeric

__all__ = ["Parting"]

_TOGETHER = 2**16  # neighbouring rows whose draws come from one stream


@dataclass(frozen=True)
class Parting:
    """Tells the part of each row: training, early stopping, or calibration.

    Rows are drawn by their number; rows of one entity together, by a hash of it; by time, the cuts are those of a
    sample of the rows, and rows of one instant stay together.

    Args:
        contract: The contract, which says by what to split.
        valid: Share of rows for early stopping.
        calibration: Share of rows for calibration.
        seed: The seed.
        cuts: First instants of early stopping and of calibration, where time decides.
    """

    TRAIN: ClassVar[int] = 0
    VALID: ClassVar[int] = 1
    CALIBRATION: ClassVar[int] = 2

    contract: Contract
    valid: float
    calibration: float
    seed: int
    cuts: tuple[float, float] | None = None

    @classmethod
    def of(cls, contract: Contract, valid: float, calibration: float, seed: int, sample: pa.Table) -> Parting:
        """The parting that a contract asks for.

        Args:
            contract: The contract.
            valid: Share of rows for early stopping.
            calibration: Share of rows for calibration.
            seed: The seed.
            sample: Rows from all over the data.

        Raises:
            TrainingError: If there are too few instants in the sample.
        """
        made = cls(contract, valid, calibration, seed)
        if made.by != "time":
            return made
        instants = np.sort(made._instants(sample))
        instants = instants[np.isfinite(instants)]
        early, late = (float(np.quantile(instants, q, method="higher")) if len(instants) else 0.0
                       for q in (1.0 - valid - calibration, 1.0 - calibration))  # fmt: skip
        if not len(instants) or early <= instants[0] or (calibration and late <= early):
            count = len(np.unique(instants))
            raise TrainingError(f"splitting by time needs more instants than the {count} of a sample; change its role")
        return cls(contract, valid, calibration, seed, (early, late if calibration else np.inf))

    @property
    def by(self) -> str:
        """``rows``, ``entity`` or ``time``."""
        if self.contract.names("time"):
            return "time"
        return "entity" if self.contract.names("entity") else "rows"

    def parts(self, batch: pa.Table, first: int) -> Array:
        """The parts of rows that are numbered from `first` on, shape (B,)."""
        if self.cuts is not None:
            instants = self._instants(batch)
            return (instants >= self.cuts[0]).astype(np.int8) + (instants >= self.cuts[1])
        drawn = self._of_entities(batch) if self.by == "entity" else self._of_rows(first, batch.num_rows)
        return np.where(drawn < self.valid, 1, np.where(drawn < self.valid + self.calibration, 2, 0)).astype(np.int8)

    def split(self, source: Source) -> Iterator[tuple[pa.Table, Array]]:
        """The rows of a source in batches, with the part of each row."""
        first = 0
        for batch in source.batches():
            yield batch, self.parts(batch, first)
            first += batch.num_rows

    def training(self, source: Source) -> Source:
        """The training rows of a source."""

        def read(rows: int) -> Iterator[pa.Table]:
            for batch, parts in self.split(source):
                yield batch.filter(pa.array(parts == self.TRAIN))

        return Source(source.schema, None, None, read)

    def _of_rows(self, first: int, rows: int) -> Array:
        groups = range(first // _TOGETHER, (first + rows - 1) // _TOGETHER + 1)
        drawn = np.concatenate([generator(self.seed, "split", group).random(_TOGETHER) for group in groups])
        start = first - groups[0] * _TOGETHER
        return drawn[start : start + rows]

    def _of_entities(self, batch: pa.Table) -> Array:
        """A number in [0, 1) for each entity."""
        mixed = np.zeros(batch.num_rows, np.uint64)
        for name in self.contract.names("entity"):
            coded = self.contract[name].clean(batch[name]).combine_chunks()
            if not pa.types.is_dictionary(coded.type):
                coded = coded.dictionary_encode(null_encoding="encode")
            hashes = [_hash(self.seed, name, value) for value in [*coded.dictionary.to_pylist(), None]]
            codes = coded.indices.fill_null(len(hashes) - 1).to_numpy(zero_copy_only=False)
            mixed = mixed * np.uint64(0x9E3779B97F4A7C15) + np.array(hashes, np.uint64)[codes]
        return (mixed >> np.uint64(11)).astype(np.float64) / 2.0**53

    def _instants(self, batch: pa.Table) -> Array:
        """The time of each row as a number; what is missing comes before everything."""
        names = self.contract.names("time")
        field = self.contract[names[0]]
        if len(names) > 1 or not isinstance(field, Numeric):
            raise TrainingError(
                f"rows that stream are split by one time that is a date or a number; got {', '.join(names)}. Give the "
                "others another role"
            )
        read = field.read(field.clean(batch[names[0]]))
        return np.where(np.isnan(read), -np.inf, read)


def _hash(seed: int, name: str, value: object) -> int:
    return int.from_bytes(hashlib.sha256(repr((seed, name, value)).encode()).digest()[:8], "little")
