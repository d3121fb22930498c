"""A likelihood for each column, chosen by what held-out rows say: short pilot fits, compared column by column.

The terms of an ELBO cannot be compared between likelihoods: a field may look cheap because the latents, whose cost is
booked elsewhere, have copied it. So columns are compared by -log p(x_f | x_rest), which leaves nothing out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import torch

from vaekit.arrays import Array, Block, draw, generator, take
from vaekit.fields.category import missing_count
from vaekit.fields.contract import Contract
from vaekit.fields.count import Count
from vaekit.fields.number import Number
from vaekit.metrics.conditional import Run, conditional_nats
from vaekit.metrics.likelihood import log_mean_exp, standard_error
from vaekit.nn.build import ModelConfig, build
from vaekit.nn.primitives import PRIMITIVES
from vaekit.nn.vae import VAE
from vaekit.training.batches import Resident
from vaekit.training.config import TrainConfig
from vaekit.training.loop import Loop
from vaekit.training.splits import split
from vaekit.training.stages import default_stages

__all__ = ["Choice", "candidates", "choose"]

LEAST_ROWS = 500
MOST_ROWS = 20_000
SHARE = 0.15  # of the time budget, for all pilots together
LEAST_SECONDS = 4.0  # pilots in less time tell nothing
STEPS = (100, 400)  # fewest and most optimiser steps of a pilot
PILOTS = 4
MARGIN, LEAST_GAIN = 2.0, 0.01  # standard errors, and nats, by which the default has to be beaten
CELLS, HELD_OUT, SAMPLES = 4_000, 500, 16  # cells predicted from their rows, rows at most, and draws for each
STOPPING = 200  # of the held-out rows are looked at while a pilot trains

Changes = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class Choice:
    """What was chosen.

    Args:
        contract: The contract with the chosen likelihoods, not fitted where they changed.
        record: ``columns`` {name: {"default", "chosen", "nats" {candidate: mean}, "errors" {candidate: standard error
            of its difference from the default}}}, and what the pilots were; plain JSON values.
    """

    contract: Contract
    record: dict[str, Any]


def candidates(contract: Contract) -> dict[str, dict[str, dict[str, Any]]]:
    """Pilot name to the changes that it makes, by column; columns that a user has set up otherwise are left alone.

    Numbers that are gaussian on a quantile map may become a ``student_t`` on an affine one, or a ``mixture``. Counts
    may become numbers on a grid, with one mode or several.

    Example:
        >>> sorted(candidates(Contract.infer({"x": [0.5, 1.25, 7.5], "y": ["a", "b", "a"]})))
        ['mixture', 'student_t']
        >>> candidates(Contract.infer({"y": ["a", "b", "a"]}))
        {}
    """
    heavy: dict[str, dict[str, Any]] = {}
    modes: dict[str, dict[str, Any]] = {}
    for field in contract.fields:
        if field.role != "model" or getattr(field, "options", None):
            continue
        if isinstance(field, Count):
            heavy[field.name], modes[field.name] = {"kind": "number"}, {"kind": "number", "likelihood": "mixture"}
        elif isinstance(field, Number) and (field.likelihood, field.transform) == ("gaussian", "quantile"):
            heavy[field.name], modes[field.name] = {"likelihood": "student_t"}, {"likelihood": "mixture"}
    return {"student_t": heavy, "mixture": modes} if heavy else {}


def choose(
    table: pa.Table,
    contract: Contract,
    model: ModelConfig,
    training: TrainConfig,
    *,
    seed: int,
    device: torch.device,
    say: Callable[[str], None] = lambda text: None,
) -> Choice | None:
    """Choose likelihoods by pilot fits; None where there is nothing to choose, or too little to choose by.

    Every pilot starts from the same weights' seed and sees the same rows; it ends after a few hundred steps, or when
    its share of the time is over. A column leaves its default if the paired difference of conditional nats exceeds two
    of its standard errors, and a last pilot has to show that the row as a whole is better off with all changes.

    Args:
        table: Training rows.
        contract: The contract, with levels and grids.
        model: The architecture.
        training: The training configuration, sized.
        seed: The seed.
        device: Where to train.
        say: Told what goes on.

    Returns:
        The choice.
    """
    steps = _steps(training, table.num_rows)
    seconds = SHARE * training.max_seconds if training.max_seconds else None
    if (
        not candidates(contract)
        or table.num_rows < LEAST_ROWS
        or steps < STEPS[0]
        or (seconds and seconds < LEAST_SECONDS)
    ):
        return None
    began = time.monotonic()
    rows = _subset(table, steps * (training.batch_size or 1), seed)
    parts = split(rows, contract, min(0.2, HELD_OUT / rows.num_rows), 0.0, seed)
    seen, unseen = (rows.take(pa.array(part)) for part in (parts.train, parts.valid))
    there = _without_empty(contract, seen)
    asked = candidates(there)
    if not asked:
        return None
    pilots = _Pilots(seen, unseen, there, model, training, steps, seconds, seed, device)
    say(f"choosing likelihoods of {len(asked['mixture'])} columns by pilot fits of {steps} steps")
    found = {"default": pilots.run({})} | {name: pilots.run(changes) for name, changes in asked.items()}
    columns, changes = _compare(there, asked, found)
    record: dict[str, Any] = {"rows": rows.num_rows, "held_out": unseen.num_rows, "steps": steps, "columns": columns}
    if changes:
        both = pilots.run(changes, conditional=False).row - found["default"].row
        record["gain"], record["error"] = float(both.mean()), standard_error(both)
        if both.mean() <= 0.0:
            changes = {}
    for name, column in columns.items():
        column["chosen"] = column["chosen"] if name in changes else column["default"]
        if name in changes:
            gain = column["nats"][column["default"]] - column["nats"][column["chosen"]]
            say(f"  {name}: {column['chosen']} ({gain:.3f} nats better than {column['default']})")
    record["seconds"] = round(time.monotonic() - began, 3)
    return Choice(_changed(contract, changes), record)


def _steps(training: TrainConfig, rows: int) -> int:
    """Optimiser steps of one pilot, so that all of them stay within their share of the planned steps."""
    planned = (training.epochs or 1) * -(-rows // (training.batch_size or 1))
    return min(int(SHARE * planned / PILOTS), STEPS[1])


def _subset(table: pa.Table, wanted: int, seed: int) -> pa.Table:
    most = min(max(wanted + HELD_OUT, LEAST_ROWS), MOST_ROWS)
    if table.num_rows <= most:
        return table
    return table.take(np.sort(generator(seed, "pilot rows").choice(table.num_rows, most, replace=False)))


def _without_empty(contract: Contract, rows: pa.Table) -> Contract:
    """The contract for pilots: sparse fields of which these rows hold no value are left out."""
    for field in contract.fields:
        if field.role in ("model", "condition") and missing_count(field.clean(rows[field.name])) == rows.num_rows:
            contract = contract.replace(field.name, role="ignore")
    return contract


def _changed(contract: Contract, changes: Changes) -> Contract:
    for name, change in changes.items():
        contract = contract.replace(name, **change)
    return contract


@dataclass(frozen=True)
class _Found:
    """What one pilot says of the held-out rows: -log p(x_f | x_rest) per column, and log p(x) of the row; all (B,)."""

    columns: dict[str, Array]
    row: Array


@dataclass(frozen=True)
class _Pilots:
    """Everything that the pilots share."""

    seen: pa.Table
    unseen: pa.Table
    contract: Contract
    model: ModelConfig
    training: TrainConfig
    steps: int
    seconds: float | None
    seed: int
    device: torch.device

    def run(self, changes: Changes, conditional: bool = True) -> _Found:
        """Fit with some changes, and look at the held-out rows."""
        contract = _changed(self.contract, changes).fit(self.seen)
        train, valid = contract.encode(self.seen, training=True), contract.encode(self.unseen)
        per_epoch = -(-self.seen.num_rows // (self.training.batch_size or 1))
        # the loop ends after whole epochs, or in time
        config = msgspec.structs.replace(
            self.training,
            epochs=max(1, round(self.steps / per_epoch)),
            max_seconds=self.seconds and 0.6 * self.seconds / PILOTS,
            compile=False,
        )
        vae = build(contract.blocks(), self.model, self.seed).to(self.device)
        few = take(valid, slice(0, STOPPING))
        loop = Loop(vae, Resident(train, self.device), Resident(few, self.device), config, self.seed)
        loop.run(default_stages(config, per_epoch))
        return _look(vae, valid, candidates(self.contract)["mixture"] if conditional else (), self.seed, self.device)


def _look(vae: VAE, blocks: dict[str, Block], fields: Any, seed: int, device: torch.device) -> _Found:
    """Conditional nats of some fields on some of the rows, and the importance-weighted bound on all."""
    run, count = _runner(vae, device), len(next(iter(blocks.values())))
    few = np.arange(min(count, max(150, CELLS // max(len(fields), 1))))
    columns: dict[str, list[Array]] = {name: [] for name in fields}
    bounds = []
    for start in range(0, count, 256):
        rows = np.arange(start, min(start + 256, count))
        noise = draw(vae.latent.noise, int(generator(seed, "pilot", start).integers(2**62)), SAMPLES, len(rows))
        named = {f"noise.{name}": value for name, value in noise.items()}
        part = take(blocks, rows)
        inputs = {f"{n}.{a}": getattr(part[n], a) for n, spec in vae.specs.items() for a in spec.inputs}
        scored = run("score", {**inputs, **named})
        log_px = sum(v.sum(-1, dtype=np.float64) for n, v in scored.items() if n != "log_ratio")
        bounds.append(log_mean_exp(scored["log_ratio"] + log_px))
        if fields and start < len(few):
            kept = rows[rows < len(few)]
            named = {name: value[:, : len(kept)] for name, value in named.items()}
            found = conditional_nats(run, tuple(vae.specs.values()), take(blocks, kept), named, fields)
            for name, nats in found.items():
                columns[name].append(nats)
    return _Found({name: np.concatenate(parts) for name, parts in columns.items()}, np.concatenate(bounds))


def _runner(vae: VAE, device: torch.device) -> Run:
    """Runs primitives of a model that is being fitted."""
    primitives = {name: kind(vae) for name, kind in PRIMITIVES.items()}

    def run(name: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        with torch.inference_mode():
            tensors = {
                n: torch.from_numpy(np.require(v, requirements=("C", "W"))).to(device) for n, v in inputs.items()
            }
            return {n: value.cpu().numpy() for n, value in primitives[name](tensors).items()}

    return run


def _compare(
    contract: Contract, asked: Mapping[str, Changes], found: Mapping[str, _Found]
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Figures of every column, and the changes that are worth it."""
    columns: dict[str, Any] = {}
    changes: dict[str, dict[str, Any]] = {}
    for name, base in found["default"].columns.items():
        default = str(getattr(contract[name], "likelihood", ""))
        nats, errors, best, chosen = {default: float(base.mean())}, dict[str, float](), LEAST_GAIN, default
        for pilot, changed in asked.items():
            gain = base - found[pilot].columns[name]
            label = ".".join(str(value) for value in changed[name].values())
            nats[label], errors[label] = float(found[pilot].columns[name].mean()), standard_error(gain)
            if gain.mean() > max(best, MARGIN * errors[label]):
                best, chosen, changes[name] = float(gain.mean()), label, dict(changed[name])
        columns[name] = {"default": default, "chosen": chosen, "nats": nats, "errors": errors}
    return columns, changes
