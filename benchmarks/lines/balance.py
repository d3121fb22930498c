"""BALANCE: what each column keeps of its information when columns of very different size share one model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv

import vaekit as vk
from benchmarks.registry import Outcome, Settings
from vaekit.arrays import take
from vaekit.metrics.conditional import conditional_nats
from vaekit.metrics.marginals import marginal_nats

__all__ = ["GOAL", "contract_of", "information", "run", "table"]

GOAL = (
    "balance=entropy keeps more of the information of twenty rare flags beside a 1,000-way category and a heavy-tailed "
    "amount than the plain ELBO, and costs no held-out nats in total, here and on public tables, beyond two errors"
)

MODES = ("none", "entropy")
FILES = {
    "adult": ("adult/adult_train.csv.gz", ()),
    "credit_default": ("credit_default/credit_default.csv.gz", ("ID",)),
}
LEVELS, FLAGS, SAMPLES = 1000, 20, 64


def run(settings: Settings) -> Outcome:
    """Fit with and without balance under short and long budgets, print each column, then whole public tables."""
    rows, budgets = (4_000, (6,)) if settings.quick else (6_000, (6, 20))
    train, test = table(rows, settings.seed), table(2_000, settings.seed + 1)
    ours: dict[str, Any] = {}
    plain: dict[str, Any] = {}
    better: dict[str, Any] = {}
    for epochs in budgets:
        found = {mode: fitted(train, contract_of(train), test, epochs, mode, settings.seed) for mode in MODES}
        name = f"{epochs} epochs"
        columns = {mode: information(model, train, test) for mode, (model, _) in found.items()}
        _show(name, *(columns[mode] for mode in MODES))
        sums = {mode: _sums(columns[mode]) for mode in MODES}
        plain[name], ours[name] = (sums[mode] | {"nats": float(found[mode][1].mean())} for mode in MODES)
        better[name] = _gain(found) | {"flags": ours[name]["flags"] - plain[name]["flags"]}
    for name, (file, dropped) in FILES.items():
        public = pyarrow.csv.read_csv(settings.data / file).drop_columns(list(dropped))
        order = np.random.default_rng(settings.seed).permutation(public.num_rows)
        few = 3_000 if settings.quick else 8_000
        part, rest = public.take(pa.array(order[2_000 : 2_000 + few])), public.take(pa.array(order[:2_000]))
        contract = vk.Contract.infer(public)
        found = {
            mode: fitted(part, contract, rest, 10 if settings.quick else 25, mode, settings.seed) for mode in MODES
        }
        plain[name], ours[name] = ({"nats": float(found[mode][1].mean())} for mode in MODES)
        better[name] = _gain(found)
        print(f"{name}: {plain[name]['nats']:.3f} nats a row plain, {ours[name]['nats']:.3f} balanced")
    kept = all(gain["nats"] > -2.0 * gain["error"] for gain in better.values())
    return Outcome(
        ours=ours,
        rivals={"plain ELBO": plain},
        ratios=better,
        met=kept and all(gain["flags"] > 0.0 for gain in better.values() if "flags" in gain),
        notes=[
            "information of a column: -log p(x_f) under its smoothed marginal less -log p(x_f / rest of the row) by "
            f"importance sampling ({SAMPLES} draws), on held-out rows, in nats; nats: score of held-out rows, the "
            "true, unweighted bound",
            "a category whose information is negative is predicted worse than by its frequencies: the budget is short",
        ],
    )


def table(rows: int, seed: int) -> pa.Table:
    """Ten clusters behind a long-tailed category of 1,000 levels and a heavy-tailed amount; four rare causes, each more
    frequent in some clusters, behind five flags each, on in 2 to 5 % of the rows."""
    rng = np.random.default_rng(seed)
    cluster = rng.integers(0, 10, rows)
    share = 1.0 / np.arange(1, 101) ** 1.1
    code = cluster * 100 + rng.choice(100, rows, p=share / share.sum())
    code = np.where(rng.random(rows) < 0.2, rng.integers(0, LEVELS, rows), code)
    level = np.random.default_rng(99).normal(size=10)
    columns: dict[str, Any] = {
        "category": [f"k{one:03d}" for one in code],
        "amount": np.exp(3.0 + 2.0 * level[cluster] + 0.8 * rng.standard_t(3, rows)),
    }
    for group in range(4):
        cause = rng.random(rows) < 0.03 + 0.02 * (cluster % 4 == group)
        for index in range(FLAGS // 4):
            chance = np.where(cause, 0.55 + 0.08 * index, 0.004 * (1.0 + index / 2.0))
            columns[f"flag {group}.{index}"] = rng.random(rows) < chance
    return pa.table(columns)


def contract_of(rows: pa.Table) -> vk.Contract:
    """The inferred contract, with the category modelled whatever its number of levels."""
    levels = tuple(f"k{one:03d}" for one in range(LEVELS))
    return vk.Contract.infer(rows).replace("category", kind="category", role="model", levels=levels)


def fitted(
    train: pa.Table, contract: vk.Contract, test: pa.Table, epochs: int, mode: str, seed: int
) -> tuple[vk.Model, Any]:
    """A model, and its scores of the test rows."""
    model = vk.fit(train, contract, epochs=epochs, seed=seed, balance=mode, threads=1, progress=False)
    return model, model.score(test, samples=32)["score"].to_numpy()


def information(
    model: vk.Model, train: pa.Table, test: pa.Table, rows: int = 1_000, samples: int = SAMPLES
) -> dict[str, float]:
    """Mean information of each column on the first test rows, in nats."""
    engine, test = model.engine, test.slice(0, rows)
    blocks, specs = engine.encode(test), engine.architecture.blocks
    alone = marginal_nats(specs, engine.encode(train), blocks)
    found = {name: 0.0 for name in alone}
    for chunk in engine.chunks(test.num_rows, samples):
        noise = engine.noise(chunk.start, samples, chunk.stop - chunk.start)
        for name, nats in conditional_nats(engine.backend.run, specs, take(blocks, chunk), noise).items():
            found[name] += float((alone[name][chunk] - nats).sum()) / test.num_rows
    return found


def _sums(columns: dict[str, float]) -> dict[str, float]:
    flags = sum(value for name, value in columns.items() if name.startswith("flag"))
    return {"category": columns["category"], "amount": columns["amount"], "flags": flags}


def _gain(found: dict[str, tuple[Any, Any]]) -> dict[str, float]:
    gap = found["none"][1] - found["entropy"][1]
    return {"nats": float(gap.mean()), "error": float(gap.std() / np.sqrt(len(gap)))}


def _show(name: str, before: dict[str, float], after: dict[str, float]) -> None:
    print(f"\n{name:12s} information in nats: plain   balanced")
    for column, value in before.items():
        print(f"  {column:28s} {value:8.4f} {after[column]:10.4f}")
    for part, value in _sums(before).items():
        print(f"  {'sum, ' + part:28s} {value:8.4f} {_sums(after)[part]:10.4f}", flush=True)
