"""One trial: a fit that may be pruned, and what its model is worth."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vaekit.sweeps.plan import Plan
from vaekit.sweeps.study import Ledger
from vaekit.training.observers import Begun, Observer, Stopped

if TYPE_CHECKING:
    import optuna
    import pyarrow as pa

    from vaekit.api.model import Model
    from vaekit.fields import Contract

__all__ = ["Task", "run_trial"]

_SAMPLES, _ROWS = 64, 2_000


@dataclass(frozen=True)
class Task:
    """What all trials of a sweep share.

    Args:
        plan: The plan.
        rows: The rows.
        contract: The contract, if somebody made one; else each fit infers it.
        run: Name of the sweep, for the lineage of its runs.
    """

    plan: Plan
    rows: pa.Table
    contract: Contract | None
    run: str


class _Pruning(Observer):
    """Tells Optuna the ELBO of each validation, and ends the run where it says so."""

    def __init__(self, trial: optuna.Trial) -> None:
        self.trial, self.number = trial, 0

    def begun(self, run: Begun) -> None:
        for metrics in run.history:
            self._report(metrics)

    def validated(self, metrics: Mapping[str, Any]) -> None:
        self._report(metrics)
        if self.trial.should_prune():
            raise Stopped(f"pruned after {self.number} validations")

    def _report(self, metrics: Mapping[str, Any]) -> None:
        self.number += 1
        self.trial.report(-metrics["valid"]["elbo"], self.number)


def run_trial(ledger: Ledger, trial: optuna.Trial, config: Mapping[str, Any], task: Task) -> None:
    """Fit with some settings, measure the model, and tell the study.

    Args:
        ledger: The study.
        trial: The trial.
        config: Its settings.
        task: What all trials share.
    """
    from vaekit.api.fitting import fit

    folder = ledger.out / trial.user_attrs["folder"]
    try:
        model = fit(
            task.rows,
            task.contract,
            dict(config),
            out=folder,
            resume=True,  # a worker may have died in it
            progress=False,
            report=False,
            graphs=bool({"latency", "size"} & {*task.plan.objectives}),
            parent={"kind": "sweep", "run": task.run, "trial": trial.number},
            observers=[] if task.plan.prunes == "none" else [_Pruning(trial)],
        )
        figures = _figures(model, task, folder)
        for name, value in figures.items():
            trial.set_user_attr(name, value)
        ledger.tell(trial, [figures[name] for name in task.plan.objectives], "COMPLETE")
    except Stopped as stopped:
        ledger.tell(trial, None, "PRUNED", str(stopped))
    except Exception as error:  # whatever some settings lead to, Optuna's refusal of nan included; others may do
        ledger.tell(trial, None, "FAIL", f"{type(error).__name__}: {error}"[:1_000])
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def _figures(model: Model, task: Task, folder: Path) -> dict[str, float]:
    """What counts, and what is told beside it."""
    import pyarrow as pa

    from vaekit.training.splits import split

    config = model.bundle.run["config"]
    seed = config["seed"] if config["split_seed"] is None else config["split_seed"]
    shares = config["training"]["valid"], config["training"]["calibration"]
    splits = split(task.rows, model.contract, *shares, seed)
    valid = task.rows.take(pa.array(splits.valid[:_ROWS]))
    figures = {"nats": _nats(model, valid), "size": float(_size(folder / "bundle"))}
    if "iwae_64" in model.evaluation:
        figures["held_out_nats"] = -float(model.evaluation["iwae_64"])
    if "latency" in task.plan.objectives:
        from vaekit.api.cost import cost

        figures["latency"] = 1e3 * cost(folder / "bundle", valid).one
    return figures


def _nats(model: Model, rows: pa.Table) -> float:
    """Mean of -log p(x), a bound of 64 samples, on early-stopping rows, which are the same for all trials."""
    from vaekit.metrics.likelihood import log_mean_exp
    from vaekit.queries.base import weigh

    passes = list(weigh(model.engine, model.engine.encode(model.contract.table(rows)), _SAMPLES, 0, shared=False))
    weight = np.concatenate([part.log_weight for part in passes], axis=1)
    return float(-log_mean_exp(weight).mean())


def _size(bundle: Path) -> int:
    return sum(file.stat().st_size for file in bundle.rglob("*") if file.is_file())
