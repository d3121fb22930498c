"""Where a model comes from, in a few lines that follow from the record of its run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["lineage"]


def lineage(record: Mapping[str, Any]) -> dict[str, str]:
    """What leads from a model back to what it was made from; what is not known is left out.

    Args:
        record: The record of a run.

    Returns:
        ``run``, ``parent`` (kind and name of the run that it comes from), ``commit`` and ``changes`` (hash of what was
        changed since), ``environment`` (hash of all packages), ``sessions`` (times it was started or resumed).

    Example:
        >>> lineage({"run": "r2", "parent": {"kind": "sweep", "run": "s1", "trial": 7}, "sessions": [{}, {}],
        ...          "environment": {"lock": "ab12", "git": {"commit": "f00", "dirty": True, "diff": "9c"}}})
        {'run': 'r2', 'parent': 'sweep s1, trial 7', 'commit': 'f00', 'changes': '9c', 'environment': 'ab12',
         'sessions': '2'}
    """
    found = {"run": record.get("run"), "parent": _parent(record.get("parent"))}
    environment = record.get("environment") or {}
    git = environment.get("git") or {}
    found |= {"commit": git.get("commit"), "changes": git.get("diff") or ("not hashed" if git.get("dirty") else None)}
    found |= {"environment": environment.get("lock"), "sessions": len(record.get("sessions", ())) or None}
    return {name: str(value) for name, value in found.items() if value}


def _parent(parent: Mapping[str, Any] | None) -> str:
    if not parent:
        return ""
    rest = [
        f"{name} {', '.join(map(str, value)) if isinstance(value, list) else value}"
        for name, value in parent.items()
        if name not in ("kind", "run")
    ]
    return ", ".join([f"{parent.get('kind', 'run')} {parent.get('run', '')}".strip(), *rest])
