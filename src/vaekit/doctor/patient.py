"""The patient: a run or a bundle, real rows where there are some, and what is measured on them for all diseases."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from vaekit.arrays import Array, Blocks, generator, take
from vaekit.fields.families import FAMILIES
from vaekit.metrics.likelihood import log_mean_exp
from vaekit.metrics.marginals import Marginals, by_field
from vaekit.queries.base import count, model_specs, query, weigh
from vaekit.queries.decoding import decode, draw_values, of_rows
from vaekit.queries.embed import centre
from vaekit.queries.evaluate import some_rows
from vaekit.queries.sample import sampled_like
from vaekit.queries.tables import gathered

if TYPE_CHECKING:
    import pyarrow as pa

    from vaekit.bundle import Bundle
    from vaekit.runtime.engine import Engine

__all__ = ["Patient"]

_ROWS, _SAMPLES, _DRAWS, _COLUMNS = 800, 16, 19, 60
_NUMBERS = ("number", "count", "vector")
T = TypeVar("T")


@dataclass
class Patient:
    """What is examined. What is measured is kept, so that diseases share it.

    Args:
        bundle: The bundle; None where a run ended before there was one.
        engine: Its engine.
        record: The record of the run.
        history: Metrics of its training, one mapping per validation.
        failure: How the run ended, if it failed: ``kind`` and ``message``.
        train: Rows that training saw, if they are known.
        fresh: Rows that it did not see.
        foreign: Whether these come from elsewhere than the table of the fit.
        seed: Seed of every draw.
    """

    bundle: Bundle | None = None
    engine: Engine | None = None
    record: Mapping[str, Any] = field(default_factory=dict)
    history: Sequence[Mapping[str, Any]] = ()
    failure: Mapping[str, Any] | None = None
    train: pa.Table | None = None
    fresh: pa.Table | None = None
    foreign: bool = False
    seed: int = 0

    @property
    def evaluation(self) -> dict[str, Any]:
        """Held-out figures of the fit."""
        return {} if self.bundle is None else self.bundle.evaluation

    @property
    def training(self) -> dict[str, Any]:
        """How it was trained."""
        found: dict[str, Any] = self.record.get("config", {}).get("training", {})
        return found

    @property
    def epochs(self) -> int:
        """Epochs that the model was trained for; a budget of time or patience may have made them fewer than planned."""
        done = [one["epoch"] + 1 for one in self.history if one["stage"] == "vae"]
        return max(1, done[-1] if done else int(self.training.get("epochs") or 1))

    @property
    def model(self) -> dict[str, Any]:
        """The architecture."""
        return {} if self.bundle is None else self.bundle.architecture.config

    @property
    def plain_posterior(self) -> dict[str, str]:
        """The option that gives inference a scale of its own, where it has a fixed one."""
        part = self.model.get("posterior", "diagonal")
        return {"posterior": "diagonal"} if (part if isinstance(part, str) else part.get("name")) == "fixed" else {}

    @property
    def learned_scales(self) -> dict[str, dict[str, Any]]:
        """The change by which each field learns the scale of its noise, of those that do not.

        A field of many values learns one scale for all of them: with one for each, elements that hardly vary take all
        nats, and noise takes what elements share (Rybkin et al., Simple and effective VAE training with calibrated
        decoders, 2021, section 3).
        """
        if self.bundle is None:
            return {}
        contract, changes = self.bundle.contract, {}
        for spec in self.bundle.architecture.blocks:
            for name in spec.fields:
                best = "optimal" if spec.event else "learned"
                options = getattr(contract[name], "options", {})
                if "scale" in FAMILIES[spec.likelihood].options and options.get("scale", "learned") != best:
                    changes[name] = {"options": {"scale": best}}
        return changes

    @property
    def wide(self) -> bool:
        """Whether a field has many values, as vectors and images have."""
        return self.bundle is not None and any(spec.event for spec in self.bundle.architecture.blocks)

    @property
    def units(self) -> int:
        """Latent width of all groups."""
        return 0 if self.bundle is None else sum(self.bundle.architecture.groups.values())

    @property
    def dependence(self) -> float | None:
        """Nats per row that a Gaussian copula saves over independent columns; None if nobody measured them."""
        figures = self.evaluation
        return figures["marginal_nats"] - figures["copula_nats"] if "copula_nats" in figures else None

    @property
    def told(self) -> str:
        """Why there is nothing for a latent space to tell, or nothing where there is."""
        gain = self.dependence
        if gain is None or gain > 0.05:
            return ""
        return f"the columns look independent (a copula saves {gain:.2g} nats per row), so there is nothing to tell"

    def rows(self, which: str) -> pa.Table | None:
        """At most 800 of the ``train`` or ``fresh`` rows."""
        table = self.train if which == "train" else self.fresh
        return None if table is None or table.num_rows < 2 else some_rows(table, _ROWS, self.seed)

    def blocks(self, which: str) -> Blocks | None:
        """The same encoded."""
        return self._kept(f"blocks {which}", lambda: self._encoded(self.rows(which)))

    def bounds(self, which: str) -> Array | None:
        """Importance-weighted bound on log p(x) of these rows, (B,)."""
        return self._kept(f"bounds {which}", lambda: self._bounds(which))

    def marginal(self, which: str) -> Array | None:
        """-log p of these rows under independent columns, fitted to the training rows, (B,)."""
        return self._kept(f"marginal {which}", lambda: self._marginal(which))

    def numbers(self, which: str) -> Array | None:
        """Numbers, counts and elements of vectors of these rows, or of ``sampled`` rows, as encoded; NaN where missing.

        At most 60 columns, (B, D); None with fewer than two.
        """
        return self._kept(f"numbers {which}", lambda: self._numbers(which))

    @cached_property
    def unusual(self) -> Array | None:
        """Conformal p-values of the fresh rows, (B,); None without calibration."""
        rows = self.rows("fresh")
        if rows is None or self.engine is None or self.bundle is None:
            return None
        if not len(self.bundle.calibration.get("anomaly", ())):
            return None
        found: Array = query(self.engine, "detect", rows, alpha=0.5)["p_value"].to_numpy()
        return found

    @property
    def alike(self) -> bool:
        """Whether there are fresh rows, and they are like those of training as far as one knows."""
        if self.rows("fresh") is None:
            return False
        return not self.foreign or self.unusual is None or float((self.unusual <= 0.1).mean()) < 0.25

    @cached_property
    def centres(self) -> Array | None:
        """Posterior centres of the fresh rows, (B, L)."""
        blocks = self.blocks("fresh")
        if blocks is None or self.engine is None:
            return None
        parts = [centre(self.engine, take(blocks, chunk)) for chunk in self.engine.chunks(count(blocks), 1)]
        return np.concatenate([np.concatenate([z[0] for z in part.values()], -1) for part in parts])

    @cached_property
    def codes(self) -> Array | None:
        """One draw of the code of each fresh row, (B, L)."""
        blocks = self.blocks("fresh")
        if blocks is None or self.engine is None:
            return None
        parts = []
        for chunk in self.engine.chunks(count(blocks), 1):
            part = take(blocks, chunk)
            own = int(generator(self.seed, "codes", chunk.start).integers(2**62))
            found = self.engine.backend.run("encode", self.engine.inputs(part) | self.engine.noise(own, 1, count(part)))
            parts.append(np.concatenate([v[0] for n, v in found.items() if n.startswith("z.")], -1))
        return np.concatenate(parts)

    @cached_property
    def sampled(self) -> Blocks | None:
        """As many rows from the prior as there are fresh ones, encoded."""
        table = self.rows("fresh")
        if table is None or self.engine is None:
            return None
        drawn = sampled_like(self.engine, table, table.num_rows, self.seed)
        return self._encoded(self._completed(drawn, table))

    @cached_property
    def ranks(self) -> dict[str, Array]:
        """Where the cells of fresh rows lie among draws given their codes: field to values in (0, 1), NaN if missing.

        If the likelihood is right they are uniform. Only fields with one number per row.
        """
        blocks, table = self.blocks("fresh"), self.rows("fresh")
        if blocks is None or table is None or self.engine is None:
            return {}
        drawn = [self._redrawn(blocks, table, index) for index in range(_DRAWS)]
        rng = generator(self.seed, "ranks")
        found: dict[str, Array] = {}
        for spec in model_specs(self.engine):
            if spec.kind not in ("number", "count") or spec.event:
                continue
            real = np.asarray(blocks[spec.name].values, np.float64)
            draws = np.stack([np.asarray(one[spec.name].values, np.float64) for one in drawn])
            less, equal = (draws < real).sum(0), (draws == real).sum(0)
            rank = (less + rng.random(real.shape) * (equal + 1)) / (_DRAWS + 1)
            rank = np.where(np.asarray(blocks[spec.name].observed), rank, np.nan)
            found |= dict(zip(spec.fields, rank.T, strict=True))
        return found

    def _kept(self, name: str, make: Callable[[], T]) -> T:
        kept = self.__dict__.setdefault("_measured", {})
        if name not in kept:
            kept[name] = make()
        found: T = kept[name]
        return found

    def _encoded(self, table: pa.Table | None) -> Blocks | None:
        return None if table is None or self.engine is None else self.engine.encode(table)

    def _bounds(self, which: str) -> Array | None:
        blocks = self.blocks(which)
        if blocks is None or self.engine is None:
            return None
        passes = weigh(self.engine, blocks, _SAMPLES, self.seed, shared=False)
        return log_mean_exp(np.concatenate([part.log_weight for part in passes], axis=1))

    def _marginal(self, which: str) -> Array | None:
        blocks, train = self.blocks(which), self.blocks("train")
        if blocks is None or train is None or self.bundle is None:
            return None
        marginals = Marginals.fit(self.bundle.architecture.blocks, train)
        total: Array = np.sum(list(by_field(marginals, marginals.cells(blocks)).values()), axis=0)
        return total

    def _numbers(self, which: str) -> Array | None:
        blocks = self.sampled if which == "sampled" else self.blocks(which)
        if blocks is None or self.engine is None:
            return None
        parts = []
        for spec in model_specs(self.engine):
            if spec.kind in _NUMBERS:
                block = blocks[spec.name]
                values = np.where(np.asarray(block.observed), np.asarray(block.values, np.float64), np.nan)
                parts.append(values.reshape(len(values), -1))
        joined = np.concatenate(parts, 1) if parts else np.zeros((count(blocks), 0))
        joined[:, ~np.isfinite(joined).any(0)] = 0.0  # columns of which nothing is known are constant
        if joined.shape[1] > _COLUMNS:
            joined = joined[:, np.sort(generator(self.seed, "columns").permutation(joined.shape[1])[:_COLUMNS])]
        return joined if joined.shape[1] > 1 else None

    def _completed(self, drawn: pa.Table, table: pa.Table) -> pa.Table:
        """Sampled model fields with the condition fields that they were drawn for."""
        assert self.engine is not None
        for name in self.engine.contract.names("condition"):
            drawn = drawn.append_column(name, table[name])
        return drawn

    def _redrawn(self, blocks: Blocks, table: pa.Table, index: int) -> Blocks:
        """One draw of every row given a draw of its code, read back as real rows are."""
        assert self.engine is not None
        engine, parts = self.engine, []
        for chunk in engine.chunks(count(blocks), 1):
            part = take(blocks, chunk)
            own = int(generator(self.seed, "redrawn", index, chunk.start).integers(2**62))
            found = engine.backend.run("encode", engine.inputs(part) | engine.noise(own, 1, count(part)))
            z = {name.removeprefix("z."): value for name, value in found.items() if name.startswith("z.")}
            uniform = of_rows(self.seed, np.arange(chunk.start, chunk.stop), "redrawn", index)
            parts.append({n: v[0] for n, v in draw_values(engine, decode(engine, z, part), uniform).items()})
        drawn = engine.contract.decode(gathered(engine, parts))
        return engine.encode(self._completed(drawn, table))
