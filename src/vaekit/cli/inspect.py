"""`vae inspect`: what the columns of a file are taken for, and whether a VAE is the tool for them."""

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
    """What the columns of a file are taken for, what looks wrong, and whether a VAE is the right tool for them.

    The advice rests on a look at 5,000 rows and 40 columns at most. stop: a simpler tool does as well.

      [bold]vae inspect flights.csv[/bold]
      [bold]vae inspect flights.csv --role flight=ignore --role origin=condition --out contract.toml[/bold]

    Next: [bold]vae fit flights.csv --out run --contract contract.toml[/bold]
    """
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
