"""Signatures of bundles: an Ed25519 signature of the manifest, which holds a hash of every file.

It lies beside the manifest as `signature`, a JSON document that names the key (by a hash of its public half, for
messages) and holds the 64 bytes in base64, so that other tools can check it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from vaekit.errors import BundleError, ConfigError
from vaekit.files import write_file

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

__all__ = ["SIGNATURE", "Signed", "check_signature", "new_signing_key", "read_signature", "sign", "trusted_keys"]

SIGNATURE = "signature"
ALGORITHM = "Ed25519"


class Signed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of a signature file.

    Args:
        algorithm: Always ``Ed25519``.
        key: First 32 hexadecimal digits of the SHA-256 of the raw public key.
        signature: The signature of the bytes of the manifest, in base64.
    """

    algorithm: str
    key: str
    signature: str


def new_signing_key() -> tuple[bytes, bytes]:
    """Make a pair of keys.

    Returns:
        The private and the public key, as PEM.

    Raises:
        ConfigError: If `cryptography` is not installed.
    """
    serialization, ed25519 = _cryptography()
    private = ed25519.Ed25519PrivateKey.generate()
    return (
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
        private.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
    )


def sign(root: Path, manifest: bytes, private: bytes) -> Signed:
    """Sign a bundle; an older signature is replaced.

    Args:
        root: The bundle.
        manifest: The bytes of its manifest.
        private: An Ed25519 private key as PEM, not encrypted.

    Returns:
        What was written.

    Raises:
        ConfigError: If the key is none, or `cryptography` is not installed.
    """
    key = _loaded(private)
    signature = base64.b64encode(key.sign(manifest)).decode()
    signed = Signed(algorithm=ALGORITHM, key=_name(key.public_key()), signature=signature)
    write_file(root / SIGNATURE, msgspec.json.format(msgspec.json.encode(signed), indent=1))
    return signed


def trusted_keys(sources: Sequence[str | Path | bytes]) -> dict[str, Ed25519PublicKey]:
    """Public keys by name.

    Args:
        sources: Ed25519 public keys: PEM files, or PEM as bytes.

    Raises:
        ConfigError: If a file cannot be read or holds no such key, or `cryptography` is not installed.
    """
    serialization, ed25519 = _cryptography()
    keys = {}
    for source in sources:
        where = "the public key" if isinstance(source, bytes) else str(source)
        try:
            content = source if isinstance(source, bytes) else Path(source).read_bytes()
            key = serialization.load_pem_public_key(content)
        except OSError as error:
            raise ConfigError(f"{where}: cannot be read ({error.strerror})") from error
        except ValueError as error:
            raise ConfigError(f"{where}: holds no public key in PEM form") from error
        if not isinstance(key, ed25519.Ed25519PublicKey):
            raise ConfigError(f"{where}: expected an Ed25519 public key; vae keys signing makes a pair")
        keys[_name(key)] = key
    return keys


def read_signature(root: Path) -> Signed | None:
    """The signature of a bundle, unchecked; None if it has none.

    Raises:
        BundleError: If the file is not a signature.
    """
    path = root / SIGNATURE
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        signed = msgspec.json.decode(content, type=Signed)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BundleError(f"{path}: not a signature ({error}); sign the bundle again") from error
    if signed.algorithm != ALGORITHM:
        raise BundleError(f"{path}: expected an {ALGORITHM} signature, got {signed.algorithm[:40]!r}")
    return signed


def check_signature(root: Path, manifest: bytes, trusted: Sequence[str | Path | bytes]) -> str:
    """Check that a bundle was signed by a trusted key.

    Args:
        root: The bundle.
        manifest: The bytes of its manifest, the same ones that its files are checked against.
        trusted: Public keys, see `trusted_keys`.

    Returns:
        The name of the key that signed it.

    Raises:
        BundleError: If it is not signed, was altered afterwards, or was signed by somebody else.
        ConfigError: If a public key is none.
    """
    keys = trusted_keys(trusted)
    signed = read_signature(root)
    if signed is None:
        raise BundleError(f"{root}: the bundle is not signed, and a signature is required; vae sign signs it")
    if signed.key not in keys:
        raise BundleError(
            f"{root}: the bundle was signed with the key {signed.key[:64]}, which is not trusted; "
            f"trusted: {', '.join(keys) or 'none'}"
        )
    from cryptography.exceptions import InvalidSignature

    try:
        keys[signed.key].verify(base64.b64decode(signed.signature, validate=True), manifest)
    except (InvalidSignature, ValueError) as error:
        raise BundleError(
            f"{root}: the bundle was altered after it was signed: its signature does not match"
        ) from error
    return signed.key


def _loaded(pem: bytes) -> Ed25519PrivateKey:
    serialization, ed25519 = _cryptography()
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (TypeError, ValueError) as error:
        raise ConfigError("the signing key is not a private key in PEM form, or is encrypted") from error
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise ConfigError("expected an Ed25519 private key to sign with; vae keys signing makes a pair")
    private: Ed25519PrivateKey = key
    return private


def _name(key: Ed25519PublicKey) -> str:
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:32]


def _cryptography() -> tuple[Any, Any]:
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise ConfigError("signatures need the package cryptography: pip install 'vaekit[serve]'") from error
    return serialization, ed25519
