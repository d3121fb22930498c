"""Describes a few rows without their values, so that a log can show what comes in without keeping it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import numpy as np

from vaekit.arrays import Array, Block, Blocks, BlockSpec, take
from vaekit.errors import ConfigError
from vaekit.monitoring.signals import FIELDS
from vaekit.monitoring.tally import Masked
from vaekit.queries.conformal import comparable, p_values
from vaekit.queries.detect import excess
from vaekit.queries.score import attributed

if TYPE_CHECKING:
    from vaekit.runtime import Engine, Weighed

__all__ = ["Masks"]

_STRANGEST = 3  # fields that are named
_TENTHS = np.linspace(0.1, 0.9, 9)


class Masks:
    """Watches a model, and describes a random share of the rows that queries ask about.

    A number or a point in time is told by the tenth of the training rows that it falls into, by the field's own
    transform; a category by whether it is known; a count by whether it is there; a vector not at all.

    Args:
        engine: The model.
        share: Share of the rows, from 0 to 1.
        seed: Which rows; other ones in every process if not given.

    Raises:
        ConfigError: If share is not from 0 to 1.
    """

    def __init__(self, engine: Engine, share: float, seed: int | None = None) -> None:
        if not 0.0 <= share <= 1.0:
            raise ConfigError(f"the share of rows to be described is from 0 to 1, got {share}")
        self._engine, self._share = engine, share
        self._shown = set(engine.contract.names()[:FIELDS])
        self._random = np.random.default_rng(seed)
        self._skip = self._gap()
        self._blocks: Blocks | None = None
        self._found: list[Masked] = []
        self._open: dict[int, int] = {}  # row of the last blocks to its place among the found

    def _gap(self) -> int:
        """Rows up to and with the next one that is described."""
        return int(self._random.geometric(self._share)) if self._share > 0.0 else 2**62

    def encoded(self, blocks: Blocks) -> None:
        """Choose rows and describe them."""
        rows = len(next(iter(blocks.values())))
        self._blocks, self._open = blocks, {}
        while self._skip <= rows:
            row = self._skip - 1
            self._open[row] = len(self._found)
            self._found.append(Masked(row=row, fields=self._described(take(blocks, slice(row, row + 1)))))
            self._skip += self._gap()
        self._skip -= rows

    def weighed(self, blocks: Blocks, part: Weighed) -> None:
        """Add what the pass says of chosen rows."""
        if blocks is not self._blocks:
            return
        for row, place in self._open.items():
            if part.rows.start <= row < part.rows.stop:
                alone = take(blocks, slice(row, row + 1))
                self._found[place] = self._judged(self._found[place], alone, part.take(row - part.rows.start))

    def collect(self) -> list[Masked]:
        """The rows that were described since the last call."""
        found, self._found, self._open = self._found, [], {}
        return found

    def _described(self, row: Blocks) -> dict[str, str]:
        found: dict[str, str] = {}
        for spec in self._engine.architecture.blocks:
            if spec.kind != "vector":
                words = _words(spec, row[spec.name])
                found |= {name: word for name, word in zip(spec.fields, words, strict=True) if name in self._shown}
        return found

    def _judged(self, masked: Masked, row: Blocks, one: Weighed) -> Masked:
        """A description with the score of its row and the fields that stand out."""
        engine = self._engine
        shares = attributed(engine, one)
        if "usual" in engine.calibration:
            shares = excess(engine, row, shares, engine.contract.resolution(row))
        nats = {name: float(share[0]) for name, share in shares.items()}
        strangest = sorted((name for name in nats if nats[name] > 0.0), key=lambda name: -nats[name])[:_STRANGEST]
        usual = one.seed is not None and comparable(len(one.log_weight), one.seed)
        p_value = float(p_values(engine, "score", one.score)[0]) if usual else float("nan")
        return msgspec.structs.replace(
            masked,
            score=float(one.score[0]),
            p_value=None if np.isnan(p_value) else p_value,
            strangest=strangest,
        )


def _words(spec: BlockSpec, row: Block) -> list[str]:
    """What is told of each field of a block with one row."""
    fields = len(spec.fields)
    observed = np.asarray(row.observed).reshape(fields, -1)[:, 0]
    unknown = np.zeros(fields, np.bool_) if row.unknown is None else row.unknown[0]
    told = _tenths(np.asarray(row.values).reshape(fields, -1)[:, 0]) if spec.kind in ("number", "datetime") else None
    words = []
    for index in range(fields):
        if unknown[index]:
            words.append("unknown")
        elif not observed[index]:
            words.append("missing")
        else:
            words.append("known" if told is None else f"decile {told[index]}")
    return words


def _tenths(encoded: Array) -> list[int]:
    """Tenth, from 1 to 10, that encoded values fall into: the transform makes training rows about standard normal."""
    from scipy.special import ndtr

    return [int(tenth) + 1 for tenth in np.searchsorted(_TENTHS, ndtr(encoded), side="right")]
