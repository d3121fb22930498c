"""`vae doctor`: what is wrong with a model, by what evidence, and what helps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vaekit.cli.options import Backend, BackendOption
from vaekit.cli.output import print_json
from vaekit.errors import ConfigError

if TYPE_CHECKING:
    from vaekit.doctor import Diagnosis, Finding

__all__ = ["doctor"]


def doctor(
    model: Annotated[
        Path, typer.Argument(metavar="RUN|BUNDLE", exists=True, file_okay=False, help="A run, or a bundle.")
    ],
    data: Annotated[
        Path | None,
        typer.Argument(metavar="DATA", exists=True, help="Real rows; the table of the fit shows most."),
    ] = None,
    fix: Annotated[bool, typer.Option("--fix", help="Train again with what helps; needs DATA.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="RUN", help="Folder of the treated run. Default: RUN-treated.")
    ] = None,
    page: Annotated[
        Path | None, typer.Option("--page", metavar="FILE", help="Write the findings with pictures, as HTML.")
    ] = None,
    modules: Annotated[
        list[str] | None,
        typer.Option("--module", metavar="NAME", help="Module of own parts that may be imported. Repeat it for more."),
    ] = None,
    progress: Annotated[bool, typer.Option(help="Show progress on stderr.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings for programs.")] = False,
    backend: BackendOption = Backend.auto,
) -> None:
    """Name what is wrong with a model, with the numbers that say so, and what helps.

    Exit code 1 if it is ill; with --fix, if it still is after the treatment.

      [bold]vae doctor run flights.csv[/bold]
      [bold]vae doctor run flights.csv --fix --out mended[/bold]

    Next: [bold]vae report run flights.csv[/bold], to see what the model has learned.
    """
    from vaekit.api.treating import diagnose, treat

    if fix and data is None:
        raise ConfigError("--fix trains again, which takes rows: vae doctor RUN DATA --fix")
    before, after = diagnose(model, data, backend=backend.value, modules=modules or ()), None
    folder = out or model.with_name(f"{model.name}-treated")
    if fix and before.ill:
        _, after = treat(model, data, before, folder, progress=progress, modules=modules or ())
    if page is not None:
        from vaekit.doctor.page import page as make_page
        from vaekit.files import write_file

        write_file(page, make_page(before, f"{model.name}: findings", after).encode())
    if as_json:
        told: dict[str, Any] = {"model": str(model), **_plain(before)}
        print_json(told if after is None else {**told, "after": {"run": str(folder), **_plain(after)}})
    else:
        _print(before, after, folder)
    if (before if after is None else after).ill:
        raise typer.Exit(1)


def _plain(diagnosis: Diagnosis) -> dict[str, Any]:
    return {
        "ill": [one.disease for one in diagnosis.ill],
        "findings": [
            {
                "disease": one.disease,
                "ill": one.ill,
                "evidence": [
                    {"what": e.what, "value": e.value, "threshold": e.threshold, "side": e.side, "deciding": e.deciding}
                    for e in one.evidence
                ],
                "sentence": one.sentence if one.ill else one.unless,
                "treatment": {
                    "words": one.treatment.words,
                    "options": one.treatment.options,
                    "fields": one.treatment.fields,
                },
            }
            for one in diagnosis.findings
        ],
        "not_looked_for": diagnosis.skipped,
    }


def _print(before: Diagnosis, after: Diagnosis | None, folder: Path) -> None:
    healed = {} if after is None else {one.disease: one for one in after.findings}
    for one in before.findings:
        typer.secho(f"{'ill' if one.ill else 'ok':4} {one.disease}", bold=one.ill)
        if one.ill:
            typer.echo(f"     {one.sentence}")
        if one.ill or one.unless:
            _numbers(one, healed.get(one.disease))
        if one.ill:
            typer.echo(f"     treatment: {one.treatment.words}{_changes(one)}")
        elif one.unless:
            typer.echo(f"     but {one.unless}")
    for name, why in before.skipped.items():
        typer.echo(f"–    {name}: not looked for, it takes {why}")
    if after is not None:
        new = [one.disease for one in after.ill]
        typer.echo(f"after treatment: {', '.join(new) or 'healthy'} -> {folder}")
    else:
        typer.echo(f"{', '.join(one.disease for one in before.ill) or 'healthy'}")


def _numbers(finding: Finding, after: Finding | None) -> None:
    later = {} if after is None else {one.what: one.value for one in after.evidence}
    for one in finding.evidence:
        typer.echo(f"     {one}" + (f"; after treatment {later[one.what]:.3g}" if one.what in later else ""))


def _changes(finding: Finding) -> str:
    options = " ".join(
        f"--set {name}={value}" for name, value in finding.treatment.options.items() if value is not None
    )
    return f" ({options})" if options else ""
