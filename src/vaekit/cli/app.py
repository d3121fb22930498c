"""The application: which commands there are, and what the command says of itself."""

from __future__ import annotations

from typing import Annotated

import typer

from vaekit.cli.lazy import SETTINGS, Home, group

__all__ = ["COMMANDS", "app"]

PREPARE, ASK, SERVE, SHIP = "Make a model", "Ask a model", "Run a service", "Ship a model"

COMMANDS = {
    "inspect": Home("vaekit.cli.inspect", PREPARE),
    "fit": Home("vaekit.cli.fit", PREPARE),
    "sweep": Home("vaekit.cli.sweep", PREPARE),
    "report": Home("vaekit.cli.report", PREPARE),
    "evaluate": Home("vaekit.cli.evaluate", PREPARE),
    "doctor": Home("vaekit.cli.doctor", PREPARE),
    "score": Home("vaekit.cli.ask", ASK),
    "detect": Home("vaekit.cli.ask", ASK),
    "embed": Home("vaekit.cli.ask", ASK),
    "reconstruct": Home("vaekit.cli.ask", ASK),
    "denoise": Home("vaekit.cli.ask", ASK),
    "impute": Home("vaekit.cli.ask", ASK),
    "sample": Home("vaekit.cli.sample", ASK),
    "interpolate": Home("vaekit.cli.paths", ASK),
    "traverse": Home("vaekit.cli.paths", ASK),
    "edit": Home("vaekit.cli.paths", ASK),
    "batch": Home("vaekit.cli.batch", ASK),
    "export": Home("vaekit.cli.export", SHIP),
    "sign": Home("vaekit.cli.sign", SHIP),
    "verify": Home("vaekit.cli.sign", SHIP),
    "serve": Home("vaekit.cli.serve", SERVE),
    "load": Home("vaekit.cli.load", SERVE),
    "keys": Home("vaekit.cli.keys", SERVE),
}

app = typer.Typer(
    name="vae",
    cls=group(COMMANDS),
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    **SETTINGS,
)


def _version(wanted: bool) -> None:
    if wanted:
        from vaekit import __version__

        typer.echo(f"vaekit {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Learn the joint distribution of a row once, then ask it anything.

    A first session, on any Parquet, CSV or Arrow file:

      [bold]vae inspect flights.csv[/bold]                      what the columns are taken for
      [bold]vae fit flights.csv --out run[/bold]                train; writes run/bundle, run/report.html
      [bold]vae detect run flights.csv --alpha 0.01[/bold]      find anomalies, 1 % false alarms
      [bold]vae impute run holes.csv --out full.parquet[/bold]  fill what is missing
      [bold]vae sample run --rows 1000 --out new.csv[/bold]     draw new rows

    Without --out a short preview is printed, with --json results for programs.
    Exit codes: 0 done, 1 a check failed, 2 wrong use or bad input.
    """
