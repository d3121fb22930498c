"""The folder of a sweep: its plan, its rows where they came as no file, and its contract where somebody made one."""

from __future__ import annotations

import datetime
import json
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from vaekit.errors import ConfigError, differing
from vaekit.files import replace_file, write_file
from vaekit.sweeps.plan import Plan, load_plan

if TYPE_CHECKING:
    import pyarrow as pa

    from vaekit.fields import Contract
    from vaekit.sweeps.trial import Task

__all__ = ["load_task", "open_folder"]

_FREE = ("trials", "max_seconds", "workers", "graphs")  # what may be another when a sweep goes on


def open_folder(out: Path, plan: Plan, rows: pa.Table, contract: Contract | None) -> Task:
    """Begin a sweep in a folder, or go on with the one that is there.

    Args:
        out: The folder.
        plan: The plan.
        rows: The rows.
        contract: The contract, if one was given.

    Raises:
        ConfigError: If the folder holds a sweep with another plan, contract or other rows, or something else.
    """
    import pyarrow.feather as feather

    from vaekit.sweeps.trial import Task
    from vaekit.training.record import data_record

    path = out / "sweep.json"
    asked: dict[str, Any] = {
        "plan": {name: value for name, value in json.loads(msgspec.json.encode(plan)).items() if name not in _FREE},
        "data": data_record(rows)["sha256"],
        "contract": contract.hash if contract else None,
    }
    if path.exists():
        stored = json.loads(path.read_bytes())
        if differences := differing({name: stored.get(name) for name in asked}, asked):
            raise ConfigError(
                f"{out} holds a sweep that was begun otherwise: {differences}; take another folder, or the same "
                f"settings ({', '.join(_FREE)} may change)"
            )
        run = stored["run"]
    elif out.exists() and any(out.iterdir()):
        raise ConfigError(f"{out} holds something else than a sweep; choose another folder")
    else:
        run = f"{datetime.datetime.now(datetime.UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"
        out.mkdir(parents=True, exist_ok=True)
    if contract is not None:
        write_file(out / "contract.json", contract.to_json().encode())
    if plan.workers > 1:
        replace_file(out / "rows.arrow", lambda target: feather.write_feather(rows, target))
    content = {**asked, "run": run, "free": {name: getattr(plan, name) for name in _FREE}}
    write_file(path, msgspec.json.format(msgspec.json.encode(content), indent=1))
    return Task(plan, rows, contract, run)


def load_task(out: Path) -> Task:
    """What the trials of a sweep share, from its folder."""
    import pyarrow.feather as feather

    from vaekit.fields import Contract
    from vaekit.sweeps.trial import Task

    stored: dict[str, Any] = json.loads((out / "sweep.json").read_bytes())
    contract = Contract.load(out / "contract.json") if stored["contract"] else None
    return Task(
        load_plan(stored["plan"], **stored["free"]), feather.read_table(out / "rows.arrow"), contract, stored["run"]
    )
