"""TLS for both hosts: certificate and key from files, which are read again when they are renewed."""

from __future__ import annotations

import logging
import os
import ssl
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from vaekit.errors import ConfigError

if TYPE_CHECKING:
    import grpc

__all__ = ["Tls", "grpc_credentials", "server_context"]

EVERY = 10.0  # seconds between two looks at the files
log = logging.getLogger("vaekit.serving.access.tls")


class Tls(msgspec.Struct, frozen=True, kw_only=True):
    """Where certificates lie.

    Args:
        cert: The certificate of the server, and those between it and its authority, as PEM.
        key: Its private key as PEM, not encrypted.
        client_ca: Authorities whose certificates clients must show, as PEM; None: clients show none.
    """

    cert: str
    key: str
    client_ca: str | None = None


def server_context(tls: Tls) -> ssl.SSLContext:
    """A context for TLS 1.2 and newer, which follows the files.

    Args:
        tls: Where certificates lie.

    Raises:
        ConfigError: If a file cannot be read, or key and certificate do not belong together.
    """
    context, files = _context(tls), _Files(tls)

    def renew(connection: ssl.SSLObject, *_: object) -> None:
        nonlocal context
        if files.changed():
            try:
                context = _context(tls)
                log.warning("%s was read again", tls.cert)
            except ConfigError as error:
                log.error("%s; the certificate that was read before stays in use", error)
        connection.context = context

    context.sni_callback = renew  # called for every connection, whether or not it names a server
    return context


def grpc_credentials(tls: Tls) -> grpc.ServerCredentials:
    """The same for gRPC, which speaks TLS 1.2 and newer.

    Args:
        tls: Where certificates lie; `server_context` has checked them.
    """
    import grpc

    files = _Files(tls)

    def read() -> Any:
        authority = Path(tls.client_ca).read_bytes() if tls.client_ca else None
        pair = (Path(tls.key).read_bytes(), Path(tls.cert).read_bytes())
        return grpc.ssl_server_certificate_configuration([pair], root_certificates=authority)

    def renew() -> Any:
        """New certificates, or None where nothing has changed."""
        if not files.changed():
            return None
        try:
            _context(tls)
            return read()
        except (ConfigError, OSError) as error:
            log.error("%s; the certificate that was read before stays in use", error)
            return None

    return grpc.dynamic_ssl_server_credentials(read(), renew, require_client_authentication=tls.client_ca is not None)


def _context(tls: Tls) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(tls.cert, tls.key, password="")  # an encrypted key fails, it does not ask a terminal
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(
            f"--tls-cert {tls.cert}, --tls-key {tls.key}: cannot be used ({error.strerror or error}); "
            "expected a PEM certificate and its own private key, not encrypted"
        ) from error
    if tls.client_ca is not None:
        try:
            context.load_verify_locations(tls.client_ca)
        except OSError as error:
            raise ConfigError(f"--tls-client-ca {tls.client_ca}: cannot be used ({error.strerror or error})") from error
        context.verify_mode = ssl.CERT_REQUIRED
    return context


class _Files:
    """Whether files have changed since the last look, at most one look in `EVERY` seconds."""

    def __init__(self, tls: Tls) -> None:
        self.paths = [path for path in (tls.cert, tls.key, tls.client_ca) if path]
        self.stamps = self._now()
        self.looked = time.monotonic()

    def changed(self) -> bool:
        if time.monotonic() - self.looked < EVERY:
            return False
        self.looked = time.monotonic()
        before, self.stamps = self.stamps, self._now()
        return self.stamps != before

    def _now(self) -> list[tuple[int, int, int] | None]:
        return [_stamp(path) for path in self.paths]


def _stamp(path: str) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
