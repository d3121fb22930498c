"""`vae report`: one page about a model that a person can read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vaekit.cli.options import Backend, BackendOption, bundle_path
from vaekit.errors import ConfigError

__all__ = ["report"]


def report(
    model: Annotated[
        Path, typer.Argument(metavar="RUN|BUNDLE", exists=True, file_okay=False, help="A run, or a bundle.")
    ],
    data: Annotated[
        Path | None,
        typer.Argument(metavar="DATA", exists=True, help="Real rows to compare with; a bundle holds none."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Where the page goes. Default: RUN/report.html.")
    ] = None,
    rows: Annotated[bool, typer.Option("--rows/--no-rows", help="Show example rows as they came.")] = True,
    title: Annotated[str, typer.Option(help="Title of the page.")] = "",
    umap: Annotated[bool, typer.Option("--umap", help="Also map the latent space by UMAP: vaekit\\[umap].")] = False,
    backend: BackendOption = Backend.auto,
) -> None:
    """One page about a model: how good it is, what it learned, and which rows are strange.

    A fit writes RUN/report.html by itself; this makes it again, or about other rows. Of the table of the fit only rows
    that training did not see are used.

      [bold]vae report run flights.csv[/bold]
      [bold]vae report run/bundle july.csv --out july.html --no-rows[/bold]

    Next: open the page in a browser; it needs nothing else.
    """
    from vaekit.api.model import load
    from vaekit.api.reporting import history_of, make_report, rows_of

    inside = bundle_path(model)
    standing = model / "report.html"
    if data is None:
        if out is None and standing.exists():
            typer.echo(f"report: {standing} (give DATA to make it again)")
            return
        raise ConfigError(f"{model} holds no rows; name a file with real rows: vae report {model} DATA")
    if out is None:
        if inside == model:
            raise ConfigError(f"{model} is a bundle, which is not written to; say where the page goes with --out FILE")
        out = standing
    loaded = load(inside, backend=backend.value)
    found = rows_of(loaded.bundle, data)
    text = make_report(loaded, found, out, history=history_of(model), show_rows=rows, title=title, umap=umap)
    typer.echo(f"report: {found.table.num_rows:,} {found.told} -> {out}; {len(text.encode()) / 1e6:.2f} MB")
