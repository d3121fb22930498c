"""The model card: sentences about a model that follow from its facts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vaekit.report.gather import Facts

__all__ = ["card", "verdict"]


def verdict(facts: Facts) -> tuple[str, str]:
    """One word (``stop``, ``check`` or ``fine``) and one sentence about the model as a whole."""
    worst = facts.advice[0].verdict if facts.advice else "fine"
    gain = facts.bundle.evaluation.get("marginal_gain")
    if gain is None:
        told = "There were no held-out figures in this bundle, so nothing is known about how good the model is."
        return "check", told
    if worst == "stop":
        first = facts.advice[0]
        return "stop", f"Think twice before using this model: {first.topic}, {first.number}."
    told = (
        f"The model says {gain['nats']:.2f} ± {gain['se']:.2f} nats more about a row it has not seen than its columns "
        "one by one"
    )
    alarm = next((one for one in facts.alarms if one.promised == 0.05), None)
    if alarm is not None:
        told += f", and of ordinary rows it flags {100 * alarm.realised:.1f}\u00a0% where 5\u00a0% are promised"
        if abs(alarm.realised - alarm.promised) > 3 * alarm.se:
            return "check", told + ", which is not what chance explains."
    return ("check" if worst == "check" else "fine"), told + "."


def card(facts: Facts) -> list[tuple[str, str]]:
    """Headings and paragraphs of the model card."""
    return [
        ("Fitted on", _data(facts)),
        ("The model", _model(facts)),
        ("Meant for", _purpose(facts)),
        ("Limits", " ".join(_limits(facts))),
        ("This page", _page(facts)),
    ]


def _data(facts: Facts) -> str:
    record = facts.bundle.run
    rows, data = record.get("rows", {}), record.get("data", {})
    if not rows or not data:
        return "The bundle holds no record of what it was fitted on."
    how = {"rows": "at random", "time": "by time, the latest rows last", "entity": "by whole entities"}
    split = how.get(rows.get("split", "rows"), "by its contract")
    return (
        f"{data['rows']:,} rows with {data['columns']} columns, split {split}: "
        f"{rows['train']:,} rows for training, {rows['valid']:,} for early stopping, {rows['calibration']:,} for "
        "calibration and held-out figures, which neither of the others saw."
    )


def _model(facts: Facts) -> str:
    contract, config = facts.bundle.contract, facts.bundle.architecture.config
    groups = facts.bundle.architecture.groups
    sizes = [f"{facts.weights:,} weights", f"{sum(groups.values())} latent dimensions"]
    active = facts.bundle.evaluation.get("active_units")
    sizes[1] += f" ({active} of them active)" if active is not None else ""
    parts = [f"{part} {_part(config[part])}" for part in ("structure", "posterior", "prior") if config.get(part)]
    text = f"A variational autoencoder of {len(contract.names('model'))} fields with {' and '.join(sizes)}"
    text += f"; {', '.join(parts)}." if parts else "."
    if seeds := facts.bundle.evaluation.get("seeds"):
        bound = seeds["figures"]["iwae_64"]
        text += (
            f" It is the best by validation of {len(seeds['seeds'])} models that differ in their seed alone; over "
            f"all of them −log p is {-bound['mean']:.3f} ± {bound['std']:.3f} nats per row (standard deviation)."
        )
    given = contract.names("condition")
    return text + (f" It is conditional: {_listed(given)} must be known." if given else "")


def _part(part: str | Mapping[str, Any]) -> str:
    """A part of a model by its name, with its options."""
    if isinstance(part, str):
        return part
    options = ", ".join(f"{name} {value}" for name, value in part.items() if name != "name")
    return f"{part['name']}{f' ({options})' if options else ''}"


def _purpose(facts: Facts) -> str:
    return (
        "Scoring and flagging unusual rows, filling missing cells with their uncertainty, comparing and embedding "
        "rows, and drawing new rows, for rows from the source that it was fitted on."
    )


def _limits(facts: Facts) -> list[str]:
    calibration = len(facts.bundle.calibration.get("anomaly", ()))
    found = ["It knows nothing of causes, and nothing of rows unlike those it was fitted on."]
    if calibration:
        least = f"{100 / (calibration + 1):.2g}"
        found.append(f"With {calibration:,} calibration rows no false-alarm rate below {least} % can be promised.")
    else:
        found.append("Without calibration rows it promises no false-alarm rate.")
    if facts.bundle.run.get("rows", {}).get("split") == "time":
        found.append("Rows were split by time; the promise weakens as time passes after the calibration rows.")
    else:
        found.append("If later rows differ (drift), its promises end.")
    left = [name for name, _ in facts.bundle.contract.warnings if facts.bundle.contract[name].role == "ignore"]
    if left:
        found.append(f"It does not look at {_listed(left)}.")
    return found


def _page(facts: Facts) -> str:
    text = f"Pictures and examples use {facts.used:,} of {facts.rows.table.num_rows:,} {facts.rows.told}"
    text += f", and {len(facts.views[0].sampled):,} sampled rows." if facts.views else "."
    if facts.left_out:
        text += (
            f" Of {len(facts.fields) + facts.left_out} modelled fields the {len(facts.fields)} that the model explains "
            f"best are shown; {facts.left_out} are left out of the pictures."
        )
    return text


def _listed(names: Any, most: int = 6) -> str:
    shown = ", ".join(list(names)[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")
