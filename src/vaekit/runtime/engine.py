"""The engine: contract, calibration and a backend, with rows cut into chunks that bound memory."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from vaekit.arrays import Array, Block, Blocks, Noise, draw, draw_rows, middle
from vaekit.bundle import Architecture, Bundle
from vaekit.fields.contract import Contract
from vaekit.runtime.backend import Backend, make_backend
from vaekit.runtime.watching import Watcher

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Engine"]

_CELLS = 2**19  # most float32 values of the widest activation held at once: 2 MiB stay in the caches


@dataclass(frozen=True)
class Engine:
    """What a query sees of a model.

    Args:
        contract: The fields.
        architecture: Blocks, noise and latent groups.
        backend: Runs the primitives.
        calibration: Reference arrays, for example sorted scores of calibration rows.
        watcher: Is shown every table that queries encode and every scoring pass, if there is one.
    """

    contract: Contract
    architecture: Architecture
    backend: Backend
    calibration: Mapping[str, Array]
    watcher: Watcher | None = None
    _drawn: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @classmethod
    def of(
        cls,
        bundle: Bundle,
        backend: str | Backend = "auto",
        threads: int | None = None,
        modules: Collection[str] = (),
    ) -> Engine:
        """The engine of a bundle on a named backend, with so many threads, or on one that is at hand."""
        made = make_backend(bundle, backend, threads, modules) if isinstance(backend, str) else backend
        return cls(bundle.contract, bundle.architecture, made, bundle.calibration)

    def encode(self, table: pa.Table, partial: bool = False) -> dict[str, Block]:
        """Encoded blocks of a table; with `partial`, absent columns count as missing."""
        blocks = self.contract.encode(table, partial=partial)
        if self.watcher is not None:
            self.watcher.encoded(blocks)
        return blocks

    def inputs(self, blocks: Blocks) -> dict[str, Array]:
        """The arrays of blocks under the names that graphs take."""
        return {
            f"{spec.name}.{name}": getattr(blocks[spec.name], name)
            for spec in self.architecture.blocks
            if spec.name in blocks
            for name in spec.inputs
        }

    def noise(self, seed: int, samples: int, rows: int, shared: bool = False, prior: bool = False) -> dict[str, Array]:
        """Noise for K samples of B rows; `shared` gives every row the same draw, whatever its neighbours."""
        spec = self._spec(prior)
        drawn = self._shared_draw(seed, samples, prior) if shared else draw(spec, seed, samples, rows)
        return {f"noise.{n}": np.broadcast_to(v, (samples, rows, *v.shape[2:])) for n, v in drawn.items()}

    def _spec(self, prior: bool) -> dict[str, Noise]:
        return self.architecture.noise_of_prior if prior else self.architecture.noise

    def _shared_draw(self, seed: int, samples: int, prior: bool) -> dict[str, Array]:
        """One draw for all rows; the last one is kept, since a service asks for it with every batch."""
        if self._drawn.get("key") != (seed, samples, prior):
            self._drawn.update(key=(seed, samples, prior), draw=draw(self._spec(prior), seed, samples, 1))
        found: dict[str, Array] = self._drawn["draw"]
        return found

    def still(self, rows: int, away: float = 0.0, prior: bool = False) -> dict[str, Array]:
        """The middle of the noise for all rows, K = 1: the walk goes through the centre.

        Args:
            rows: Rows B.
            away: Added to every value; 1 is one standard deviation of normal noise.
            prior: Noise of a draw from the prior, not of inference.
        """
        return {f"noise.{name}": value + np.float32(away) for name, value in middle(self._spec(prior), 1, rows).items()}

    def row_noise(self, seed: int, samples: int, rows: Array) -> dict[str, Array]:
        """Noise for K samples of each row, which belongs to the number of the row."""
        found = {}
        for name, noise in self.architecture.noise.items():
            own = Noise(noise.kind, (samples, *noise.shape))
            found[f"noise.{name}"] = np.moveaxis(draw_rows(own, seed, rows, name), 0, 1).astype(np.float32)
        return found

    def chunks(self, rows: int, samples: int) -> Iterator[slice]:
        """Slices of rows that keep the widest activation of K samples bounded.

        They are powers of two long, so rows that are cut at multiples of a large one go through the graphs in the same
        slices as all rows together.
        """
        most = max(1, _CELLS // (samples * self._widest))
        return _slices(rows, 1 << (most.bit_length() - 1))

    def pieces(self, samples: int) -> Iterator[slice]:
        """Slices of K samples that keep the widest activation bounded where one row is already too much."""
        return _slices(samples, _CELLS // self._widest)

    @cached_property
    def _widest(self) -> int:
        """The most values that one sample of one row takes at a time.

        Noise that chooses among C components of a group of width L stands for C densities of L values each.
        """
        plan = self.architecture
        found = [int(plan.config.get("width", 256)), *(max(spec.width, sum(spec.levels)) for spec in plan.blocks)]
        for name, noise in {**plan.noise, **plan.noise_of_prior}.items():
            group, _, part = name.partition(".")
            each = plan.groups.get(group, 1) if part and noise.kind == "gumbel" else 1
            found.append(int(np.prod(noise.shape)) * each)
        return max(found)


def _slices(total: int, step: int) -> Iterator[slice]:
    step = max(1, step)
    for start in range(0, total, step):
        yield slice(start, min(total, start + step))
