"""Encoded rows on disk: one record of fixed width per row, cached by what they were made from."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO

import numpy as np

from vaekit.arrays import Array, Block, Blocks, generator
from vaekit.errors import TrainingError
from vaekit.files import sha256, write_file

__all__ = ["Chunk", "Store", "cache_folder", "stored"]

CHUNK = 2**22  # bytes that are read in one go
_PARTS = 256  # files at most
_ENDS = "store.json"

Chunk = tuple[int, int, int]  # file, first row in it, rows


class Store:
    """Rows as records in files. Every file holds a random part of the rows, so that files read in any order mix them.

    Args:
        folder: A folder that `write` has filled.
        lock: Held while the store is in use, so that nobody deletes it.
    """

    def __init__(self, folder: Path, lock: IO[str] | None = None) -> None:
        about = json.loads((folder / _ENDS).read_bytes())
        self.folder, self._lock = folder, lock
        self.rows: int = about["rows"]
        self.kind = np.dtype([(name, kind, tuple(shape)) for name, kind, shape in about["arrays"]])
        each = max(1, CHUNK // self.kind.itemsize)
        self.chunks: list[Chunk] = [
            (part, start, min(each, size - start))
            for part, size in enumerate(about["sizes"])
            for start in range(0, size, each)
        ]

    def read(self, chunks: Iterable[Chunk]) -> dict[str, Block]:
        """The rows of some chunks, in their order."""
        records = np.concatenate([self._records(*chunk) for chunk in chunks])
        arrays: dict[str, dict[str, Array]] = {}
        for key in self.kind.names or ():
            block, _, name = key.rpartition("/")
            arrays.setdefault(block, {})[name] = np.ascontiguousarray(records[key])
        return {block: Block(**some) for block, some in arrays.items()}

    def close(self) -> None:
        """Let others delete the store."""
        if self._lock is not None:
            self._lock.close()

    def _records(self, part: int, start: int, rows: int) -> Array:
        path, size = self.folder / f"{part:04d}", self.kind.itemsize
        found = np.fromfile(path, self.kind, count=rows, offset=start * size)
        if len(found) != rows:
            raise TrainingError(
                f"{path}: expected {rows} rows from row {start} on, got {len(found)}; delete {path.parent}"
            )
        return found


def write(folder: Path, batches: Iterable[Blocks], size: int) -> None:
    """Write encoded rows as a store.

    Args:
        folder: An empty folder.
        batches: The rows.
        size: Number of rows, about.
    """
    kind, seen, sizes = None, 0, np.zeros(1, np.int64)
    with ExitStack() as stack:
        files: list[IO[bytes]] = []
        for blocks in batches:
            arrays = {f"{name}/{key}": value for name, block in blocks.items() for key, value in _seen(block).items()}
            rows = len(next(iter(arrays.values())))
            if kind is None:
                kind = np.dtype([(name, value.dtype, value.shape[1:]) for name, value in arrays.items()])
                count = min(_PARTS, max(1, size * kind.itemsize // CHUNK))
                sizes = np.zeros(count, np.int64)
                files = [stack.enter_context((folder / f"{part:04d}").open("wb")) for part in range(count)]
            records = np.empty(rows, kind)
            for name, value in arrays.items():
                records[name] = value
            part = generator(0, "scatter", seen).integers(len(files), size=rows)
            order = np.argsort(part, kind="stable")
            cuts = np.searchsorted(part[order], np.arange(len(files) + 1))
            for number, file in enumerate(files):
                file.write(records[order[cuts[number] : cuts[number + 1]]].tobytes())
            sizes += np.diff(cuts)
            seen += rows
    if kind is None:
        raise TrainingError("there are no rows to train on")
    about = {
        "rows": seen,
        "sizes": sizes.tolist(),
        "arrays": [[name, kind[name].base.str, kind[name].shape] for name in kind.names or ()],
    }
    write_file(folder / _ENDS, json.dumps(about).encode())


def _seen(block: Block) -> Mapping[str, Array]:
    return replace(block, unknown=None).arrays()  # the networks do not look at it


def cache_folder() -> Path:
    """Where encoded rows are kept: ``VAEKIT_CACHE``, or the user's folder for caches."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("VAEKIT_CACHE") or Path(base) / "vaekit") / "rows"


def stored(key: object, batches: Callable[[], Iterator[Blocks]], size: int, width: int) -> Store:
    """The store of a key; written once, whoever asks first, and deleted when the cache is full and nobody uses it.

    Args:
        key: What the rows were made from.
        batches: Encodes them.
        size: Number of rows, about.
        width: Bytes of a row, about.

    Raises:
        TrainingError: If it cannot be written.
    """
    root, name = cache_folder(), sha256(repr(key).encode())[:32]
    try:
        root.mkdir(parents=True, exist_ok=True)
        while True:
            lock = (root / f"{name}.lock").open("a")
            fcntl.flock(lock, fcntl.LOCK_SH)
            if (root / name / _ENDS).exists():
                os.utime(root / f"{name}.lock")
                return Store(root / name, lock)
            lock.close()
            with _alone(root / f"{name}.lock"):
                if not (root / name / _ENDS).exists():
                    _make(root, name, batches, size, width)
    except OSError as error:
        raise TrainingError(
            f"encoded rows cannot be kept in {root} ({error.strerror or error}): they need about "
            f"{size * width / 2**20:,.0f} MiB. Make room, or name another folder in VAEKIT_CACHE"
        ) from error


def _make(root: Path, name: str, batches: Callable[[], Iterator[Blocks]], size: int, width: int) -> None:
    for left in root.glob(f".{name}.*"):  # of a process that was killed while it wrote
        shutil.rmtree(left, ignore_errors=True)
    _make_room(root, size * width)
    fresh = Path(tempfile.mkdtemp(dir=root, prefix=f".{name}."))
    try:
        write(fresh, batches(), size)
        shutil.rmtree(root / name, ignore_errors=True)  # of a process that was killed while it deleted
        fresh.replace(root / name)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _make_room(root: Path, needed: int) -> None:
    """Delete stores that nobody uses, the one that was longest not used first, until all take half of the disk."""
    there = sorted((path for path in root.iterdir() if (path / _ENDS).exists()), key=lambda path: _used(path))
    sizes = {path: sum(file.stat().st_size for file in path.iterdir()) for path in there}
    total, limit = sum(sizes.values()), (shutil.disk_usage(root).free + sum(sizes.values())) // 2
    for path in there:
        if total + needed <= limit:
            return
        lock = (root / f"{path.name}.lock").open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue  # in use
        else:
            shutil.rmtree(path, ignore_errors=True)
            total -= sizes[path]
        finally:
            lock.close()


def _used(path: Path) -> float:
    lock = path.parent / f"{path.name}.lock"
    return lock.stat().st_mtime if lock.exists() else 0.0


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
