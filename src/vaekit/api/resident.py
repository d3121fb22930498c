"""Which rows a fit has in memory: all if they fit, a uniform sample if asked for, else none: they stream."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from vaekit.errors import ConfigError
from vaekit.fields.batches import Source
from vaekit.fields.streams import sampled

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["available_memory", "resident"]

_SHARE = 0.5  # of the memory that is free now
_COPIES = 8  # of a row while it is split, encoded and trained on


def resident(source: Source, most: int | None, seed: int, stream: bool | None = None) -> tuple[Source, int | None]:
    """The rows to train on, in memory if they fit; and the number of rows that they were sampled from, if they were.

    Args:
        source: All rows.
        most: Most rows to train on, as a uniform sample.
        seed: Seed of the sample.
        stream: Whether to leave rows where they are; by default if they do not fit.

    Raises:
        ConfigError: If most is below 1, or rows that can be read only once would have to stream.
    """
    if most is not None and most < 1:
        raise ConfigError(f"max_rows is a number of rows to train on, at least 1; got {most}")
    if stream and (source.once or most is not None):
        raise ConfigError(
            "rows that stream are read several times, and all of them; pass a path or a dataset, and no max_rows"
        )
    if stream:
        return replace(source, table=None), None
    if source.table is not None and (most is None or source.table.num_rows <= most):
        return source, None
    if most is not None:
        rows, total = sampled(source, most, seed)
        return _of(rows), total
    found = _read(source, None if stream is False else _SHARE * available_memory() / _COPIES)
    if found is None and source.once:
        raise ConfigError(
            "rows that can be read only once do not fit into memory; write them to Parquet and pass the path, or set "
            "max_rows to train on a sample"
        )
    return (source if found is None else _of(found)), None


def _read(source: Source, room: float | None) -> pa.Table | None:
    """All rows, or None if they have more bytes than there is room for."""
    import pyarrow as pa

    held, taken = [source.schema.empty_table()], 0
    for batch in source.batches():
        held.append(batch)
        taken += batch.nbytes
        expected = taken if source.rows is None or len(held) > 2 else batch.nbytes / batch.num_rows * source.rows
        if room is not None and expected > room:
            return None
    return pa.concat_tables(held).unify_dictionaries().combine_chunks()


def _of(table: pa.Table) -> Source:
    return Source(table.schema, table.num_rows, table, lambda rows: [table])


def available_memory() -> int:
    """Bytes that this process may still use: of the machine, or of its control group if that allows less."""
    free = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")]
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                free = [1024 * int(line.split()[1])]
        group = Path("/sys/fs/cgroup")
        limit = (group / "memory.max").read_text().strip()
        if limit != "max":
            free.append(int(limit) - int((group / "memory.current").read_text()))
    except (OSError, ValueError):
        pass  # no Linux, or no control group: what the system says of its pages
    return max(0, min(free))
