"""Locks that end with their process, however it ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["Lock", "alive", "held"]


class Lock:
    """A lock on a file, which the system releases when the process dies; Optuna's journal takes it as its lock.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None

    def acquire(self) -> bool:
        """Wait for the lock."""
        handle = os.open(self._path, os.O_CREAT | os.O_RDWR, 0o644)
        fcntl.flock(handle, fcntl.LOCK_EX)
        self._file = handle
        return True

    def remove(self) -> None:
        """Let the lock go for good, with its file."""
        self._path.unlink(missing_ok=True)
        self.release()

    def release(self) -> None:
        """Let the next one in."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold a lock for a while."""
    lock = Lock(path)
    lock.acquire()
    try:
        yield
    finally:
        lock.release()


def alive(path: Path) -> bool:
    """Whether somebody holds a lock."""
    try:
        handle = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False
