"""Processes of one run on this machine, as ``torchrun`` would start them."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from multiprocessing import connection
from typing import Any

__all__ = ["ended", "rendezvous"]


def rendezvous(count: int) -> list[dict[str, str]]:
    """The environment of each of so many processes; of a single one it is empty."""
    if count == 1:
        return [{}]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [common | {"RANK": str(rank)} for rank in range(count)]


def ended(processes: Sequence[Any]) -> None:
    """Wait until all processes have ended.

    Raises:
        RuntimeError: If one failed; the others, which would wait for it, are ended then.
    """
    alive = list(processes)
    while alive:
        connection.wait([process.sentinel for process in alive])
        alive = [process for process in alive if process.is_alive()]
        if failed := [process.exitcode for process in processes if process.exitcode]:
            for process in alive:
                process.kill()
            raise RuntimeError(f"a process of a run of {len(processes)} ended with {failed[0]}")
