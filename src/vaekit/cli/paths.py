"""`vae interpolate`, `vae traverse` and `vae edit`: rows on paths through the latent space."""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vaekit.cli.options import (
    AsJson,
    Backend,
    BackendOption,
    BundleArgument,
    DataArgument,
    Out,
    bundle_path,
    output_path,
    pairs,
)
from vaekit.cli.output import deliver
from vaekit.cli.sample import typed

if TYPE_CHECKING:
    import pyarrow as pa

    from vaekit.api.model import Model

__all__ = ["edit", "interpolate", "traverse"]


class Line(StrEnum):
    """The way between two latent points."""

    linear = "linear"
    spherical = "spherical"


def interpolate(
    bundle: BundleArgument,
    data: DataArgument,
    other: Annotated[Path, typer.Argument(metavar="OTHER", exists=True, help="As many rows to go to.")],
    out: Out = None,
    steps: Annotated[int, typer.Option(min=2, help="Rows on each way, both ends included.")] = 8,
    path: Annotated[
        Line, typer.Option(help="Straight, or around the middle at the radius of ordinary rows.")
    ] = Line.linear,
    backend: BackendOption = Backend.auto,
    as_json: AsJson = False,
) -> None:
    """Rows on the way from each row of one file to the row at its place in another.

      [bold]vae interpolate run mornings.csv evenings.csv --steps 5[/bold]

    Next: fields that jump where others glide are those that the latent code tells least of.
    """
    _decoded("interpolate", bundle, [data, other], {"steps": steps, "path": path.value}, backend, out, as_json)


def traverse(
    bundle: BundleArgument,
    dim: Annotated[int, typer.Argument(metavar="DIM", min=0, help="Number of the latent dimension, from 0.")],
    at: Annotated[
        Path | None,
        typer.Option("--at", metavar="DATA", exists=True, help="Start from these rows. Default: the middle."),
    ] = None,
    out: Out = None,
    steps: Annotated[int, typer.Option(min=2, help="Rows from one end to the other.")] = 9,
    reach: Annotated[float, typer.Option(help="How far to both sides, in standard deviations of the prior.")] = 3.0,
    backend: BackendOption = Backend.auto,
    as_json: AsJson = False,
) -> None:
    """What one latent dimension means: rows decoded while it moves and all others stay.

      [bold]vae traverse run 3[/bold]
      [bold]vae traverse run 3 --at flights.csv --out moved.parquet[/bold]

    Next: the report of a run shows the most active dimensions, and what moves with each.
    """
    _decoded("traverse", bundle, [dim], {"at": at, "steps": steps, "reach": reach}, backend, out, as_json)


def edit(
    bundle: BundleArgument,
    data: DataArgument,
    values: Annotated[
        list[str],
        typer.Option("--set", metavar="NAME=VALUE", help="An attribute and its new value. Repeat it for more."),
    ],
    examples: Annotated[
        Path | None,
        typer.Option("--examples", metavar="FILE", exists=True, help="Rows with columns of attributes to learn from."),
    ] = None,
    out: Out = None,
    strength: Annotated[float, typer.Option(help="How far to go; 1 is to the new value.")] = 1.0,
    steps: Annotated[int, typer.Option(min=1, help="Rows on the way, of which the last is the full edit.")] = 1,
    backend: BackendOption = Backend.auto,
    as_json: AsJson = False,
) -> None:
    """Rows with one attribute changed, and as little else as the model allows.

      [bold]vae edit run digits.parquet --examples labelled.parquet --set label=7[/bold]
      [bold]vae edit run flights.csv --set origin=JFK[/bold]

    Next: [bold]vae score run edited.parquet[/bold] tells whether the edited rows are ordinary ones.
    """
    named = pairs(values, "--set")
    out = output_path(out)
    from vaekit.api.model import load

    model = load(bundle_path(bundle), backend=backend.value)
    contract = model.contract
    labelled = None if examples is None else contract.table(examples)
    fields = {name: text for name, text in named.items() if name in contract.names("condition")}
    asked = typed(fields, contract)
    for name, text in named.items():
        if name not in fields:
            there = {} if labelled is None else dict(zip(labelled.column_names, labelled.schema.types, strict=True))
            asked[name] = _plain(text, there[name]) if name in there else text
    options = {"set": asked, "strength": strength, "steps": steps}
    _delivered("edit", model, [data, labelled], options, out, as_json)


def _plain(text: str, kind: pa.DataType) -> Any:
    """Text as a value of a column."""
    import pyarrow as pa

    from vaekit.fields.arrow_types import value_type

    try:
        return pa.scalar(text).cast(value_type(kind)).as_py()
    except pa.ArrowInvalid:
        return text  # the query says what it is not


def _decoded(
    query: str,
    bundle: Path,
    asked: list[Any],
    options: dict[str, Any],
    backend: Backend,
    out: Path | None,
    as_json: bool,
) -> None:
    """Load, ask and deliver."""
    out = output_path(out)
    from vaekit.api.model import load

    _delivered(query, load(bundle_path(bundle), backend=backend.value), asked, options, out, as_json)


def _delivered(
    query: str, model: Model, asked: list[Any], options: dict[str, Any], out: Path | None, as_json: bool
) -> None:
    """Ask, with files read as the contract says, and deliver."""
    start = time.perf_counter()
    read = {name: model.contract.table(value) if isinstance(value, Path) else value for name, value in options.items()}
    result = model.query(query, *[model.contract.table(one) if isinstance(one, Path) else one for one in asked], **read)
    facts = {"seconds": round(time.perf_counter() - start, 3)}
    told = {name: str(value) if isinstance(value, Path) else value for name, value in options.items()}
    deliver([result], lambda: facts, query=query, options=told, out=out, as_json=as_json)
