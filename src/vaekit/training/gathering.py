"""What training needs of its rows, whether they are in memory or stream from files."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import torch

from vaekit.arrays import Blocks, generator
from vaekit.errors import TrainingError
from vaekit.fields.batches import Source
from vaekit.fields.contract import Contract
from vaekit.fields.pixels import is_path
from vaekit.training.batches import Resident
from vaekit.training.config import TrainConfig
from vaekit.training.parting import Parting
from vaekit.training.record import data_record
from vaekit.training.splits import Splits, split
from vaekit.training.store import stored
from vaekit.training.streamed import Streamed
from vaekit.version import __version__

__all__ = ["LEAST_ROWS", "Gathered", "gather", "stopping_rows"]

LEAST_ROWS = 10
_VALID_ROWS = 10_000  # early stopping needs no more
_CALIBRATION_ROWS = 50_000  # of rows that stream
_SAMPLE_ROWS = 50_000  # of training rows that stream; figures and pilot fits look at these


class Gathered(Protocol):
    """Rows that are split into parts.

    Attributes:
        rows: The rows that `splits` numbers: all, or of rows that stream those that are looked at later.
        splits: The parts of `rows`.
        sizes: Number of rows of each part of all.
        record: What the rows are.
        streams: Whether there are more than are in memory.
    """

    rows: pa.Table
    splits: Splits
    sizes: dict[str, int]
    record: dict[str, Any]
    streams: bool

    def fit(self, contract: Contract) -> Contract:
        """The contract with levels from all rows and transforms from training rows."""

    def refit(self, contract: Contract) -> Contract:
        """The contract with transforms from training rows."""

    def some(self) -> pa.Table:
        """Training rows, or a sample of them."""

    def encoded(self, contract: Contract, device: torch.device) -> Resident:
        """The training rows, encoded."""


def gather(source: Source, contract: Contract, config: TrainConfig, seed: int) -> Gathered:
    """Split rows as their contract asks.

    Raises:
        TrainingError: If there are too few rows, or too few entities or instants.
    """
    return (
        _InMemory(source.table, contract, config, seed)
        if source.table is not None
        else _Stream(source, contract, config, seed)
    )


def stopping_rows(gathered: Gathered) -> pa.Table:
    """The rows for early stopping."""
    return gathered.rows.take(pa.array(gathered.splits.valid[:_VALID_ROWS]))


class _InMemory:
    streams = False

    def __init__(self, table: pa.Table, contract: Contract, config: TrainConfig, seed: int) -> None:
        require_rows(table.num_rows)
        self.rows, self.record = table, data_record(table)
        self.splits = split(table, contract, config.valid, config.calibration, seed)
        self.sizes = self.splits.sizes()
        self._train = table.take(pa.array(self.splits.train))

    def fit(self, contract: Contract) -> Contract:
        return contract.fit(self.rows).fit(self._train)

    def refit(self, contract: Contract) -> Contract:
        return contract.fit(self._train)

    def some(self) -> pa.Table:
        return self._train

    def encoded(self, contract: Contract, device: torch.device) -> Resident:
        return Resident(contract.encode(self._train, training=True), device)


class _Stream:
    streams = True

    def __init__(self, source: Source, contract: Contract, config: TrainConfig, seed: int) -> None:
        self.record = data_record(source)
        count: int = self.record["rows"]
        require_rows(count)
        valid, calibration = min(config.valid, _VALID_ROWS / count), min(config.calibration, _CALIBRATION_ROWS / count)
        few = source.spread(_SAMPLE_ROWS) if source.spread else next(source.batches())
        self._parting = Parting.of(contract, valid, calibration, seed, few)
        self._source, self._window = source, config.shuffle_buffer * 2**20
        share = min(1.0, _SAMPLE_ROWS / count)
        kept: tuple[list[pa.Table], ...] = ([], [], [])
        sizes, first = np.zeros(3, np.int64), 0
        for batch, parts in self._parting.split(source):
            sizes += np.bincount(parts, minlength=3)
            chosen = generator(seed, "kept", first).random(len(parts)) < share
            for part, tables in enumerate(kept):
                here = (parts == part) & chosen if part == Parting.TRAIN else parts == part
                tables.append(batch.filter(pa.array(here)))
            first += batch.num_rows
        if not sizes[Parting.VALID] or not sizes[Parting.TRAIN]:
            raise TrainingError(
                f"splitting by {self._parting.by} left {sizes[0]} rows for training and {sizes[1]} for early stopping; "
                "there are too few entities or instants"
            )
        tables = [pa.concat_tables(some) for some in kept]
        self.rows = pa.concat_tables(tables).unify_dictionaries().combine_chunks()
        ends = np.cumsum([0, *(table.num_rows for table in tables)])
        train, stop, rest = (np.arange(low, high) for low, high in pairwise(ends))
        order = generator(seed, "stopping").permutation(len(stop))
        self.splits = Splits(train, stop[order], rest, by=self._parting.by)
        self.sizes = dict(zip(("train", "valid", "calibration"), sizes.tolist(), strict=True))

    def fit(self, contract: Contract) -> Contract:
        return self.refit(contract.fit(self._source))

    def refit(self, contract: Contract) -> Contract:
        return contract.fit(self._parting.training(self._source))

    def some(self) -> pa.Table:
        return self.rows.slice(0, len(self.splits.train))

    def encoded(self, contract: Contract, device: torch.device) -> Resident:
        def encode() -> Iterator[Blocks]:
            for batch in self._parting.training(self._source).batches():
                yield contract.encode(batch, training=True)

        parting, rows = self._parting, self.sizes["train"]
        parts = (parting.seed, parting.valid, parting.calibration, parting.cuts)
        # files that are named by path may change under their names: such rows are encoded anew by each run
        images = {field.name for field in contract.fields if field.kind == "image"}
        named = any(column.name in images and is_path(column.type) for column in self._source.schema)
        key = (__version__, contract.hash, self.record["sha256"], *parts, secrets.token_hex() if named else "")
        few = contract.encode(self.some().slice(0, 100), training=True)
        width = sum(value[:1].nbytes for block in few.values() for value in block.arrays().values())
        return Streamed(stored(key, encode, rows, width), device, self._window)


def require_rows(count: int) -> None:
    """Refuse to train on next to nothing.

    Raises:
        TrainingError: If there are fewer than ten rows.
    """
    if count < LEAST_ROWS:
        raise TrainingError(f"training needs at least {LEAST_ROWS} rows, got {count}")
