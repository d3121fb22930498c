"""`vae keys`: API keys of a service, and keys to sign bundles with."""

from __future__ import annotations

import datetime
import os
from pathlib import Path
from typing import Annotated

import typer

from vaekit.cli.output import print_json, say
from vaekit.errors import ConfigError

__all__ = ["keys"]

HELP = """Keys: of callers, and to sign bundles with.

  [bold]vae keys new --id ci --models flights --queries score,detect >> keys.toml[/bold]
  [bold]vae keys check keys.toml[/bold]

Next: [bold]vae serve run --keys keys.toml[/bold]
"""

keys = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", help=HELP)


@keys.command()
def new(
    id: Annotated[str, typer.Option("--id", metavar="NAME", help="Whose key it is; logs name it. a-z, 0-9 and -.")],
    models: Annotated[
        str | None, typer.Option(metavar="NAMES", help="Models it may ask, separated by commas; * for all.")
    ] = None,
    queries: Annotated[
        str | None, typer.Option(metavar="NAMES", help="Queries it may ask of them, separated by commas; * for all.")
    ] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option("--scope", help="A scope as such: QUERY:MODEL, feedback, metrics or admin. Repeat it."),
    ] = None,
    rate: Annotated[float | None, typer.Option(help="Most requests a second, on average.")] = None,
    rows: Annotated[float | None, typer.Option(help="Most rows a second, on average.")] = None,
    expires: Annotated[
        datetime.datetime | None,
        typer.Option(formats=["%Y-%m-%d"], metavar="YYYY-MM-DD", help="The first day on which it is refused, in UTC."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write the key here, for its owner alone to read.")
    ] = None,
) -> None:
    """Make a key: the entry for the file of keys goes to stdout, the key itself to stderr, once.

    The file holds a hash of the key, so it gives nobody access. A running service reads the file again when it changes.

      [bold]vae keys new --id ci --models flights --queries score,detect >> keys.toml[/bold]
      [bold]vae keys new --id prometheus --scope metrics --out prometheus.key >> keys.toml[/bold]

    Next: [bold]vae serve run --keys keys.toml[/bold], and send the key as 'Authorization: Bearer …'.
    """
    import tomli_w
    from msgspec import to_builtins

    from vaekit.serving.access.keys import make_key

    if (models is None) != (queries is None):
        raise ConfigError("--models and --queries go together: say which queries of which models; * stands for all")
    scopes = [f"{query}:{model}" for model in _names(models) for query in _names(queries)] + (scope or [])
    if not scopes:
        raise ConfigError("the key would allow nothing: give --models and --queries, or --scope")
    key, entry = make_key(id, tuple(scopes), rate=rate, rows=rows, expires=expires and expires.date())
    if out is not None:
        _write_secret(out, key.encode() + b"\n")
        say(f"the key is in {out}; it is nowhere else")
    else:
        say(f"the key, shown once:\n{key}")
    plain = to_builtins(entry, builtin_types=(datetime.date,))
    typer.echo("\n" + tomli_w.dumps({"key": [plain]}), nl=False)


@keys.command()
def check(
    file: Annotated[Path, typer.Argument(metavar="KEYS", help="A file of keys.")],
    key: Annotated[
        Path | None, typer.Option("--key", metavar="FILE", help="A key, as it was shown: is it accepted, and for what?")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print for programs.")] = False,
) -> None:
    """Check a file of keys, and who may do what; exit 1 if a key has expired or is not accepted.

    [bold]vae keys check keys.toml[/bold]
    [bold]vae keys check keys.toml --key ci.key[/bold]
    """
    from vaekit.serving.access.keys import KeyFile, read_keys

    now = datetime.datetime.now(datetime.UTC)
    entries = read_keys(file)
    if key is not None:
        known = KeyFile(file).find(_read_secret(key).decode(errors="replace").strip())
        if known is None:
            say(f"{key}: not a key of {file}")
            raise typer.Exit(1)
        entries = (known.entry,)
    told = [
        {
            "id": entry.id,
            "scopes": list(entry.scopes),
            "rate": entry.rate,
            "rows": entry.rows,
            "expires": entry.expires and entry.expires.isoformat(),
            "expired": entry.expired(now),
        }
        for entry in entries
    ]
    if as_json:
        print_json({"file": str(file), "keys": told})
    else:
        for entry, one in zip(entries, told, strict=True):
            limits = [
                f"{value:g} {name}/s" for name, value in (("requests", entry.rate), ("rows", entry.rows)) if value
            ]
            until = [f"{'EXPIRED' if one['expired'] else 'until'} {entry.expires}"] if entry.expires else []
            typer.echo("  ".join([entry.id, " ".join(entry.scopes), *limits, *until]))
    if any(one["expired"] for one in told):
        raise typer.Exit(1)


@keys.command()
def signing(
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="Where the private key goes; the public: FILE.pub.")
    ],
) -> None:
    """Make a pair of keys to sign bundles with: the private one signs, the public one checks.

      [bold]vae keys signing --out signing.pem[/bold]

    Next: [bold]vae sign run --key signing.pem[/bold], then [bold]vae verify run --key signing.pem.pub[/bold]
    """
    from vaekit.bundle.signature import new_signing_key

    private, public = new_signing_key()
    _write_secret(out, private)
    shown = out.with_name(out.name + ".pub")
    shown.write_bytes(public)
    typer.echo(f"private key: {out} (keep it out of repositories and images); public key: {shown}")


def _names(text: str | None) -> list[str]:
    return [name.strip() for name in text.split(",")] if text else []


def _write_secret(path: Path, content: bytes) -> None:
    """Write a new file that its owner alone can read; one that is there is not touched."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise ConfigError(f"--out {path}: cannot be written ({error.strerror})") from error
    with os.fdopen(handle, "wb") as file:
        file.write(content)


def _read_secret(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"--key {path}: cannot be read ({error.strerror})") from error
