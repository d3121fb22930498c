"""The doctor's visit: from a path and rows to a diagnosis, and from a diagnosis to a treated model."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaekit.api.reporting import history_of
from vaekit.api.rows import known_rows
from vaekit.doctor import Diagnosis, Patient, examine
from vaekit.errors import ConfigError

if TYPE_CHECKING:
    import pyarrow as pa

    from vaekit.api.model import Model

__all__ = ["diagnose", "patient_of", "shown", "treat"]


def patient_of(path: str | Path, data: Any = None, *, backend: str = "auto", modules: Collection[str] = ()) -> Patient:
    """A run or a bundle as a patient.

    Args:
        path: A run folder, with or without a bundle, or a bundle.
        data: Real rows: the table of the fit, or any other.
        backend: What runs the graphs.
        modules: Names of modules that torch may import parts of the model from, see `vaekit.load`.

    Raises:
        ConfigError: If the folder is neither a run nor a bundle.
    """
    from vaekit.api.model import load
    from vaekit.bundle.manifest import MANIFEST, bundle_root

    folder, root = Path(path), bundle_root(path)
    record, failure = _json(folder / "run.json"), _json(folder / "failure.json")
    history = history_of(folder)
    if not (root / MANIFEST).exists():
        if not record and not failure:
            raise ConfigError(
                f"{folder} is neither a run nor a bundle: it holds no run.json, no failure.json, no bundle"
            )
        return Patient(record=record or failure.get("run", {}), history=history, failure=failure or None)
    model = load(root, backend=backend, modules=modules)
    record = record or model.bundle.run
    found = Patient(model.bundle, model.engine, record, history, failure or None)
    return found if data is None else shown(found, model, data)


def diagnose(path: str | Path, data: Any = None, *, backend: str = "auto", modules: Collection[str] = ()) -> Diagnosis:
    """Look for every disease that training can have.

    Args:
        path: A run folder, or a bundle.
        data: Real rows: the table of the fit shows most, since the doctor then knows which rows training saw.
        backend: What runs the graphs.
        modules: Names of modules that torch may import parts of the model from, see `vaekit.load`.

    Returns:
        The findings, and what could not be looked for.
    """
    return examine(patient_of(path, data, backend=backend, modules=modules))


def treat(
    path: str | Path,
    data: Any,
    diagnosis: Diagnosis,
    out: str | Path,
    *,
    progress: bool = True,
    modules: Collection[str] = (),
) -> tuple[Model, Diagnosis]:
    """Train again with what helps, and examine the result in the same way.

    Args:
        path: The run or bundle that was examined.
        data: Rows to train on: the table of the fit, or rows like those that will be asked about.
        diagnosis: What was found.
        out: Folder of the new run.
        progress: Show progress on standard error.
        modules: Names of modules that training may import, where the record of the fit names parts of one's own:
            importing runs their code, and the run may come from elsewhere.

    Returns:
        The treated model, and its diagnosis.

    Raises:
        ConfigError: If nothing that was found can be mended by training again, there is no record of the fit, or it
            names modules that the caller does not.
    """
    from vaekit.api.fitting import fit
    from vaekit.fields.contract import Contract
    from vaekit.nn.own import refuse_untrusted

    treatment = diagnosis.treatment()
    if not treatment.retrains:
        raise ConfigError("nothing that was found can be mended by training again")
    patient = patient_of(path, modules=modules)
    if not patient.record.get("config"):
        raise ConfigError(f"{path} holds no record of its fit; train again with: {treatment.words}")
    stored = Path(path) / "contract.json"
    contract = patient.bundle.contract if patient.bundle else Contract.load(stored) if stored.exists() else None
    if contract is not None:
        for name, change in treatment.fields.items():
            editable = type(contract[name]).editable | {"kind"}
            contract = contract.replace(name, **{key: value for key, value in change.items() if key in editable})
    refuse_untrusted(patient.record["config"], modules)
    config = changed(patient.record["config"], treatment.options)
    parent = {"kind": "treatment", "run": patient.record.get("run", ""), "of": [one.disease for one in diagnosis.ill]}
    model = fit(data, contract, config, out=out, progress=progress, report=False, parent=parent)
    return model, diagnose(out, data, modules=modules)


def changed(config: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """A recorded configuration with other options, wherever they live; None takes an option away.

    Example:
        >>> changed({"seed": 0, "training": {"max_seconds": 3.0}}, {"max_seconds": None, "width": 8, "preset": "small"})
        {'seed': 0, 'preset': 'small', 'model': {'width': 8}, 'training': {}}
    """
    from vaekit.nn.build import ModelConfig

    model, training = dict(config.get("model", {})), dict(config.get("training", {}))
    found = {name: value for name, value in config.items() if name not in ("model", "training")}
    for name, value in options.items():
        home = found if name == "preset" else model if name in ModelConfig.__struct_fields__ else training
        home[name] = value
        if value is None:
            del home[name]
    return {**found, "model": model, "training": training}


def _json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_bytes()) if path.exists() else {}
    return found


def shown(patient: Patient, model: Model, data: Any) -> Patient:
    """The patient with rows: those of the fit in their parts, or rows from elsewhere.

    Args:
        patient: The patient; it is changed.
        model: Its model.
        data: Any table.
    """
    import pyarrow as pa

    table: pa.Table = model.contract.table(data)
    known = known_rows(model.bundle, table)
    if known.splits is None or known.rows is None:
        patient.fresh, patient.foreign = table, not known.seen
        return patient
    parts = {name: known.rows.take(pa.array(getattr(known.splits, name))) for name in ("train", "valid", "calibration")}
    patient.train, patient.fresh = parts["train"], pa.concat_tables([parts["valid"], parts["calibration"]])
    return patient
