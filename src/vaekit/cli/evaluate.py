"""`vae evaluate`: held-out figures of a model."""

from __future__ import annotations

from collections.abc import Sequence
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
    factors: Annotated[
        str | None,
        typer.Option(metavar="COL,COL", help="Columns of known factors: also how disentangled the latent space is."),
    ] = None,
    by: Annotated[
        str | None, typer.Option(metavar="COL,COL", help="Columns of groups: also the figures of each group.")
    ] = None,
    samples: Annotated[
        int, typer.Option(min=0, metavar="N", help="Also the quality and diversity of so many drawn rows.")
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print all figures for programs.")] = False,
    backend: BackendOption = Backend.auto,
) -> None:
    """How good a model is on rows that training did not see, and what its latent space tells.

      [bold]vae evaluate run[/bold]
      [bold]vae evaluate run july.csv --gaps[/bold]
      [bold]vae evaluate run july.csv --by origin,carrier --samples 1000[/bold]
      [bold]vae evaluate run sprites.parquet --factors shape,scale,x,y[/bold]

    Next: [bold]vae doctor run flights.csv[/bold], to learn what could be better.
    """
    from vaekit.api.evaluating import figures_of
    from vaekit.api.model import load

    found = figures_of(
        load(bundle_path(model), backend=backend.value),
        data,
        gaps=gaps,
        factors=_names(factors),
        by=_names(by),
        samples=samples,
    )
    if as_json:
        print_json(found)
        return
    for line in _lines(found):
        typer.echo(line)


def _names(text: str | None) -> list[str]:
    """Names from a list with commas."""
    return [name.strip() for name in (text or "").split(",") if name.strip()]


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
    if one := found.get("disentanglement"):
        dci = " ".join(f"{name} {cell(value)}" for name, value in one["dci"].items())
        lines.append(
            f"disentanglement on {cell(one['rows'])} rows: MIG {cell(one['mig'])}, SAP {cell(one['sap'])}, "
            f"FactorVAE {cell(one['factor_vae'])}, DCI {dci}"
        )
    if one := found.get("samples"):
        names = ("precision", "density", "recall", "coverage", "frechet")
        lines.append(_sampled("drawn", one, names) + f", variance {cell(one['variance'])}")
        if "real" in one:
            lines.append(_sampled("other real rows", one | one["real"], names))
        lines.append(f"  in features: {one['features']}")
    for column, groups in found.get("by", {}).items():
        lines += _grouped(column, groups)
    if parts := found.get("gap_parts"):
        bits = cell(found["bits_per_dimension"])
        lines.append(f"log p by {parts['log_p_by']}: {cell(parts['log_p'])} nats per row, {bits} bits per value")
        of = "no normal posterior that could be fitted to a row"
        if parts["amortisation_gap"] is not None:
            of = f"{cell(parts['amortisation_gap'])} by amortisation, {cell(parts['approximation_gap'])} by the family"
            of += " of posteriors"
        lines.append(f"gap of the ELBO: {cell(parts['gap'])}: {of}")
    return lines or ["no held-out figures: no row was kept for them"]


def _sampled(what: str, told: dict[str, Any], names: Sequence[str]) -> str:
    return f"{cell(told['rows'])} {what}: " + ", ".join(f"{name} {cell(told[name])}" for name in names)


def _grouped(column: str, found: dict[str, Any]) -> list[str]:
    """A line for each group, and the warnings."""
    lines = [f"by {column}:"]
    for label, one in found["groups"].items():
        nats, gain = one["nats"], one["gain"]
        text = f"  {label}: {cell(one['rows'])} rows, -log p {cell(nats['mean'])} ± {cell(nats['se'])}"
        text += f", saved over independent columns {cell(gain['mean'])} ± {cell(gain['se'])}"
        if "share_drawn" in one:
            text += f", {one['share']:.1%} of real rows and {one['share_drawn']:.1%} of drawn ones"
        if samples := one.get("samples"):
            text += f", precision {cell(samples['precision'])}, coverage {cell(samples['coverage'])}"
        lines.append(text)
    return lines + [f"  ! {warning}" for warning in found["warnings"]]
