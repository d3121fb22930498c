"""The application: which commands there are, and what the command says of itself."""

from __future__ import annotations

from typing import Annotated

import typer

from vaekit.cli import ask, fit, inspect, keys, load, paths, report, sample, serve, sign

__all__ = ["app"]

app = typer.Typer(
    name="vae",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
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


PREPARE, ASK, SERVE = "Make a model", "Ask a model", "Run a service"

app.command("inspect", rich_help_panel=PREPARE)(inspect.inspect)
app.command("fit", rich_help_panel=PREPARE)(fit.fit)
app.command("report", rich_help_panel=PREPARE)(report.report)
app.command("score", rich_help_panel=ASK)(ask.score)
app.command("detect", rich_help_panel=ASK)(ask.detect)
app.command("embed", rich_help_panel=ASK)(ask.embed)
app.command("reconstruct", rich_help_panel=ASK)(ask.reconstruct)
app.command("denoise", rich_help_panel=ASK)(ask.denoise)
app.command("impute", rich_help_panel=ASK)(ask.impute)
app.command("sample", rich_help_panel=ASK)(sample.sample)
app.command("interpolate", rich_help_panel=ASK)(paths.interpolate)
app.command("traverse", rich_help_panel=ASK)(paths.traverse)
app.command("serve", rich_help_panel=SERVE)(serve.serve)
app.command("load", rich_help_panel=SERVE)(load.load)
app.command("sign", rich_help_panel=SERVE)(sign.sign)
app.command("verify", rich_help_panel=SERVE)(sign.verify)
app.add_typer(keys.app, name="keys", rich_help_panel=SERVE)
