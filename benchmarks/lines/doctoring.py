"""DOCTOR: each disease in a real run that has it, what treatment does, and healthy runs without an alarm."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import vaekit as vk
from benchmarks.data import adbench, complete, table, table_of
from benchmarks.registry import Outcome, Settings
from tests.doctor.sick import CASES
from vaekit.api.fitting import assemble
from vaekit.api.treating import shown
from vaekit.doctor import Diagnosis, Finding, Patient, examine
from vaekit.training import load_config, train

__all__ = ["GOAL", "HEALTHY", "run"]

GOAL = (
    "each disease is named in every run that was made to have it, and no alarm is given on healthy runs on at least "
    "ten public tables"
)

HEALTHY = (
    "adult", "bank_marketing", "credit_default", "california_housing", "breast_cancer", "wine_white", "concrete",
    "letter", "pendigits", "annthyroid", "mammography", "satellite",
)  # fmt: skip
FEW = ("breast_cancer", "concrete", "letter")  # of a quick run
ROWS, EPOCHS = 4_000, 40


def run(settings: Settings) -> Outcome:
    """Ill runs with their treatment, seed by seed, then healthy runs."""
    seeds = [settings.seed] if settings.quick else [settings.seed + k for k in range(3)]
    named: dict[str, float] = {}
    healed: dict[str, float] = {}
    print(f"\n{'disease':26s} {'named':>6s} {'healed':>7s}  first evidence, before -> after treatment (threshold)")
    for disease, case in CASES.items():
        found = [_visit(disease, {**case.options, "seed": seed}) for seed in seeds]
        named[disease] = float(np.mean([before is not None and before.ill for before, _, _ in found]))
        treated = [after for before, after, done in found if before is not None and before.ill and done]
        if treated:
            healed[disease] = float(np.mean([after is None or not after.ill for after in treated]))
        told = "–" if disease not in healed else f"{healed[disease]:.0%}"
        print(f"{disease:26s} {named[disease]:6.0%} {told:>7s}  {_told(*found[0])}", flush=True)
    alarms: dict[str, list[str]] = {}
    print(f"\n{'healthy run':26s} {'rows':>6s}  alarms")
    for name, rows in _healthy(settings):
        alarms[name] = [one.disease for one in _examined(rows, settings.seed).ill]
        print(f"{name:26s} {rows.num_rows:6d}  {', '.join(alarms[name]) or 'none'}", flush=True)
    quiet = float(np.mean([not one for one in alarms.values()]))
    return Outcome(
        ours={"sensitivity": float(np.mean(list(named.values()))), "specificity": quiet, "healed": healed},
        rivals={},
        ratios={"runs": {"ill": len(CASES) * len(seeds), "healthy": len(alarms)}},
        met=min(named.values()) == 1.0 and quiet == 1.0 and len(alarms) >= 10,
        notes=[
            "sensitivity: share of runs made to have a disease in which it is named; specificity: share of healthy "
            "runs without any alarm; healed: share of the named runs in which it is gone after the treatment",
            f"healthy runs: defaults, {EPOCHS} epochs, {ROWS:,} rows at most; ill runs: see tests/doctor/sick.py",
        ],
    )


def _visit(disease: str, options: dict[str, Any]) -> tuple[Finding | None, Finding | None, bool]:
    """The finding for one disease in its run, that after all treatments of what was found there, and whether any was.

    Rows from elsewhere are treated by training on them, which is no test of anything.
    """
    case = replace(CASES[disease], options=options)
    with tempfile.TemporaryDirectory() as folder:
        before = case.diagnosis(Path(folder) / "before")
        treatment = before.treatment()
        if not treatment.retrains or case.shown is not None:
            return _of(before, disease), None, False
        return _of(before, disease), _of(case.treated(treatment).diagnosis(Path(folder) / "after"), disease), True


def _of(diagnosis: Diagnosis, disease: str) -> Finding | None:
    return next((one for one in diagnosis.findings if one.disease == disease), None)


def _told(before: Finding | None, after: Finding | None, treated: bool) -> str:
    if before is None:
        return "not looked for"
    one = before.evidence[0]
    later = f"{after.evidence[0].value:.3g}" if after is not None else "nothing to measure" if treated else "–"
    return f"{one.what}: {one.value:.3g} -> {later} ({one.side} {one.threshold:.3g})"


def _healthy(settings: Settings) -> Iterator[tuple[str, pa.Table]]:
    rng = np.random.default_rng(settings.seed)
    for name in FEW if settings.quick else HEALTHY:
        if name in ("adult", "bank_marketing", "credit_default", "california_housing"):
            rows = table(settings.data, name)
        elif name in ("breast_cancer", "wine_white", "concrete", "letter"):
            rows = complete(settings.data, name)[0]
        else:
            rows = table_of(adbench(settings.data, name, "unsup", settings.seed, ROWS).test)
        yield name, rows.take(pa.array(rng.permutation(rows.num_rows)[:ROWS]))


def _examined(rows: pa.Table, seed: int) -> Diagnosis:
    config = load_config(None).override(epochs=EPOCHS, seed=seed, threads=1, choose=False)
    trained = train(rows, vk.Contract.infer(rows), config, progress=False)
    model = assemble(trained, rows, seed)
    return examine(shown(Patient(model.bundle, model.engine, model.bundle.run, trained.history), model, rows))
