"""DOCTOR: each disease in real runs that have it, what treatment does, and healthy runs without an alarm."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import torch

import vaekit as vk
from benchmarks.cases import InCases, together
from benchmarks.registry import Outcome, Settings
from benchmarks.tools.patients import HEALTHY, ROWS, ill, rows
from tests.doctor.sick import CASES, Case
from vaekit.api.fitting import assemble
from vaekit.api.treating import shown
from vaekit.doctor import Diagnosis, Finding, Patient, examine
from vaekit.training import load_config, train

__all__ = ["GOAL", "case", "cases", "gather", "run"]

GOAL = (
    "each disease is named in every run that was made to have it, on drawn rows and on a public table, and no alarm is "
    "given on healthy runs on at least ten public tables on which no threshold was set"
)

FEW = ("breast_cancer", "concrete", "letter")  # of a quick run
SEEDS = 3
SAMPLED = ("blurry output", "entangled latents", "mode dropping")  # what they are about is not nats
_SLUG = {re.sub(r"\W+", "-", name): name for name in CASES}


def run(settings: Settings) -> Outcome:
    """Ill runs with their treatment, then healthy runs."""
    return together(cast(InCases, sys.modules[__name__]), settings)


def cases(settings: Settings) -> tuple[str, ...]:
    """``drawn.DISEASE``, ``public.DISEASE`` and ``GROUP.TABLE`` of the healthy ones."""
    drawn = [f"drawn.{slug}" for slug in _SLUG]
    if settings.quick:
        return (*drawn, *(f"tuning.{name}" for name in FEW))
    healthy = [f"{group}.{name}" for group, names in HEALTHY.items() for name in names]
    return (*drawn, *(f"public.{slug}" for slug in _SLUG), *healthy)


def case(name: str, settings: Settings) -> dict[str, Any]:
    """What is named in the runs of one case, before and after treatment."""
    torch.set_num_threads(1)
    group, _, what = name.partition(".")
    if group in HEALTHY:
        return _checked(rows(settings.data, what, settings.seed), settings.seed)
    disease = _SLUG[what]
    made = CASES[disease] if group == "drawn" else ill(settings.data)[disease]
    seeds = [settings.seed + k for k in range(1 if settings.quick else SEEDS)]
    return {"visits": [_visit(disease, replace(made, options={**made.options, "seed": seed})) for seed in seeds]}


def gather(found: Mapping[str, dict[str, Any]], settings: Settings) -> Outcome:
    """The tables: ill runs, healthy runs."""
    named: dict[str, dict[str, float]] = {"drawn": {}, "public": {}}
    healed: dict[str, dict[str, float]] = {"drawn": {}, "public": {}}
    print(f"\n{'disease':34s} {'named':>6s} {'healed':>7s}  first evidence, before -> after treatment (threshold)")
    for name, one in found.items():
        if "visits" not in one:
            continue
        group, _, slug = name.partition(".")
        named[group][slug] = float(np.mean([visit["named"] for visit in one["visits"]]))
        treated = [visit["healed"] for visit in one["visits"] if visit["healed"] is not None]
        if treated:
            healed[group][slug] = float(np.mean(treated))
        told = f"{healed[group][slug]:.0%}" if treated else "–"
        print(f"{name:34s} {named[group][slug]:6.0%} {told:>7s}  {one['visits'][0]['told']}")
    alarms = {group: {n: found[k]["ill"] for n in names if (k := f"{group}.{n}") in found} for group, names in
              HEALTHY.items()}  # fmt: skip
    print(f"\n{'healthy run':34s} {'rows':>6s}  alarms")
    for group, some in alarms.items():
        for name, sick in some.items():
            one = found[f"{group}.{name}"]
            told = "; ".join(f"{d}: {one['treated'][d]} ({'right' if one['right'][d] else 'FALSE'})" for d in sick)
            print(f"{f'{group}.{name}':34s} {one['rows']:6d}  {told or 'none'}")
    false = {
        group: {name: [d for d in sick if not found[f"{group}.{name}"]["right"][d]] for name, sick in some.items()}
        for group, some in alarms.items()
    }
    # a run whose alarms are all right is ill, and says nothing of how often healthy ones are alarmed about
    healthy = {
        group: {name: one for name, one in some.items() if one or not alarms[group][name]}
        for group, some in false.items()
    }
    quiet = {group: float(np.mean([not one for one in some.values()])) for group, some in healthy.items() if some}
    held = [one for group, some in healthy.items() if group != "tuning" for one in some.values()]
    return Outcome(
        ours={
            "sensitivity": {group: float(np.mean(list(some.values()))) for group, some in named.items() if some},
            "specificity": quiet,
            "alarms of runs of defaults": {
                "right": sum(len(one) for some in alarms.values() for one in some.values()) - _count(false),
                "false": _count(false),
            },
            "healed": {group: float(np.mean(list(some.values()))) for group, some in healed.items() if some},
            "not healed": [f"{g}.{n}" for g, some in healed.items() for n, share in some.items() if share < 1],
        },
        rivals={},
        ratios={"runs": {"ill": sum(len(one.get("visits", ())) for one in found.values()), "healthy": len(held)}},
        met=all(share == 1.0 for some in named.values() for share in some.values())
        and all(share == 1.0 for share in quiet.values())
        and len(held) >= 10,
        notes=[
            "sensitivity: share of runs made to have a disease in which it is named; specificity: share of healthy "
            "runs without any alarm; healed: share of the named runs in which it is gone after the treatment of all "
            "that was found",
            "an alarm on a run of defaults is right if after its treatment held-out nats are better by two standard "
            "errors, or the disease is gone and they are not worse by two (they do not count for blurry output, "
            "entangled latents, mode dropping); "
            "runs whose alarms are all right are ill and left out of specificity",
            f"runs of defaults: {ROWS:,} rows at most; thresholds were set on the runs on drawn "
            "rows and on the tables of the group tuning alone; ill runs: tests/doctor/sick.py, "
            "benchmarks/tools/patients.py",
        ],
    )


def _visit(disease: str, made: Case) -> dict[str, Any]:
    """What a run is named, and that after all treatments of what was found there.

    Rows from elsewhere are treated by training on them, which is no test of anything.
    """
    with tempfile.TemporaryDirectory() as folder:
        before = made.diagnosis(Path(folder) / "before")
        first, treatment, after = _of(before, disease), before.treatment(), None
        ill = first is not None and first.ill
        treated = ill and treatment.retrains and made.shown is None
        if treated:
            after = made.treated(treatment).diagnosis(Path(folder) / "after")
    last = None if after is None else _of(after, disease)
    return {
        "named": ill,
        "healed": None if not treated else last is None or not last.ill,
        "beside": [one.disease for one in before.ill if one.disease != disease],
        "after": None if after is None else [one.disease for one in after.ill],
        "told": _told(first, last, treated),
    }


def _count(some: Mapping[str, Mapping[str, list[str]]]) -> int:
    return sum(len(one) for group in some.values() for one in group.values())


def _checked(table: pa.Table, seed: int) -> dict[str, Any]:
    """What a run of defaults is named; and whether each alarm was right, as the treatment of it shows.

    An alarm is right if the run could have been better in the way that was said: trained by its treatment it knows
    held-out rows better, or it has the disease no more and knows them no worse. Cures of samples and
    codes may cost nats.
    """
    patient = _patient(table, seed, {}, {})
    before = examine(patient)
    right: dict[str, bool] = {}
    told: dict[str, str] = {}
    for one in before.ill:
        alone = replace(before, findings=(one,)).treatment()
        treated = _patient(table, seed, alone.options, alone.fields)
        last = _of(examine(treated), one.disease)
        gone = last is None or not last.ill
        first, second = patient.bounds("fresh"), treated.bounds("fresh")
        assert first is not None
        assert second is not None
        gain = second - first
        mean, error = float(gain.mean()), float(gain.std() / np.sqrt(len(gain)))
        right[one.disease] = mean > 2.0 * error or (gone and (one.disease in SAMPLED or mean > -2.0 * error))
        told[one.disease] = f"{_told(one, last, True)}; nats {mean:+.2f} ± {error:.2f}"
    return {
        "rows": table.num_rows, "ill": _plain(before.ill), "right": right, "treated": told,
        "numbers": _plain(before.findings),
    }  # fmt: skip


def _of(diagnosis: Diagnosis, disease: str) -> Finding | None:
    return next((one for one in diagnosis.findings if one.disease == disease), None)


def _told(before: Finding | None, after: Finding | None, treated: bool) -> str:
    if before is None:
        return "not looked for"
    one = before.evidence[0]
    later = f"{after.evidence[0].value:.3g}" if after is not None else "nothing to measure" if treated else "–"
    return f"{one.what}: {one.value:.3g} -> {later} ({one.side} {one.threshold:.3g})"


def _plain(findings: tuple[Finding, ...]) -> dict[str, list[str]]:
    return {one.disease: [str(each) for each in one.evidence] for one in findings}


def _patient(
    table: pa.Table, seed: int, options: Mapping[str, Any], fields: Mapping[str, Mapping[str, Any]]
) -> Patient:
    """A run of the defaults, with some changes."""
    given = {name: value for name, value in options.items() if value is not None}
    config = load_config(None).override(**{"seed": seed, "threads": 1, **given})
    contract = vk.Contract.infer(table)
    for name, change in fields.items():
        contract = contract.replace(name, **change)
    trained = train(table, contract, config, progress=False, inferred=not fields)
    model = assemble(trained, table, seed)
    return shown(Patient(model.bundle, model.engine, model.bundle.run, trained.history), model, table)
