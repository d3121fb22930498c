"""`vae sweep`: many fits, and the model that answers best."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vaekit.cli.options import AsJson, ContractFile, DataArgument, FieldOptions, Kinds, Likelihoods, Roles, edited
from vaekit.cli.output import cell, print_json, say

__all__ = ["sweep"]


def sweep(
    plan: Annotated[
        Path, typer.Argument(metavar="PLAN", exists=True, dir_okay=False, help="What is tried, and how, in TOML.")
    ],
    data: DataArgument,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the sweep; the winner is DIR/bundle.")],
    contract: ContractFile = None,
    role: Roles = None,
    kind: Kinds = None,
    likelihood: Likelihoods = None,
    field: FieldOptions = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="Trials in all. Default: what the plan says, or 20.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes. Default: what the plan says, or 1.")] = None,
    max_seconds: Annotated[float | None, typer.Option(help="No trial begins after so many seconds.")] = None,
    max_rows: Annotated[int | None, typer.Option(min=1, help="Rows to fit to at most, a uniform sample.")] = None,
    progress: Annotated[bool, typer.Option(help="Say on stderr how each trial ended.")] = True,
    as_json: AsJson = False,
) -> None:
    """Fit with many settings, and keep the model that answers best.

    Trials that lag behind are ended early. A sweep that was stopped or killed goes on with the same command.

      [bold]vae sweep sweep.toml flights.csv --out sweep[/bold]
      [bold]vae sweep sweep.toml flights.csv --out sweep --trials 100 --workers 4[/bold]

    Next: [bold]vae detect sweep today.csv[/bold], or open sweep/report.html.
    """
    from vaekit.sweeps import sweep as search

    asked = None
    if contract or role or kind or likelihood or field:
        asked = edited(data, contract, role, kind, likelihood, field)
    try:
        found = search(
            data,
            plan,
            out,
            contract=asked,
            max_rows=max_rows,
            progress=progress,
            trials=trials,
            workers=workers,
            max_seconds=max_seconds,
        )
    except KeyboardInterrupt:
        say(f"interrupted; the same command goes on where {out} was stopped")
        raise typer.Exit(130) from None
    if as_json:
        told = {name: getattr(found, name) for name in ("objectives", "winner", "front", "importances", "config")}
        print_json({"out": str(out), "bundle": str(out / "bundle"), "report": str(out / "report.html"), **told})
        return
    values = ", ".join(f"{name} {cell(value)}" for name, value in found.winner["values"].items())
    typer.echo(
        f"sweep: {len(found.trials)} trials; best is trial {found.winner['number']}: {values} -> {out / 'bundle'}"
    )
    for name, value in found.winner["params"].items():
        typer.echo(f"  {name} = {cell(value)}")
    typer.echo(f"report: {out / 'report.html'}; settings: {out / 'best.toml'}")
    typer.echo(f"next: vae score {out} {data} --attribution")
