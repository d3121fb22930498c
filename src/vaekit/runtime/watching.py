"""What a watcher of a model is shown, so that monitoring sees what queries saw and computes nothing twice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from vaekit.arrays import Array, Blocks
from vaekit.metrics.likelihood import log_mean_exp, normalized_weights

__all__ = ["Watcher", "Watchers", "Weighed"]


@dataclass(frozen=True)
class Weighed:
    """One scoring pass over some rows.

    Args:
        rows: Which rows.
        log_weight: log p(x, z_k) - log q(z_k | x), shape (K, B), float64.
        log_ratio: log p(z_k) - log q(z_k | x), shape (K, B).
        log_px: log p(x_f | z_k) per block, shape (K, B, F).
        seed: Seed of the one draw that all rows share; None if each row has a draw of its own.
    """

    rows: slice
    log_weight: Array
    log_ratio: Array
    log_px: Mapping[str, Array]
    seed: int | None = None

    @cached_property
    def score(self) -> Array:
        """The bound on -log p(x) of each row in nats, shape (B,)."""
        return -log_mean_exp(self.log_weight)

    @cached_property
    def weight(self) -> Array:
        """Normalised importance weights, shape (K, B)."""
        return normalized_weights(self.log_weight)

    def take(self, index: int) -> Weighed:
        """The pass over one row of these, counted from the first."""
        one = slice(index, index + 1)
        log_px = {name: value[:, one] for name, value in self.log_px.items()}
        return Weighed(
            slice(self.rows.start + index, self.rows.start + index + 1),
            self.log_weight[:, one],
            self.log_ratio[:, one],
            log_px,
            self.seed,
        )


class Watchers:
    """Several watchers, each of which is shown everything.

    Args:
        watchers: The watchers.
    """

    def __init__(self, *watchers: Watcher) -> None:
        self._watchers = watchers

    def encoded(self, blocks: Blocks) -> None:
        """Show what was encoded."""
        for watcher in self._watchers:
            watcher.encoded(blocks)

    def weighed(self, blocks: Blocks, part: Weighed) -> None:
        """Show a scoring pass."""
        for watcher in self._watchers:
            watcher.weighed(blocks, part)


class Watcher(Protocol):
    """Is shown what queries encode and how their rows are scored, and leaves the arrays as they are."""

    def encoded(self, blocks: Blocks) -> None:
        """Rows that a query asks about, as they were encoded."""
        ...

    def weighed(self, blocks: Blocks, part: Weighed) -> None:
        """A scoring pass over some rows of the blocks."""
        ...
