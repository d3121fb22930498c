"""What a batch job is: everything that its output depends on, as plain data that a half-done job is held against."""

from __future__ import annotations

import datetime
import os
from pathlib import Path
from typing import Any

import msgspec

from vaekit.bundle import Bundle
from vaekit.bundle.manifest import read_manifest
from vaekit.errors import differing
from vaekit.fields.batches import Source
from vaekit.files import sha256
from vaekit.version import __version__

__all__ = ["Plan", "described", "version_of"]


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A batch job. Jobs with equal plans write equal parts.

    Args:
        query: Name of the query.
        options: Its options.
        keep: Columns of the input that are carried along.
        bundle: Version of the bundle.
        contract: Hash of its contract.
        backend: What runs it.
        input: What the rows come from, see `described`.
        part_rows: Rows of the input that a part is about.
        batch_rows: Rows of one call; slices of rows that go through the graphs are cut by it.
        vaekit: The release.
    """

    query: str
    options: dict[str, Any]
    keep: tuple[str, ...]
    bundle: str
    contract: str
    backend: str
    input: dict[str, Any]
    part_rows: int
    batch_rows: int
    vaekit: str = __version__

    def differences(self, asked: Plan) -> str:
        """What another plan has changed, in words; empty if they are equal."""
        return differing(*(msgspec.json.decode(msgspec.json.encode(plan)) for plan in (self, asked)))


def version_of(bundle: Bundle) -> str:
    """Version of a bundle: that of its manifest, or a hash of what it holds if it was never saved."""
    if bundle.path is not None:
        return read_manifest(bundle.path).version
    held = {name: sha256(value.tobytes()) for name, value in sorted((bundle.weights | bundle.calibration).items())}
    graphs = {name: sha256(graph) for name, graph in sorted(bundle.graphs.items())}
    return sha256(msgspec.json.encode([bundle.contract.hash, held, graphs]))[:12]


def described(data: Any, source: Source) -> dict[str, Any]:
    """What tells an input from another one, or from the same one after a change.

    Args:
        data: As the user gave it. Of files, their number, their bytes, the time of the last change, and a hash of their
            names, sizes and times; of anything else the columns and, if it is known, the number of rows.
        source: The rows.
    """
    if not isinstance(data, str | os.PathLike):
        columns = sha256(str(source.schema).encode())[:12]
        return {"columns": columns} | ({} if source.rows is None else {"rows": source.rows})
    path = Path(data)
    files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    found = [(file.relative_to(path).as_posix(), file.stat()) for file in files]
    listing = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in found]
    changed = max(stat.st_mtime for _, stat in found)
    return {
        "files": len(found),
        "bytes": sum(stat.st_size for _, stat in found),
        "changed": datetime.datetime.fromtimestamp(changed, datetime.UTC).isoformat(),
        "listing": sha256(msgspec.json.encode(listing))[:12],
    }
