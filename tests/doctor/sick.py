"""Small real runs, each with a disease; and healthy ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import vaekit as vk
from vaekit.api.fitting import assemble
from vaekit.api.treating import patient_of, shown
from vaekit.doctor import Diagnosis, Patient, Treatment, examine
from vaekit.errors import TrainingError
from vaekit.training import load_config, train

BASE = {"epochs": 25, "width": 32, "depth": 2, "latent": 4, "batch_size": 64, "threads": 1, "learning_rate": 0.01}


def factors(rows: int = 600, seed: int = 0) -> pa.Table:
    """Two causes behind five numbers and a category."""
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, rows))
    numbers = [a + 0.3 * b, np.tanh(2 * a), b - 0.2 * a, b * 0.8 + 0.4 * a, a - b]
    columns: dict[str, Any] = {f"x{i}": one + 0.3 * rng.normal(size=rows) for i, one in enumerate(numbers)}
    columns["side"] = np.where(a + 0.3 * rng.normal(size=rows) > 0, "left", "right")
    return pa.table(columns)


def three_causes(rows: int = 600) -> pa.Table:
    """Nine numbers, three for each of three causes."""
    rng = np.random.default_rng(1)
    causes = rng.normal(size=(3, rows))
    return pa.table({f"x{i}": causes[i // 3] + 0.2 * rng.normal(size=rows) for i in range(9)})


def clusters(rows: int = 1000) -> pa.Table:
    """Six tight groups of rows on a circle, and four columns that follow."""
    rng = np.random.default_rng(2)
    angle = rng.integers(0, 6, rows) * np.pi / 3
    x, y = np.cos(angle), np.sin(angle)
    return pa.table({f"x{i}": one + 0.08 * rng.normal(size=rows) for i, one in enumerate([x, y, x + y, x - y])})


def spread_counts(rows: int = 500) -> pa.Table:
    """Counts far wider than a Poisson distribution, beside numbers that say nothing of them."""
    rng = np.random.default_rng(3)
    a = rng.normal(size=rows)
    return pa.table(
        {
            **{f"calls{i}": rng.negative_binomial(0.7, 0.7 / (0.7 + 20.0), rows) for i in range(4)},
            "x": a + 0.3 * rng.normal(size=rows),
            "y": a + 0.3 * rng.normal(size=rows),
        }
    )


def drowned(rows: int = 700) -> pa.Table:
    """A long vector beside three flags and two numbers that hang together apart from it."""
    rng = np.random.default_rng(4)
    big = rng.normal(size=(rows, 3)) @ rng.normal(size=(3, 60)) + 0.1 * rng.normal(size=(rows, 60))
    cause = rng.normal(size=rows)
    columns: dict[str, Any] = {"big": pa.FixedSizeListArray.from_arrays(pa.array(big.ravel()), 60)}
    columns |= {f"flag{i}": cause + 0.7 * rng.normal(size=rows) > 0 for i in range(3)}
    columns |= {f"n{i}": cause + 0.5 * rng.normal(size=rows) for i in range(2)}
    return pa.table(columns)


def few(rows: int = 200) -> pa.Table:
    """Rows too few for the columns."""
    rng = np.random.default_rng(5)
    hidden = rng.normal(size=(rows, 2)) @ rng.normal(size=(2, 12))
    return pa.table({f"x{i}": hidden[:, i] + rng.normal(size=rows) for i in range(12)})


def elsewhere() -> pa.Table:
    """Rows of the columns of `factors`, all of one kind and far out."""
    rng = np.random.default_rng(6)
    columns: dict[str, Any] = {f"x{i}": 9.0 + 0.05 * rng.normal(size=200) for i in range(5)}
    return pa.table({**columns, "side": ["left"] * 200})


@dataclass(frozen=True)
class Fitted:
    """What a fit left.

    Args:
        folder: Its folder.
        rows: The table of the fit.
        model: The model; None if it failed.
        history: Metrics of its validations.
    """

    folder: Path
    rows: pa.Table
    model: vk.Model | None = None
    history: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class Case:
    """A run that has a disease.

    Args:
        rows: Its table.
        options: Options of the fit, on top of `BASE`.
        fields: Changes to fields.
        shown: Rows for the doctor; the table of the fit by default.
        kept: Whether the run is kept in its folder as it goes, which takes longer than a small fit.
    """

    rows: Callable[[], pa.Table] = factors
    options: Mapping[str, Any] = field(default_factory=dict)
    fields: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    shown: Callable[[], pa.Table] | None = None
    kept: bool = False

    def fitted(self, out: Path) -> Fitted:
        """Train, whatever comes of it."""
        table = self.rows()
        contract = vk.Contract.infer(table)
        for name, change in self.fields.items():
            contract = contract.replace(name, **change)
        config = load_config(None).override(**{**BASE, **self.options})
        try:
            trained = train(table, contract, config, out=out if self.kept else None, progress=False)
        except TrainingError:
            return Fitted(out, table)
        return Fitted(out, table, assemble(trained, table, config.seed), trained.history)

    def met(self, run: Fitted) -> Patient:
        """A run of this case as a patient, with the rows for the doctor."""
        if run.model is None:
            return patient_of(run.folder)
        patient = Patient(run.model.bundle, run.model.engine, run.model.bundle.run, run.history)
        return shown(patient, run.model, run.rows if self.shown is None else self.shown())

    def treated(self, treatment: Treatment) -> Case:
        """The same run with what helps."""
        options = {name: value for name, value in {**self.options, **treatment.options}.items() if value is not None}
        fields = {name: dict(change) for name, change in self.fields.items()}
        for name, change in treatment.fields.items():
            fields[name] = {**fields.get(name, {}), **change}
        return replace(self, options=options, fields=fields)

    def diagnosis(self, out: Path) -> Diagnosis:
        """Train and examine."""
        return examine(self.met(self.fitted(out)))


FIXED = {f"x{i}": {"transform": "standard", "options": {"scale": "fixed", "sigma": 3.0}} for i in range(5)}
OVER = {
    "valid": 0.02, "calibration": 0.5, "latent": 8, "weight_decay": 0.0, "warmup": 0.0, "mask": 0.0,
    "epochs": 300, "patience": 10_000, "width": 96, "depth": 3, "batch_size": 128,
}  # fmt: skip
POINT = {"beta": 0.0, "warmup": 0.0, "mask": 0.0, "posterior": {"name": "fixed", "std": 0.01}}

CASES: dict[str, Case] = {
    "posterior collapse": Case(options={"beta": 40.0, "warmup": 0.0, "epochs": 10}),
    "input ignored": Case(options={"beta": 40.0, "warmup": 0.0, "epochs": 10}),
    "blurry output": Case(options={"epochs": 15}, fields=FIXED),
    "overfitting": Case(few, options=OVER),
    "memorisation": Case(few, options=OVER),
    "mode dropping": Case(clusters, options={**POINT, "posterior": {"name": "fixed", "std": 0.7}, "latent": 2}),
    "entangled latents": Case(options={**POINT, "epochs": 15}),
    "numerical instability": Case(
        options={"learning_rate": 3.0, "clip": 0.0, "optimizer": "adam", "epochs": 10}, kept=True
    ),
    "latent too small": Case(three_causes, options={"latent": 1, "epochs": 15}),
    "likelihood mismatch": Case(
        spread_counts,
        options={"latent": 1, "epochs": 15},
        fields={f"calls{i}": {"kind": "count", "likelihood": "poisson"} for i in range(4)},
    ),
    "scale imbalance": Case(drowned, options={"latent": 3, "epochs": 10}),
    "train/serve mismatch": Case(shown=elsewhere),
    "collapse after transfer": Case(shown=elsewhere),
    "out of memory": Case(options={"width": 3_000_000}, kept=True),
    "unreproducible run": Case(options={"max_seconds": 0.2, "epochs": 10_000}),
    "unset threshold": Case(options={"calibration": 0.0, "epochs": 1}),
}
