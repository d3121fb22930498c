"""Memory of a group of processes, as the kernel counts it."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import NamedTuple

__all__ = ["Tree", "tree"]


class Tree(NamedTuple):
    """Memory of all processes of a group, MiB.

    Args:
        rss: Resident; pages that processes share count for each of them.
        pss: Proportional; pages that they share are divided among them.
    """

    rss: float
    pss: float


def tree(group: int) -> Tree:
    """Memory of all processes of a process group."""
    rss = pss = 0
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it may have ended meanwhile
            if int((path / "stat").read_text().rpartition(")")[2].split()[2]) == group:
                lines = (path / "smaps_rollup").read_text().splitlines()
                sizes = {line.partition(":")[0]: int(line.split()[1]) for line in lines[1:]}
                rss, pss = rss + sizes["Rss"], pss + sizes["Pss"]
    return Tree(rss / 1024, pss / 1024)
