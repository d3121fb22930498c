"""Which rows a model is trained on: all of them if they fit into memory, else a uniform sample."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from vaekit.errors import ConfigError
from vaekit.fields.batches import Source
from vaekit.fields.streams import sampled

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["available_memory", "resident"]

_SHARE = 0.5  # of the memory that is free now
_COPIES = 8  # of a row while it is sampled, split, encoded and trained on


def resident(source: Source, most: int | None, seed: int) -> tuple[pa.Table, int]:
    """The rows to train on, and the number of rows that they were taken from.

    Args:
        source: All rows.
        most: Most rows to train on; as many as fit into memory if not given.
        seed: Seed of the sample.

    Raises:
        ConfigError: If most is below 1.
    """
    if most is not None and most < 1:
        raise ConfigError(f"max_rows is a number of rows to train on, at least 1; got {most}")
    if source.table is not None and (most is None or source.table.num_rows <= most):
        return source.table, source.table.num_rows
    return sampled(source, most or _affordable, seed)


def _affordable(row_bytes: float) -> int:
    """How many rows of a width fit into memory, with all the copies of them that training makes."""
    return max(1, int(_SHARE * available_memory() / (_COPIES * max(row_bytes, 1.0))))


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
