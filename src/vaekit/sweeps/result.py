"""What a sweep has found: the trials, the front, what the settings matter, and the winner."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from vaekit.errors import TrainingError
from vaekit.files import write_file
from vaekit.sweeps.plan import Plan
from vaekit.sweeps.space import settings
from vaekit.sweeps.study import killed

if TYPE_CHECKING:
    import optuna

    from vaekit.api.model import Model
    from vaekit.sweeps.trial import Task

__all__ = ["Sweep", "conclude"]


@dataclass(frozen=True)
class Sweep:
    """The outcome of a sweep.

    Args:
        out: Its folder.
        objectives: What was to be small.
        trials: Every trial: ``number``, ``state``, ``params``, ``values`` by objective, ``curve`` (nats at each
            validation), ``seconds``, ``reason``, ``run`` (its folder).
        winner: The trial whose bundle is kept: the best, or of a front the one with the least of the first objective.
        front: The trials that no other one beats in every objective, by the first one.
        importances: Objective to setting to its share in the differences between trials; empty below four trials.
        config: Settings of the winner, as a configuration.
    """

    out: Path
    objectives: tuple[str, ...]
    trials: list[dict[str, Any]]
    winner: dict[str, Any]
    front: list[dict[str, Any]]
    importances: dict[str, dict[str, float]]
    config: dict[str, Any]

    @property
    def best(self) -> Model:
        """The winner, loaded."""
        from vaekit.api.model import load

        return load(self.out / "bundle")


def conclude(out: Path, plan: Plan, study: optuna.Study, task: Task) -> Sweep:
    """Choose the winner, keep its bundle, and write the page.

    Args:
        out: Folder of the sweep.
        plan: The plan.
        study: All trials.
        task: What they share.

    Raises:
        TrainingError: If no trial came to its end.
    """
    import tomli_w

    from vaekit.api.model import load
    from vaekit.sweeps.report import write_report

    trials = [_plain(plan, one) for one in study.get_trials(deepcopy=False)]
    complete = [one for one in trials if one["state"] == "complete"]
    if not complete:
        reasons = sorted({one["reason"] for one in trials if one["state"] == "failed" and one["reason"]})
        told = f"; they failed with: {'; '.join(reasons[:3])}" if reasons else ""
        raise TrainingError(f"{out}: no trial of the sweep came to its end ({len(trials)} were begun){told}")
    front = sorted(_front(plan, complete), key=lambda one: (one["values"][plan.objectives[0]], one["number"]))
    winner = front[0]
    config = settings(_Again(winner["params"]), plan.space, plan.base)
    found = Sweep(out, plan.objectives, trials, winner, front, _importances(plan, study), config)
    best = load(out / winner["run"] / "bundle")
    (best if plan.graphs else best.bundle).save(out / "bundle")
    write_file(out / "best.toml", tomli_w.dumps(config).encode())
    plain = {
        name: getattr(found, name) for name in ("objectives", "winner", "front", "importances", "config", "trials")
    }
    write_file(out / "result.json", msgspec.json.format(msgspec.json.encode(plain), indent=1))
    write_report(found, plan, task.run)
    return found


def _plain(plan: Plan, trial: Any) -> dict[str, Any]:
    """A trial as plain values."""
    attributes = trial.user_attrs
    named = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running", "WAITING": "waiting"}
    state = named[trial.state.name]
    if killed(trial):
        state = "killed"
    return {
        "number": trial.number,
        "state": state,
        "params": dict(trial.params),
        "values": dict(zip(plan.objectives, trial.values or (), strict=False)),
        "figures": {
            name: attributes[name] for name in ("nats", "held_out_nats", "latency", "size") if name in attributes
        },
        "curve": {step: value for step, value in sorted(trial.intermediate_values.items()) if math.isfinite(value)},
        "seconds": trial.duration.total_seconds() if trial.duration else None,
        "reason": "its worker died" if state == "killed" else attributes.get("reason", ""),
        "run": attributes.get("folder", ""),
        "after": attributes.get("after"),
    }


def _front(plan: Plan, complete: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Trials that no other one beats."""

    def values(one: dict[str, Any]) -> list[float]:
        return [one["values"][name] for name in plan.objectives]

    def beats(one: dict[str, Any], other: dict[str, Any]) -> bool:
        pairs = list(zip(values(one), values(other), strict=True))
        return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)

    return [one for one in complete if not any(beats(other, one) for other in complete)]


def _importances(plan: Plan, study: optuna.Study) -> dict[str, dict[str, float]]:
    """Shares of the variance between trials that the settings explain (fANOVA; Hutter, Hoos & Leyton-Brown 2014)."""
    import optuna
    from optuna.importance import get_param_importances

    complete = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    found: dict[str, dict[str, float]] = {}
    for index, name in enumerate(plan.objectives):
        values = {one.values[index] for one in complete}
        if len(complete) < 4 or len(values) < 2:
            continue
        target = lambda one, index=index: one.values[index]  # noqa: E731
        evaluator = optuna.importance.FanovaImportanceEvaluator(seed=plan.seed)
        try:
            shares = get_param_importances(study, evaluator=evaluator, target=target)
        except (RuntimeError, ValueError):  # no setting was shared by all trials, or none varied
            continue
        found[name] = {setting: float(share) for setting, share in shares.items()}
    return found


class _Again:
    """Chooses what a trial had chosen."""

    def __init__(self, params: dict[str, Any]) -> None:
        self.params = params

    def suggest_categorical(self, name: str, choices: Any) -> Any:
        return self.params[name]

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        return int(self.params[name])

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        return float(self.params[name])
