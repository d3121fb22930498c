"""`vae sign` and `vae verify`: who made a bundle, and whether it is still what they made."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from vaekit.cli.options import BundleArgument, bundle_path
from vaekit.cli.output import print_json
from vaekit.errors import BundleError, ConfigError

__all__ = ["sign", "verify"]

VARIABLE = "VAEKIT_SIGNING_KEY"


def sign(
    bundle: BundleArgument,
    key: Annotated[
        Path | None,
        typer.Option("--key", metavar="FILE", help=f"An Ed25519 private key as PEM; else what {VARIABLE} holds."),
    ] = None,
) -> None:
    """Sign a bundle, so that a service can require that it is one of yours.

    The signature covers the manifest, which holds a hash of every file. Saving the bundle again removes it.

      [bold]vae keys signing --out signing.pem[/bold]
      [bold]vae sign run --key signing.pem[/bold]

    Next: [bold]vae verify run --key signing.pem.pub[/bold]
    """
    from vaekit.bundle.manifest import manifest_bytes, read_files, read_manifest
    from vaekit.bundle.signature import sign as write_signature

    root = bundle_path(bundle)
    read_files(root, read_manifest(root))
    signed = write_signature(root, manifest_bytes(root), _private(key))
    typer.echo(f"signed: {root}, with the key {signed.key}")


def verify(
    bundle: BundleArgument,
    key: Annotated[
        list[Path] | None,
        typer.Option("--key", metavar="FILE", help="A public key as PEM, one of which must have signed it. Repeat it."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print for programs.")] = False,
) -> None:
    """Check that a bundle is whole and unaltered, and signed by somebody you trust; exit 1 if it is not.

      [bold]vae verify run[/bold]
      [bold]vae verify run --key signing.pem.pub[/bold]

    Next: [bold]vae serve run --require-signature signing.pem.pub[/bold]
    """
    from vaekit.bundle.manifest import read_files, read_manifest
    from vaekit.bundle.signature import read_signature

    root = bundle_path(bundle)
    try:
        manifest = read_manifest(root, key or ())
        files = read_files(root, manifest)
        signed = read_signature(root)
    except BundleError as error:
        typer.echo("error: " + " ".join(str(error).split()), err=True)
        raise typer.Exit(1) from error
    told = {
        "bundle": str(root),
        "version": manifest.version,
        "contract": manifest.contract,
        "data": manifest.data,
        "files": len(files),
        "bytes": sum(map(len, files.values())),
        "signed_with": signed and signed.key,
        "signature_checked": bool(key),
    }
    if as_json:
        print_json(told)
        return
    typer.echo(
        f"{root}: {len(files)} files, {told['bytes']:,} bytes, all as the manifest says; version {manifest.version}"
    )
    if signed is None:
        typer.echo("not signed")
    elif key:
        typer.echo(f"signed with the key {signed.key}, which is trusted")
    else:
        typer.echo(f"it says that it is signed with the key {signed.key}; give --key to check that")


def _private(path: Path | None) -> bytes:
    if path is None:
        if not (text := os.environ.get(VARIABLE)):
            raise ConfigError(f"no key to sign with: give --key FILE, or set {VARIABLE} to a private key as PEM")
        return text.encode()
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"--key {path}: cannot be read ({error.strerror})") from error
