"""Rows that stream from disk through a bounded buffer, in an order that depends on seed and epoch alone."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vaekit.arrays import Block, generator
from vaekit.training.batches import Resident
from vaekit.training.store import Chunk, Store

__all__ = ["Streamed"]


class Streamed(Resident):
    """Encoded rows of a store, of which a window is in memory at a time.

    An epoch takes the chunks of the store in random order, a window of them at a time, and the rows of each window in
    random order; rows that do not fill a batch go into the next window's first. The next window is read in a thread.

    Args:
        store: The rows.
        device: The device.
        window: Bytes of a window, about; three of them are in memory.
    """

    def __init__(self, store: Store, device: torch.device, window: int) -> None:
        self.store, self.device = store, device
        self.size = max(1, window // store.kind.itemsize)
        self._first = self._read([(*store.chunks[0][:2], min(self.size, store.chunks[0][2]))], None)
        self._hold(self._first)

    def __len__(self) -> int:
        return self.store.rows

    def epoch(self, seed: int, epoch: int, batch: int, first: int = 0) -> Iterator[Tensor]:
        """The batches of an epoch from one on, as indices of the rows that are held meanwhile."""
        windows = self._windows(seed, epoch, max(self.size, batch))
        ends = np.cumsum([sum(chunk[2] for chunk in window) for window in windows])
        done = first * batch  # rows of earlier batches
        begin = int(np.searchsorted(ends, done, side="right"))
        carried: Tensor | None = None  # rows of the window before that filled no batch: the first of those held
        with ThreadPoolExecutor(1) as reader, self._later():

            def ask(number: int) -> Any:
                if number < len(windows):
                    return reader.submit(self._read, windows[number], generator(seed, "rows", epoch, number))
                return None

            coming = ask(begin)
            for number in range(begin, len(windows)):
                fresh, coming = coming.result(), ask(number + 1)
                skipped = max(0, done - int(ends[number - 1] if number else 0))
                before = 0 if carried is None else len(carried)
                self._hold(fresh if carried is None else _joined(self.take(carried), fresh), before)
                held = torch.arange(skipped, before + len(next(iter(fresh.values()))), device=self.device)
                whole = len(held) // batch * batch if number + 1 < len(windows) else len(held)
                yield from held[:whole].split(batch) if whole else ()
                carried = held[whole:]

    def draw(self, count: int, rng: torch.Generator) -> Tensor:
        """Indices of so many rows of the window, drawn with replacement."""
        held = len(next(iter(self.blocks.values())))
        return torch.randint(self._before, held, (count,), generator=rng, device=rng.device)

    @contextmanager
    def _later(self) -> Iterator[None]:
        """Hold the first rows again in the end, so that nothing depends on where an epoch ended."""
        try:
            yield
        finally:
            self._hold(self._first)

    def _windows(self, seed: int, epoch: int, size: int) -> list[list[Chunk]]:
        """The chunks in the order of an epoch, in groups of about so many rows."""
        found: list[list[Chunk]] = []
        rows = size
        for index in generator(seed, "order", epoch).permutation(len(self.store.chunks)):
            if rows >= size:
                found.append([])
                rows = 0
            found[-1].append(self.store.chunks[index])
            rows += self.store.chunks[index][2]
        return found

    def _read(self, chunks: list[Chunk], rng: np.random.Generator | None) -> dict[str, Block]:
        blocks = self.store.read(chunks)
        rows = len(next(iter(blocks.values())))
        order = np.arange(rows) if rng is None else rng.permutation(rows)
        return {
            name: Block(**{key: torch.from_numpy(value[order]) for key, value in block.arrays().items()})
            for name, block in blocks.items()
        }

    def _hold(self, blocks: dict[str, Block], before: int = 0) -> None:
        self._before = before
        self.blocks = {
            name: replace(block, **{key: value.to(self.device) for key, value in block.arrays().items()})
            for name, block in blocks.items()
        }


def _joined(first: dict[str, Block], second: dict[str, Block]) -> dict[str, Block]:
    """The rows of both."""
    return {
        name: Block(
            **{
                key: torch.cat([value, second[name].arrays()[key].to(value.device)])
                for key, value in block.arrays().items()
            }
        )
        for name, block in first.items()
    }
