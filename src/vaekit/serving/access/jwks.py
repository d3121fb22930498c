"""The public keys of an identity provider: from a file or an address, kept, and fetched again when that is due.

Fetching is bounded in size and time, happens in a thread, and at most once in `FLOOR` seconds however many tokens name
unknown keys. Old keys serve while a fetch is under way or fails, but not for longer than `OLDEST` seconds.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from vaekit.errors import ConfigError
from vaekit.serving.access.addresses import is_loopback

if TYPE_CHECKING:
    from jwt import PyJWK

__all__ = ["KeySet", "NoKeys", "discovered", "fetch"]

LARGEST = 1 << 20  # bytes of a document
SECONDS = 5.0  # for a whole fetch
FLOOR = 30.0  # seconds between two fetches
FRESH = 600.0  # age in seconds from which on keys are fetched anew in the background
OLDEST = 86_400.0  # age in seconds from which on keys are not used any more
WEAKEST = 2048  # bits of an RSA key
DISCOVERY = "/.well-known/openid-configuration"
log = logging.getLogger("vaekit.serving.access.jwks")


class NoKeys(Exception):
    """There are no keys that could be used: the identity provider cannot be reached, or sends something else."""


class KeySet:
    """The keys of one identity provider.

    Args:
        read: Reads the JWKS document; called in a thread.
        clock: Seconds of a clock that never goes back.
    """

    def __init__(self, read: Callable[[], bytes], clock: Callable[[], float] = time.monotonic) -> None:
        self._read, self._clock = read, clock
        self._keys: dict[str | None, PyJWK] = {}
        self._read_at = self._tried_at = -math.inf
        self._task: asyncio.Task[None] | None = None
        self.generation = 0

    async def find(self, kid: str | None) -> PyJWK | None:
        """The key of a token.

        Args:
            kid: The key id in the token's header; None where it names none, which is only good for a set of one key.

        Returns:
            The key; None if there is none of that id.

        Raises:
            NoKeys: If no keys are at hand.
        """
        age = self._clock() - self._read_at
        found = self._among(kid) if age < OLDEST else None
        if found is None:
            await self._renew()
            if self._clock() - self._read_at >= OLDEST:
                raise NoKeys
            return self._among(kid)
        if age >= FRESH:
            self._start()
        return found

    def _among(self, kid: str | None) -> PyJWK | None:
        if kid is not None:
            return self._keys.get(kid)
        return next(iter(self._keys.values())) if len(self._keys) == 1 else None

    async def _renew(self) -> None:
        self._start()
        if self._task is not None:
            await asyncio.shield(self._task)  # one caller who leaves does not stop the fetch for the others

    def _start(self) -> None:
        if self._task is None and self._clock() - self._tried_at >= FLOOR:
            self._tried_at = self._clock()
            self._task = asyncio.get_running_loop().create_task(self._fetch())

    async def _fetch(self) -> None:
        try:
            self._keys = await asyncio.to_thread(lambda: _parsed(self._read()))
            self._read_at = self._clock()
            self.generation += 1
        except (ConfigError, OSError) as error:
            log.error("the keys of the identity provider cannot be read: %s", error)
        finally:
            self._task = None


def _parsed(document: bytes) -> dict[str | None, PyJWK]:
    """The signature keys of a JWKS document, by id; keys for encryption, of unknown kinds or too weak are left out."""
    from jwt import PyJWK
    from jwt.exceptions import PyJWKError

    keys: dict[str | None, PyJWK] = {}
    for entry in _json(document, dict[str, list[dict[str, Any]]]).get("keys", []):
        if entry.get("use", "sig") != "sig" or entry.get("kty") == "oct":
            continue
        try:
            key = PyJWK.from_dict(entry)
        except PyJWKError:
            continue
        if getattr(key.key, "key_size", WEAKEST) >= WEAKEST or key.key_type != "RSA":
            keys[entry.get("kid")] = key
    if not keys:
        raise ConfigError("the JWKS document holds no public key for signatures")
    return keys


def discovered(issuer: str) -> Callable[[], bytes]:
    """A reader of the JWKS document that an issuer names in its OpenID configuration."""

    def read() -> bytes:
        told = _json(fetch(issuer.rstrip("/") + DISCOVERY), dict[str, Any])
        if told.get("issuer") != issuer:
            raise ConfigError(f"{issuer}{DISCOVERY}: names another issuer; give --jwt-issuer exactly as it does")
        return fetch(str(told.get("jwks_uri", "")))

    return read


def fetch(source: str) -> bytes:
    """Read a document from a file, an ``https:`` address, or an ``http:`` address of this machine.

    Args:
        source: A path or an address. Addresses are not followed to others.

    Returns:
        The document.

    Raises:
        ConfigError: If it is too large, takes too long, or the address is none of those.
        OSError: If it cannot be read.
    """
    parts = urlsplit(source)
    if parts.scheme not in ("http", "https"):
        with Path(source).open("rb") as file:
            return _bounded(file.read, source)
    if parts.scheme == "http" and not (parts.hostname == "localhost" or is_loopback(parts.hostname or "")):
        raise ConfigError(f"{source}: keys come over https:, or over http: from this machine")
    from urllib.request import HTTPRedirectHandler, build_opener

    class Stay(HTTPRedirectHandler):
        def redirect_request(self, *_: Any) -> None:
            return None  # urllib then reports the status

    with build_opener(Stay).open(source, timeout=SECONDS) as answer:
        return _bounded(answer.read1, source)


def _bounded(read: Callable[[int], bytes], source: str) -> bytes:
    """Everything that a reader gives, within the limits: one that trickles does not hold the thread."""
    deadline, content = time.monotonic() + SECONDS, b""
    while part := read(1 << 16):
        content += part
        if len(content) > LARGEST:
            raise ConfigError(f"{source}: more than {LARGEST} bytes")
        if time.monotonic() > deadline:
            raise ConfigError(f"{source}: takes more than {SECONDS:g} seconds")
    return content


def _json(document: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(document, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"not the JSON document that was expected ({error})") from error
