"""The record of a run: what it was made from, with what, where."""

from __future__ import annotations

import functools
import hashlib
import os
import platform
import re
import subprocess
from importlib import metadata
from typing import Any

import pyarrow as pa

from vaekit.fields.arrow_types import is_number, is_text
from vaekit.fields.batches import Source
from vaekit.fields.category import plain
from vaekit.fields.sources import open_source
from vaekit.version import __version__

__all__ = ["data_record", "environment"]

_PACKAGES = ("torch", "numpy", "pyarrow", "onnxruntime", "safetensors", "msgspec")
_TOGETHER = 4_096  # rows that are hashed together


def environment() -> dict[str, Any]:
    """Versions, platform and git state of this process.

    Returns:
        Plain JSON values; no path, user or host name. ``installed`` has the version of every distribution, and ``lock``
        is the hash of them all: two runs with the same lock had the same packages.
    """
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {
        "vaekit": __version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "processors": os.cpu_count(),
        "packages": versions,
        "installed": dict(installed := _installed()),
        "lock": hashlib.sha256("\n".join(f"{name}=={of}" for name, of in installed.items()).encode()).hexdigest(),
        "git": _git(),
    }


@functools.cache  # reading all of it takes a quarter of a second
def _installed() -> dict[str, str]:
    """Version of every distribution that can be imported here, by its name in one spelling."""
    found: dict[str, str] = {}
    for one in metadata.distributions():
        if name := one.metadata["Name"]:
            found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), one.version)  # the first on the path is imported
    return dict(sorted(found.items()))


def _canonical(table: pa.Table) -> pa.Table:
    """The table with text and codes in one layout, and with nothing but zeros under missing numbers."""
    columns = {}
    for index, column in enumerate(table.columns):
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if is_text(column.type):
            column = plain(column)
        elif is_number(column.type) and column.null_count:
            columns[f"{index} is there"] = column.is_valid()
            column = column.fill_null(0)
        columns[f"{index} {table.column_names[index]}"] = column
    return pa.table(columns)


def data_record(data: pa.Table | Source) -> dict[str, Any]:
    """Rows, columns and a content hash of rows: the snapshot that a model was made from.

    Args:
        data: The rows.

    Returns:
        ``rows``, ``columns`` and ``sha256`` of names, types and values, whatever the chunks and the layout of text, and
        whether they are in memory or not.
    """
    source = open_source(data)
    digest, rows = hashlib.sha256(), 0
    for batch in source.batches(_TOGETHER, 2**62, cut=_TOGETHER):
        there = _canonical(batch.replace_schema_metadata(None)).combine_chunks()
        with pa.ipc.new_stream(pa.PythonFile(_Hashing(digest), mode="w"), there.schema) as writer:
            writer.write_table(there)
        rows += batch.num_rows
    return {"rows": rows, "columns": len(source.schema), "sha256": digest.hexdigest()}


class _Hashing:
    """A file that only hashes what is written to it."""

    closed = False

    def __init__(self, digest: Any) -> None:
        self.digest = digest

    def write(self, content: bytes) -> int:
        self.digest.update(content)
        return len(content)

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def flush(self) -> None:
        return None

    def close(self) -> None:
        self.closed = True


def _git() -> dict[str, Any] | None:
    """Commit of the working directory, whether it was changed since, and a hash of the changes; None outside of git."""
    commit = _ask("rev-parse", "HEAD")
    if commit is None:
        return None
    changed = _ask("status", "--porcelain")
    found: dict[str, Any] = {"commit": commit.decode().strip(), "dirty": bool(changed)}
    if changed:
        difference = _ask("diff", "HEAD", "--binary")
        found["diff"] = None if difference is None else hashlib.sha256(changed + difference).hexdigest()
    return found


def _ask(*words: str) -> bytes | None:
    try:
        done = subprocess.run(["git", *words], capture_output=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
