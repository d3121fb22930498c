"""`vae evaluate`: held-out figures of a model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vaekit.cli.options import Backend, BackendOption, BundleArgument, bundle_path
from vaekit.cli.output import cell, print_json

__all__ = ["evaluate"]


def evaluate(
    model: BundleArgument,
    data: Annotated[
        Path | None,
        typer.Argument(metavar="DATA", exists=True, help="Real rows. Default: the figures from the end of the fit."),
    ] = None,
    gaps: Annotated[
        bool, typer.Option("--gaps", help="Also log p(x) by annealing, and the parts of the gap of the ELBO.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print all figures for programs.")] = False,
    backend: BackendOption = Backend.auto,
) -> None:
    """How good a model is on rows that training did not see, and what its latent space tells.

      [bold]vae evaluate run[/bold]
      [bold]vae evaluate run july.csv --gaps[/bold]

    Next: [bold]vae doctor run flights.csv[/bold], to learn what could be better.
    """
    from vaekit.api.evaluating import figures_of
    from vaekit.api.model import load

    found = figures_of(load(bundle_path(model), backend=backend.value), data, gaps=gaps)
    if as_json:
        print_json(found)
        return
    for line in _lines(found):
        typer.echo(line)


def _lines(found: dict[str, Any]) -> list[str]:
    lines = []
    if "iwae_64" in found:
        lines.append(f"-log p, at most: {cell(-found['iwae_64'])} nats per row, on {cell(found['rows'])} rows")
        lines.append(f"were the columns independent: {cell(found['marginal_nats'])}")
    if latent := found.get("latent"):
        told = "unknown" if latent["information"] is None else f"{cell(latent['information'])} nats per row"
        lines.append(
            f"latent space: {latent['verdict']}; {latent['active_units']} of {latent['units']} units active; the code "
            f"tells {told}; KL {', '.join(f'{name} {cell(value)}' for name, value in latent['kl'].items())}"
        )
    if parts := found.get("gap_parts"):
        bits, family = cell(found["bits_per_dimension"]), cell(parts["approximation_gap"])
        lines.append(f"log p by annealing: {cell(parts['log_p'])} nats per row, {bits} bits per value")
        lines.append(
            f"gap of the ELBO: {cell(parts['amortisation_gap'])} by amortisation, {family} by the family of posteriors"
        )
    return lines or ["no held-out figures: no row was kept for them"]
