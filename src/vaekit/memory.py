"""How much memory this process has needed."""

from __future__ import annotations

import math
import sys
from pathlib import Path

__all__ = ["peak_memory"]

_STATUS = Path("/proc/self/status")


def peak_memory() -> float:
    """Most resident memory that this process has had, in MiB; nan where the system does not say.

    Example:
        >>> peak_memory() > 1.0
        True
    """
    if _STATUS.exists():  # what getrusage says begins with the memory of the process that started this one
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 2**10
    if sys.platform == "win32":
        return math.nan
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
