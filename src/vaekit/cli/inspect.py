"""`vae inspect`: what the columns of a file are taken for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vaekit.cli.options import ContractFile, DataArgument, FieldOptions, Kinds, Likelihoods, Roles, edited, read
from vaekit.cli.output import print_json

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
    """What the columns of a file are taken for: kind, role and likelihood of each, and what looks wrong.

      [bold]vae inspect flights.csv[/bold]
      [bold]vae inspect flights.csv --role flight=ignore --role origin=condition --out contract.toml[/bold]

    Next: [bold]vae fit flights.csv --out run --contract contract.toml[/bold]
    """
    from vaekit.fields.show import fixes

    table = read(data, contract)
    found = edited(table, contract, role, kind, likelihood, field)
    if out is not None:
        found.save(out)
    if as_json:
        import msgspec

        fields = msgspec.json.decode(found.to_json())
        told = {"data": str(data), "rows": table.num_rows, "hash": found.hash, "warnings": dict(found.warnings)}
        told["fixes"] = {one.name: {"python": one.python, "flag": one.flag} for one in fixes(found.fields)}
        print_json({**told, "contract": fields})
        return
    typer.echo(f"{data}: {table.num_rows:,} rows, {table.num_columns} columns")
    typer.echo(str(found))
    if corrections := fixes(found.fields):
        typer.echo("to change what is marked with !, or was left out, in Python or with a flag (of fit, too):")
    for one in corrections:
        typer.echo(f"  {one.python}    {one.flag}")
    typer.echo(f"next: vae fit {data} --out run" + (f" --contract {out}" if out is not None else ""))
