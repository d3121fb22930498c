"""`vae export`: the same model in a part, or smaller."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vaekit.cli.options import BundleArgument, bundle_path
from vaekit.cli.output import cell, print_json
from vaekit.errors import ConfigError

if TYPE_CHECKING:
    import pyarrow as pa

    from vaekit.api.cost import Cost
    from vaekit.bundle import Bundle

__all__ = ["export"]


def export(
    bundle: BundleArgument,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the new bundle.")],
    data: Annotated[
        Path | None,
        typer.Argument(
            metavar="DATA", exists=True, help="Real rows: best the file of the fit, whose parts are used as it did."
        ),
    ] = None,
    form: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="FORM",
            help="onnx, float16, int8, pruned:SHARE with the share of units that go, or tflite.",
        ),
    ] = "onnx",
    graphs: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES", help="Only these graphs, separated by commas: decode,prior generates, encode embeds."
        ),
    ] = None,
    weights: Annotated[
        bool | None, typer.Option("--weights/--no-weights", help="Keep the weights for torch. Default: onnx, pruned.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print for programs.")] = False,
) -> None:
    """Write a bundle again: a part of its graphs, or a compact form. It says what was lost and what was won.

      [bold]vae export run --graphs decode,prior --no-weights --out generator[/bold]
      [bold]vae export run flights.csv --format int8 --out small[/bold]
      [bold]vae export run flights.csv --format pruned:0.5 --out pruned[/bold]

    A compact model has p-values of its own, made with rows of DATA; without DATA it has none.
    Next: [bold]vae score small flights.csv[/bold]
    """
    from vaekit.api.cost import cost
    from vaekit.api.model import load

    whole = bundle_path(bundle)
    if out.resolve() == whole.resolve():
        raise ConfigError(f"--out {out} is the bundle itself; write to another folder")
    model = load(whole)
    rows = None if data is None else model.contract.table(data)
    names = None if graphs is None else [name.strip() for name in graphs.split(",") if name.strip()]
    made = model.export(out, rows, form=form, graphs=names, weights=weights)
    asked = _asked(made, model.bundle, rows)
    sides = {"before": cost(whole, asked), "after": cost(out, asked)} if asked is not None else {}
    if as_json:
        from msgspec import to_builtins

        print_json({"out": str(out), "proof": to_builtins(made.proof), **{k: to_builtins(v) for k, v in sides.items()}})
        return
    for line in (*_table(sides), *_told(made)):
        typer.echo(line)
    typer.echo(f"export: {form}, graphs {', '.join(made.graphs)} -> {out}")


def _asked(made: Bundle, whole: Bundle, rows: pa.Table | None) -> pa.Table | None:
    """Rows to measure with: given, or drawn; None where the whole model cannot draw."""
    from vaekit.api.cost import BATCH
    from vaekit.api.model import Model

    if rows is not None:
        return rows.slice(0, BATCH)
    if not {"prior", "decode"} <= whole.graphs.keys():
        return None
    return Model(whole).sample(BATCH, given=dict.fromkeys(made.contract.names("condition")))


def _table(sides: dict[str, Cost]) -> list[str]:
    if not sides:
        return []
    rows: list[Sequence[Any]] = [("", "files", "graphs", "memory", "one row", "256 rows")]
    for name, one in sides.items():
        kb = (f"{size / 2**10:,.0f} KiB" for size in (one.bytes, one.graph_bytes))
        times = (f"{1e3 * seconds:.2f} ms" for seconds in (one.one, one.batch))
        rows.append((name, *kb, f"{one.memory:.0f} MiB", *times, one.query))
    widths = [max(len(row[index]) for row in rows if index < len(row)) for index in range(7)]
    return ["  ".join(f"{text:>{width}}" for text, width in zip(row, widths, strict=False)) for row in rows]


def _told(made: Bundle) -> list[str]:
    proof = made.proof
    if proof is None:
        return []
    worst = max(proof.graphs, key=lambda name: proof.graphs[name], default="")
    lines = [
        f"compared with {proof.reference} on {proof.count} rows ({proof.rows}): "
        f"largest relative difference {cell(proof.graphs.get(worst, 0.0))} ({worst})"
    ]
    quality = proof.quality
    if "mean_score_difference" in quality:
        lines.append(
            f"scores of {quality['rows']:,.0f} rows: {quality['mean_score_difference']:+.3g} nats on average, "
            f"{quality['max_score_difference']:.3g} at most"
        )
    if "agreement" in quality:
        lines.append(
            f"detections at alpha {cell(quality['alpha'])} agree on {100 * quality['agreement']:.2f} % of them"
        )
    if "score" in made.graphs and not len(made.calibration.get("score", ())):
        lines.append("no p-values: the calibration of the whole model does not hold for this form; give DATA")
    return lines
