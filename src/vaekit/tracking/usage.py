"""How busy the machine is with a run: processor, memory, GPU; from what the system counts anyway."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from vaekit.memory import peak_memory

__all__ = ["Usage", "resident"]


class Usage:
    """Utilisation between two looks.

    Example:
        >>> usage = Usage()
        >>> sorted(usage.since())[:2], 0 <= usage.since()["processor"]
        (['memory', 'processor'], True)
    """

    def __init__(self) -> None:
        self._wall, self._busy = time.monotonic(), time.process_time()

    def since(self) -> dict[str, float]:
        """Figures since the last call.

        Returns:
            ``processor`` (cores in use, on average), ``memory`` (MiB that are resident now), and with a GPU that torch
            uses ``gpu`` (its utilisation, from 0 to 1, where the driver tells), ``gpu_memory`` and ``gpu_memory_peak``
            (MiB that torch holds).
        """
        wall, busy = time.monotonic(), time.process_time()
        found = {"processor": (busy - self._busy) / max(wall - self._wall, 1e-9), "memory": resident()}
        self._wall, self._busy = wall, busy
        return found | _gpu()


def resident() -> float:
    """Resident memory of this process in MiB; its peak where the system does not tell what it is now."""
    status = Path("/proc/self/statm")
    if status.exists():
        return int(status.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    return peak_memory()


def _gpu() -> dict[str, float]:
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return {}
    found = {
        "gpu_memory": torch.cuda.memory_allocated() / 2**20,
        "gpu_memory_peak": torch.cuda.max_memory_allocated() / 2**20,
    }
    try:
        found["gpu"] = torch.cuda.utilization() / 100
    except (ModuleNotFoundError, RuntimeError):  # the driver's library is not installed, or does not tell
        return found
    return found
