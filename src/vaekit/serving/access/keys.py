"""API keys: a file that says who may come in, and holds only hashes of what they show.

A key is ``vae_<id>_<secret>``: a prefix that scanners for leaked secrets can look for, the id of its entry, and 256
random bits. The file keeps its SHA-256. A slow hash protects passwords, which can be guessed; nobody guesses 256 random
bits, and a slow hash on every request would only help those who want to keep the server busy.
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
import logging
import math
import os
import re
import secrets
from pathlib import Path

import msgspec

from vaekit.errors import ConfigError
from vaekit.serving.access.limits import Quota
from vaekit.serving.access.scopes import Scopes

__all__ = ["PREFIX", "Entry", "KeyFile", "make_key", "read_keys"]

PREFIX = "vae_"
LARGEST = 1 << 20  # bytes of a file of keys
EVERY = 1.0  # seconds between two looks at the file
_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,63}", re.ASCII)
_HASH = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
log = logging.getLogger("vaekit.serving.access.keys")


class Entry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One key, as the file holds it.

    Args:
        id: Name of the key, for logs; several keys may share it while one replaces the other.
        hash: ``sha256:`` and the hexadecimal hash of the key.
        scopes: What it allows, see `vaekit.serving.access.scopes`.
        rate: Requests a second; absent: no limit.
        rows: Rows a second; absent: no limit.
        expires: The first day on which it is refused, in UTC.
    """

    id: str
    hash: str
    scopes: tuple[str, ...]
    rate: float | None = None
    rows: float | None = None
    expires: datetime.date | None = None

    def expired(self, now: datetime.datetime) -> bool:
        """Whether the key is of no use any more."""
        return self.expires is not None and now.astimezone(datetime.UTC).date() >= self.expires


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    key: tuple[Entry, ...] = ()


def make_key(
    id: str,
    scopes: tuple[str, ...],
    *,
    rate: float | None = None,
    rows: float | None = None,
    expires: datetime.date | None = None,
) -> tuple[str, Entry]:
    """Draw a new key.

    Returns:
        The key, to be shown once, and the entry of the file, which does not hold it.

    Raises:
        ConfigError: If an argument is not what the file may hold.

    Example:
        >>> key, entry = make_key("ci", ("score:flights",), rate=100.0)
        >>> key[:7], entry.id, key in msgspec.toml.encode(entry).decode()
        ('vae_ci_', 'ci', False)
    """
    key = f"{PREFIX}{id}_{secrets.token_urlsafe(32)}"
    entry = Entry(id=id, hash=_hash(key), scopes=scopes, rate=rate, rows=rows, expires=expires)
    _check(entry, "the new key")
    return key, entry


def read_keys(path: str | Path) -> tuple[Entry, ...]:
    """Read and check a file of keys.

    Args:
        path: A TOML file with a table ``[[key]]`` per key.

    Returns:
        Its entries.

    Raises:
        ConfigError: If the file cannot be read, or an entry is wrong; the message quotes no hash.
    """
    try:
        with Path(path).open("rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise ConfigError(f"{path}: the file of keys cannot be read ({error.strerror})") from error
    if len(content) > LARGEST:
        raise ConfigError(f"{path}: a file of keys has at most {LARGEST} bytes")
    try:
        entries = msgspec.toml.decode(content, type=_File).key
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a file of keys ({error})") from error
    for number, entry in enumerate(entries, start=1):
        _check(entry, f"{path}: key {number}")
    return entries


def _check(entry: Entry, where: str) -> None:
    if not _ID.fullmatch(entry.id):
        raise ConfigError(f"{where}: its id must be of a-z, 0-9 and -, at most 64 of them")
    if not _HASH.fullmatch(entry.hash):
        raise ConfigError(f"{where} ({entry.id}): hash must be sha256: and 64 hexadecimal digits; see vae keys new")
    for name in ("rate", "rows"):
        value = getattr(entry, name)
        if value is not None and not (value > 0 and math.isfinite(value)):
            raise ConfigError(f"{where} ({entry.id}): {name} must be above 0, got {value}")
    if not entry.scopes:
        raise ConfigError(f"{where} ({entry.id}): scopes are empty, so it allows nothing; name some, or remove the key")
    Scopes.of(entry.scopes)


def _hash(key: str) -> str:
    return "sha256:" + hashlib.sha256(key.encode()).hexdigest()


class Known(msgspec.Struct, frozen=True):
    """A key of the file, ready for use."""

    entry: Entry
    scopes: Scopes
    quota: Quota


class KeyFile:
    """A file of keys that is read again when it changes.

    A file that is broken, or gone, changes nothing: the keys that were read last stay in force, and the log says so.

    Args:
        path: The file.

    Raises:
        ConfigError: If the file is broken from the start.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.broken: str | None = None
        self._looked = -math.inf
        self._stamp = self._stamp_now()
        self._known = self._by_id(read_keys(self.path))

    def __len__(self) -> int:
        return sum(map(len, self._known.values()))

    def find(self, key: str) -> Known | None:
        """The entry of a key that a caller shows, expired or not; None if there is none.

        Every candidate is compared, each in constant time: the time tells nothing about a hash.
        """
        id = key.removeprefix(PREFIX).partition("_")[0]
        shown = _hash(key)
        found = None
        for known in self._known.get(id, ()):
            if hmac.compare_digest(known.entry.hash, shown):
                found = known
        return found

    def refresh(self, now: float) -> None:
        """Look whether the file has changed, at most once a second.

        Args:
            now: Seconds of a clock that never goes back.
        """
        if now - self._looked < EVERY:
            return
        self._looked = now
        stamp = self._stamp_now()
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            entries = read_keys(self.path)
        except ConfigError as error:
            self.broken = str(error)
            log.error("%s; the %d keys that were read before stay in force", error, len(self))
            return
        self._known, self.broken = self._by_id(entries), None
        log.warning("%s was read again: %d keys", self.path, len(self))

    def _stamp_now(self) -> tuple[int, int, int] | None:
        try:
            found = os.stat(self.path)
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    @staticmethod
    def _by_id(entries: tuple[Entry, ...]) -> dict[str, tuple[Known, ...]]:
        known: dict[str, tuple[Known, ...]] = {}
        for entry in entries:
            one = Known(entry, Scopes.of(entry.scopes), Quota(entry.rate, entry.rows))
            known[entry.id] = (*known.get(entry.id, ()), one)
        return known
