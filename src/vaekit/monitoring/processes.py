"""Memory and processor time of processes, as the kernel tells them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

__all__ = ["Usage", "usage"]

_TICK = 1.0 / os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Usage(NamedTuple):
    """What a process uses.

    Args:
        resident: Bytes of memory that it holds.
        cpu: Seconds of processor time that it has had.
    """

    resident: float
    cpu: float


def usage(pid: int) -> Usage | None:
    """What a process uses; None if it has ended, or the system has no ``/proc``.

    Example:
        >>> found = usage(os.getpid())
        >>> found is None or found.resident > 1e6
        True
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    except (OSError, IndexError):
        return None
    return Usage(int(pages) * _PAGE, (int(fields[11]) + int(fields[12])) * _TICK)
