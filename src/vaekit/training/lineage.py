"""Where a run comes from: a name of its own, its parent, and every time that it was started or resumed."""

from __future__ import annotations

import datetime
import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["identified"]


def identified(record: Mapping[str, Any], parent: Mapping[str, Any] | None, resumed: Path | None) -> dict[str, Any]:
    """The record of a run with its lineage.

    Args:
        record: The record, with its ``environment``.
        parent: The run that this one comes from, with ``kind`` (``sweep``, ``treatment``, ...) and ``run``.
        resumed: Folder of the run that is gone on with; it keeps its name, its parent, its sessions, and what was
            noted of restarts and of drift.

    Returns:
        The record with ``run`` (a name that no other run has), ``parent``, and ``sessions``: when the run was started
        and resumed, with the hash of the packages and the state of the code of each time.

    Example:
        >>> first = identified({"environment": {"lock": "ab", "git": None}}, {"kind": "sweep", "run": "s1"}, None)
        >>> first["parent"]["run"], len(first["sessions"]), len(first["run"])
        ('s1', 1, 24)
    """
    now = datetime.datetime.now(datetime.UTC)
    environment = record["environment"]
    session = {
        "started": now.isoformat(timespec="seconds"),
        **{name: environment.get(name) for name in ("vaekit", "lock", "git")},
    }
    before = _before(resumed)
    return {
        **record,
        **{name: before[name] for name in ("restarts", "drift") if name in before},
        "run": before.get("run") or f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(4)}",
        "parent": before.get("parent") or (dict(parent) if parent else None),
        "sessions": [*before.get("sessions", ()), session],
    }


def _before(folder: Path | None) -> dict[str, Any]:
    path = folder / "run.json" if folder else None
    if path is None or not path.exists():
        return {}
    try:
        found: dict[str, Any] = json.loads(path.read_bytes())
    except ValueError:
        return {}  # the checkpoint says whether the run can be gone on with
    return found
