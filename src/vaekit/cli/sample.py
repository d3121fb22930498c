"""`vae sample`: draw new rows."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vaekit.cli.options import (
    AsJson,
    Backend,
    BackendOption,
    BundleArgument,
    EnsembleOption,
    Out,
    Seed,
    bundle_path,
    output_path,
    pairs,
)
from vaekit.cli.output import deliver
from vaekit.errors import ContractError

if TYPE_CHECKING:
    from vaekit.api.ensemble import Ensemble
    from vaekit.api.model import Model
    from vaekit.fields import Contract

__all__ = ["sample", "typed"]


def sample(
    bundle: BundleArgument,
    rows: Annotated[int, typer.Option("--rows", "-n", min=0, help="How many rows to draw.")] = 10,
    given: Annotated[
        list[str] | None,
        typer.Option("--given", metavar="NAME=VALUE", help="Hold a field at a value. Repeat it for more fields."),
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(
            metavar="CONSTRAINT", help="Only rows that meet this, such as \"age > 18 and origin in ('JFK')\"."
        ),
    ] = None,
    temperature: Annotated[
        float, typer.Option(help="Below 1 draws more typical rows, above 1 more varied ones.")
    ] = 1.0,
    truncation: Annotated[
        float | None, typer.Option(help="Keep the noise of the prior within so many standard deviations.")
    ] = None,
    out: Out = None,
    seed: Seed = 0,
    ensemble: EnsembleOption = False,
    backend: BackendOption = Backend.auto,
    as_json: AsJson = False,
) -> None:
    """Draw new rows that look like those the model was fitted on.

      [bold]vae sample run --rows 1000 --out new.csv[/bold]
      [bold]vae sample run --rows 20 --given origin=JFK --given month=7[/bold]
      [bold]vae sample run --rows 20 --where "distance > 1000 and not carrier is missing"[/bold]

    Next: [bold]vae score run new.csv[/bold] should tell the drawn rows from the real ones hardly at all.
    """
    out = output_path(out)
    named = pairs(given, "--given")
    if ensemble:
        from vaekit.api.ensemble import Ensemble

        model: Model | Ensemble = Ensemble.load(bundle, backend=backend.value)
    else:
        from vaekit.api.model import load

        model = load(bundle_path(bundle), backend=backend.value)
    values = typed(named, model.contract) or None
    start = time.perf_counter()
    options: dict[str, Any] = {
        "given": values,
        "where": where,
        "temperature": temperature,
        "truncation": truncation,
        "seed": seed,
    }
    result = model.sample(rows, **options)
    facts = {"seconds": round(time.perf_counter() - start, 3)}
    deliver([result], lambda: facts, query="sample", options=options, out=out, as_json=as_json)


def typed(named: Mapping[str, str], contract: Contract) -> dict[str, Any]:
    """Turn the text of --given into values of the fields' own types.

    Args:
        named: Field name to text.
        contract: The contract of the model.

    Raises:
        ContractError: There is no such field, or the text is no value of its type.
    """
    import msgspec
    import pyarrow as pa

    from vaekit.fields.arrow_types import is_list, parse_type, value_type

    values: dict[str, Any] = {}
    for name, text in named.items():
        if contract[name].kind == "datetime":
            values[name] = text
            continue
        kind = value_type(parse_type(contract[name].type))
        try:
            values[name] = msgspec.json.decode(text) if is_list(kind) else pa.scalar(text).cast(kind).as_py()
        except (pa.ArrowInvalid, msgspec.DecodeError) as error:
            raise ContractError(
                "--given is no value of its field", field=name, expected=str(kind), got=repr(text)
            ) from error
    return values
