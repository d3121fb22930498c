"""TABLES: whatever real table comes, every column gets a kind or a reason, and a model of it answers."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.registry import Outcome, Settings
from benchmarks.tables import sources

GOAL = (
    "every column of every table at hand has a kind or a reason; every table of two usable columns and ten rows answers"
)

ROWS, COLUMNS = 600, 40  # of a table that are fitted; the contract is inferred from all of it
LEAST = (10, 2)
QUICK_SECONDS = 90.0
TINY = {
    "epochs": 2,
    "width": 16,
    "depth": 1,
    "latent": 2,
    "batch_size": 128,
    "threads": 1,
    "progress": False,
}


def run(settings: Settings) -> Outcome:
    """Infer over all tables, and fit, score, impute and sample those that can be; print failures as they come."""
    began = time.monotonic()
    kinds: Counter[str] = Counter()
    warned: Counter[str] = Counter()
    told: Counter[str] = Counter()
    failures: list[str] = []
    listed = list(sources(settings.data))
    order = np.random.default_rng(settings.seed).permutation(len(listed)) if settings.quick else range(len(listed))
    for index in order:
        name, load = listed[index]
        if settings.quick and time.monotonic() - began > QUICK_SECONDS:
            break
        told["tables"] += 1
        try:
            with_model = _table(load(), kinds, warned, settings.seed)
        except Exception as error:  # whatever fails is what this line is to find
            if "has no rows" in str(error):
                told["tables without rows"] += 1
                continue
            failures.append(f"{name}: {type(error).__name__}: {error}")
            print(f"failed: {failures[-1]}", flush=True)
        else:
            told["tables fitted"] += with_model
            told["columns"] = kinds.total()
    for kind, count in kinds.most_common():
        print(f"{count:6d} columns {kind}")
    for reason, count in warned.most_common(20):
        print(f"{count:6d} warned: {reason}")
    return Outcome(
        ours={**told, "failures": len(failures), "kinds": dict(kinds)},
        rivals={},
        ratios={},
        met=not failures,
        notes=[
            f"{len(listed)} tables at hand: the data folder, and the tables inside installed packages (extra bench)",
            f"fits: {TINY['epochs']} epochs of a network of width {TINY['width']} on at most {ROWS} rows and {COLUMNS} "
            "columns; they show that it works, not how well",
        ],
    )


def _table(data: Any, kinds: Counter[str], warned: Counter[str], seed: int) -> bool:
    """One table: its contract, whose corrections are tried, and its answers; whether a model could be fitted."""
    from vaekit.fields import Contract, to_arrow
    from vaekit.fields.show import fixes

    table = to_arrow(data)
    contract = Contract.infer(table)
    for field in contract.fields:
        kinds[f"{field.kind} {getattr(field, 'likelihood', '')} {field.role}".replace("  ", " ")] += 1
        if field.role == "ignore" and not field.note:
            raise ValueError(f"column {field.name!r} is left out without a reason")
    for _, note in contract.warnings:
        warned[note.removeprefix("check: ").split(":")[0].split(";")[0][:60]] += 1
    for fix in fixes(contract.fields):
        contract.replace(fix.name, **fix.changes)
    if Contract.from_json(contract.to_json()).hash != contract.hash:
        raise ValueError("the contract is another one after JSON")
    usable = contract.names("model")[:COLUMNS]
    if len(usable) < LEAST[1] or table.num_rows < LEAST[0]:
        return False
    rows = np.sort(np.random.default_rng(seed).permutation(table.num_rows)[:ROWS])
    _answers(table.select(usable).take(pa.array(rows)), seed)
    return True


def _answers(table: pa.Table, seed: int) -> None:
    """Fit, score, impute a table with holes, sample; whatever is not as promised is an error."""
    from vaekit import fit
    from vaekit.fields import Contract

    contract = Contract.infer(table)
    if not contract.names("model"):
        return
    model = fit(table, contract=contract, seed=seed, **TINY)
    names = model.contract.names("model")
    scores = model.score(table, samples=2)["score"].to_numpy()
    if not np.isfinite(scores).all():
        raise ValueError("scores are not finite")
    filled = model.impute(_holes(table, seed), samples=4)
    drawn = model.sample(50, seed=seed)
    for name in names:
        missing = filled[name].null_count
        if missing and model.contract[name].kind != "category":
            raise ValueError(f"{missing} cells of {name!r} are missing after impute")
        if drawn.schema.field(name).type != table.schema.field(name).type:
            raise ValueError(f"{name!r} was drawn as {drawn.schema.field(name).type}")
    model.contract.validate(drawn, partial=True)


def _holes(table: pa.Table, seed: int) -> pa.Table:
    """The table with a tenth of the cells of each column missing."""
    rng = np.random.default_rng(seed)
    columns = []
    for column in table.columns:
        kept = pa.array(np.arange(table.num_rows), mask=rng.random(table.num_rows) < 0.1)
        columns.append(column.take(kept))
    return pa.Table.from_arrays(columns, names=table.column_names)
