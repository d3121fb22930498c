"""Where requests come from, and where a service may listen."""

from __future__ import annotations

import ipaddress
import socket

from vaekit.errors import ConfigError

__all__ = ["check_listening", "is_local", "is_loopback", "only_loopback"]


def is_local(peer: str | None, forwarded: bool) -> bool:
    """Whether a request comes from this machine itself, and not through a proxy on it.

    Args:
        peer: Address of the other end; None for a Unix socket.
        forwarded: Whether it has a header that a proxy adds (``Forwarded``, ``X-Forwarded-For``).

    Example:
        >>> is_local("127.0.0.1", forwarded=False), is_local("127.0.0.1", forwarded=True), is_local("10.0.0.7", False)
        (True, False, False)
    """
    return not forwarded and (peer is None or is_loopback(peer))


def is_loopback(address: str) -> bool:
    """Whether an address is one of this machine itself; a name is none.

    Example:
        >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("10.0.0.7"), is_loopback("localhost")
        (True, True, False, False)
    """
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def check_listening(host: str, *, guarded: bool, tls: bool, forced: bool) -> str | None:
    """Refuse to listen to other machines without knowing who asks, unless that is what the user wants.

    Args:
        host: Name or address to listen on.
        guarded: Whether callers show keys or tokens, or certificates.
        tls: Whether connections are encrypted.
        forced: Whether the user said that anybody may come in.

    Returns:
        A warning, if one is due.

    Raises:
        ConfigError: If it would be open to everybody and that was not asked for, or the host is not known.

    Example:
        >>> check_listening("127.0.0.1", guarded=False, tls=False, forced=False)
        >>> check_listening("0.0.0.0", guarded=False, tls=False, forced=False)
        Traceback (most recent call last):
        ...
        vaekit.errors.ConfigError: --host 0.0.0.0 is open to other machines, and anybody could ask: ...
    """
    if only_loopback(host):
        return None
    if not guarded and not forced:
        raise ConfigError(
            f"--host {host} is open to other machines, and anybody could ask: give --keys FILE (see vae keys new), "
            "--jwt-issuer URL or --tls-client-ca FILE; or --insecure-public if that is meant"
        )
    if not guarded:
        return f"listening on {host} without keys or tokens: anybody who reaches it can ask everything"
    if not tls:
        return f"listening on {host} without TLS: keys, tokens and rows can be read on the way; see --tls-cert"
    return None


def only_loopback(host: str) -> bool:
    """Whether a name or address to listen on is reached by this machine alone.

    Raises:
        ConfigError: If the host is not known.
    """
    if not host:  # all addresses
        return False
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ConfigError(f"--host {host}: not a name or address of this machine ({error.strerror})") from error
    return all(is_loopback(str(entry[4][0]).partition("%")[0]) for entry in found)
