"""`vae inspect`: what the columns of a file are taken for, or what a bundle is and where it comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vaekit.cli.options import ContractFile, DataArgument, FieldOptions, Kinds, Likelihoods, Roles, edited, read
from vaekit.cli.output import cell, print_json
from vaekit.errors import ConfigError

__all__ = ["inspect"]


def inspect(
    data: DataArgument,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Save the contract here, as .json or .toml, to edit it."),
    ] = None,
    contract: ContractFile = None,
    role: Roles = None,
    kind: Kinds = None,
    likelihood: Likelihoods = None,
    field: FieldOptions = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the contract for programs.")] = False,
) -> None:
    """What the columns of a file are taken for, what looks wrong, and whether a VAE is the right tool for them.

    The advice rests on a look at 5,000 rows and 40 columns at most. stop: a simpler tool does as well.
    Of a bundle, or a run that holds one: what it is, and where it comes from: data, settings, packages, code, parent.

      [bold]vae inspect flights.csv[/bold]
      [bold]vae inspect flights.csv --role flight=ignore --role origin=condition --out contract.toml[/bold]
      [bold]vae inspect run/bundle[/bold]

    Next: [bold]vae fit flights.csv --out run --contract contract.toml[/bold]
    """
    from vaekit.bundle.manifest import MANIFEST, bundle_root

    if (bundle_root(data) / MANIFEST).exists():
        if out or contract or role or kind or likelihood or field:
            raise ConfigError(f"{data} is a bundle; --out and changes to a contract are for rows")
        _bundle(bundle_root(data), as_json)
        return
    from vaekit.fields.show import fixes
    from vaekit.report import advise_table, table_facts

    table = read(data, contract)
    found = edited(table, contract, role, kind, likelihood, field)
    if out is not None:
        found.save(out)
    advice = advise_table(table_facts(table, found)) if table.num_rows else []
    if as_json:
        import msgspec

        fields = msgspec.json.decode(found.to_json())
        told = {"data": str(data), "rows": table.num_rows, "hash": found.hash, "warnings": dict(found.warnings)}
        told["fixes"] = {one.name: {"python": one.python, "flag": one.flag} for one in fixes(found.fields)}
        print_json({**told, "contract": fields, "advice": advice})
        return
    typer.echo(f"{data}: {table.num_rows:,} rows, {table.num_columns} columns")
    typer.echo(str(found))
    if corrections := fixes(found.fields):
        typer.echo("to change what is marked with !, or was left out, in Python or with a flag (of fit, too):")
    for one in corrections:
        typer.echo(f"  {one.python}    {one.flag}")
    typer.echo("advice:")
    for told_so in advice:
        typer.echo(f"  {told_so}")
    typer.echo(f"next: vae fit {data} --out run" + (f" --contract {out}" if out is not None else ""))


def _bundle(root: Path, as_json: bool) -> None:
    """What a bundle is, and where it comes from."""
    from vaekit.bundle import Bundle
    from vaekit.bundle.lineage import lineage
    from vaekit.bundle.manifest import read_manifest

    manifest, bundle = read_manifest(root), Bundle.load(root)
    record, figures = bundle.run, bundle.evaluation
    facts = {
        "bundle": manifest.version,
        "vaekit": manifest.vaekit,
        "created": manifest.created,
        "contract": manifest.contract,
        "data": manifest.data,
        "rows": record.get("data", {}).get("rows"),
        "fields": len(bundle.contract.names("model")),
        "graphs": ", ".join(sorted(bundle.graphs)) or "none",
        "bytes": sum(entry.bytes for entry in manifest.files.values()),
        "nats": -figures["iwae_64"] if "iwae_64" in figures else None,
        "python": record.get("environment", {}).get("python"),
        **lineage(record),
    }
    if as_json:
        told = {name: record.get(name) for name in ("config", "environment", "sessions", "parent")}
        print_json({"path": str(root), **facts, "evaluation": figures, "record": told})
        return
    typer.echo(f"{root}: a bundle")
    for name, value in facts.items():
        if value is not None:
            typer.echo(f"  {name:<12} {value if isinstance(value, str) else cell(value)}")
    typer.echo("settings and the versions of all packages: --json")
