"""Files that are whole or absent: atomic writes, content hashes, verified folders."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

import msgspec

from vaekit.errors import BundleError

__all__ = ["Entry", "read_verified", "replace_file", "sha256", "write_file", "write_folder"]


class Entry(msgspec.Struct, frozen=True):
    """Content hash and size of one file."""

    sha256: str
    bytes: int


def sha256(content: bytes) -> str:
    """Hexadecimal SHA-256 of some bytes.

    Example:
        >>> sha256(b"")[:8]
        'e3b0c442'
    """
    return hashlib.sha256(content).hexdigest()


def write_file(path: Path, content: bytes) -> None:
    """Write bytes with `replace_file`; folders that are not there are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, lambda target: target.write_bytes(content))


def replace_file(path: Path, fill: Callable[[Path], object]) -> None:
    """Write a file so that a reader sees the old one or the whole new one, never a part.

    It is written under a temporary name, flushed to disk, and renamed into place; others may read it as far as the
    umask says.

    Args:
        path: Where the file goes; its folder exists.
        fill: Writes the content to the temporary path that it is given.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        fill(temporary)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_folder(path: Path, files: Mapping[str, bytes], marker: str) -> None:
    """Write a folder under a temporary name and rename it into place; an older version is replaced whole.

    Args:
        path: The folder.
        files: Relative POSIX name to content.
        marker: Name of the file that tells a folder of this sort; any other folder there is not overwritten.

    Raises:
        BundleError: If something else lies at `path`.
    """
    if path.exists() and not (path / marker).exists() and (path.is_file() or any(path.iterdir())):
        raise BundleError(f"{path} exists and is not a bundle (no {marker}); choose another path or remove it first")
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    old = fresh.with_name(fresh.name + ".old")
    try:
        for name, content in files.items():
            write_file(fresh / name, content)
        os.chmod(fresh, 0o755)
        if path.exists():
            os.replace(path, old)
        try:
            os.replace(fresh, path)
        except BaseException:
            if old.exists():
                os.replace(old, path)
            raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        if path.exists():  # never the only copy that is left
            shutil.rmtree(old, ignore_errors=True)


def read_verified(root: Path, name: str, entry: Entry) -> bytes:
    """Read one file of a folder and check it against its manifest entry.

    Raises:
        BundleError: If the name leaves the folder, or the file is missing, truncated or altered.
    """
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts:
        raise BundleError(
            f"{root / 'manifest.json'}: file name {name!r} leaves the bundle; the manifest is not trustworthy"
        )
    path = root / name
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BundleError(
            f"{path}: cannot be read ({error.strerror}); the bundle is incomplete, copy it again"
        ) from error
    if len(content) != entry.bytes:
        raise BundleError(f"{path}: expected {entry.bytes} bytes, got {len(content)}; the file is truncated or altered")
    if sha256(content) != entry.sha256:
        raise BundleError(
            f"{path}: sha256 differs from the manifest; the file was altered after the bundle was written"
        )
    return content
