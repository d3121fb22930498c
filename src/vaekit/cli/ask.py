"""`vae score`, `detect`, `embed`, `reconstruct`, `denoise`, `impute`: one question each, put to every row of a file."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vaekit.cli.options import (
    AsJson,
    Backend,
    BackendOption,
    BundleArgument,
    DataArgument,
    EnsembleOption,
    Out,
    Seed,
    bundle_path,
    output_path,
)
from vaekit.cli.output import deliver
from vaekit.cli.progress import Advance

if TYPE_CHECKING:
    import pyarrow as pa

    from vaekit.api.ensemble import Ensemble
    from vaekit.api.model import Model

__all__ = ["Attribution", "Samples", "denoise", "detect", "embed", "impute", "reconstruct", "score"]

Attribution = Annotated[bool, typer.Option("--attribution", help="Add a column per field: its part of the score.")]
Samples = Annotated[int | None, typer.Option(min=1, help="Importance samples per row: more is tighter and slower.")]


def _ask(
    query: str,
    bundle: Path,
    data: Path,
    options: Mapping[str, Any],
    *,
    backend: Backend,
    out: Path | None,
    as_json: bool,
    ensemble: bool = False,
    strangest: str | None = None,
    counted: Callable[[pa.Table, pa.Table], dict[str, float]] | None = None,
    told: Callable[[Counter[str]], dict[str, Any]] = dict,
) -> None:
    """Load, ask batch by batch, deliver.

    Args:
        query: Name of the query.
        bundle: Bundle or run.
        data: File with the rows.
        options: Options of the query; those that are None keep the query's own default.
        backend: What runs the model.
        out: Where the result goes.
        as_json: Print for programs.
        ensemble: Ask all models of the run.
        strangest: Column that ranks the preview.
        counted: From rows and the answer, what to add up over batches.
        told: From the sums, and the number of rows as ``rows``, what to tell about the answer.
    """
    out = output_path(out)
    from vaekit.api.model import load
    from vaekit.queries.streaming import stream

    if ensemble:
        from vaekit.api.ensemble import Ensemble

        model: Model | Ensemble = Ensemble.load(bundle, backend=backend.value)
        ask = model.stream
    else:
        model = load(bundle_path(bundle), backend=backend.value)
        ask = partial(stream, model.engine)
    source = model.contract.source(data)
    start = time.perf_counter()
    given = {name: value for name, value in options.items() if value is not None}
    sums: Counter[str] = Counter()

    def _clean(table: pa.Table) -> pa.Table:
        for name in set(table.column_names) & set(model.contract.names()):
            at = table.column_names.index(name)
            table = table.set_column(at, name, model.contract[name].clean(table[name]))
        return table

    def answers() -> Iterator[pa.Table]:
        with Advance(query, source.rows) as advance:
            for _, asked, answer in ask(query, source, **given):
                sums.update({"rows": asked.num_rows} | (counted(_clean(asked), answer) if counted else {}))
                yield answer
                advance.at(sums["rows"])

    def facts() -> dict[str, Any]:
        return {**(told(sums) if counted else {}), "seconds": round(time.perf_counter() - start, 3)}

    deliver(answers(), facts, query=query, options=given, out=out, as_json=as_json, strangest=strangest)


def score(
    bundle: BundleArgument,
    data: DataArgument,
    out: Out = None,
    attribution: Attribution = False,
    samples: Samples = None,
    seed: Seed = 0,
    ensemble: EnsembleOption = False,
    backend: BackendOption = Backend.auto,
    as_json: AsJson = False,
) -> None:
    """How improbable each row is: a bound on −log p(x) in nats, and what part each field has in it.

    The preview shows the most improbable rows first.

      [bold]vae score run flights.csv --attribution[/bold]
      [bold]vae score run flights.csv --out scores.parquet[/bold]

    Next: [bold]vae detect[/bold] turns scores into alarms with a promised rate of false ones.
    """
    _ask(
        "score",
        bundle,
        data,
        {"attribution": attribution, "samples": samples, "seed": seed},
        backend=backend,
        out=out,
        as_json=as_json,
        ensemble=ensemble,
        strangest="score",
        counted=lambda _, answer: {"score": float(answer["score"].to_numpy().sum())},
        told=lambda sums: {"mean_score": sums["score"] / sums["rows"] if sums["rows"] else None},
    )


def detect(
    bundle: BundleArgument,
    data: DataArgument,
    out: Out = None,
    alpha: Annotated[float, typer.Option(help="Rate of false alarms to promise, between 0 and 1.")] = 0.01,
    attribution: Attribution = False,
    ensemble: EnsembleOption = False,
    backend: BackendOption = Backend.auto,
    as_json: AsJson = False,
) -> None:
    """Which rows are anomalies: of rows like those it was fitted on, a share of alpha at most is flagged.

    The preview shows the strangest rows first.

      [bold]vae detect run today.csv --alpha 0.01 --attribution[/bold]
      [bold]vae detect run today.csv --out alarms.parquet[/bold]

    Next: look at the flagged rows; [bold]--attribution[/bold] names the fields that make them strange.
    """
    _ask(
        "detect",
        bundle,
        data,
        {"alpha": alpha, "attribution": attribution},
        backend=backend,
        out=out,
        as_json=as_json,
        ensemble=ensemble,
        strangest="anomaly_score",
        counted=lambda _, answer: {"anomalies": int(answer["anomaly"].to_numpy().sum())},
        told=lambda sums: {"anomalies": int(sums["anomalies"]), "alpha": alpha},
    )


def embed(
    bundle: BundleArgument,
    data: DataArgument,
    out: Out = None,
    backend: BackendOption = Backend.auto,
    as_json: AsJson = False,
) -> None:
    """A short vector for each row, for search, clustering and plots: rows that are alike are close.

      [bold]vae embed run flights.csv --out embeddings.parquet[/bold]

    Next: index the vectors, cluster them, or train a small classifier on them.
    """
    _ask("embed", bundle, data, {}, backend=backend, out=out, as_json=as_json)


def reconstruct(
    bundle: BundleArgument,
    data: DataArgument,
    out: Out = None,
    backend: BackendOption = Backend.auto,
    as_json: AsJson = False,
) -> None:
    """What the model makes of each row: every modelled field as its latent code explains it.

      [bold]vae reconstruct run flights.csv --out rebuilt.parquet[/bold]

    Next: compare with the rows; [bold]vae score --attribution[/bold] says which differences matter.
    """
    _ask("reconstruct", bundle, data, {}, backend=backend, out=out, as_json=as_json)


def denoise(
    bundle: BundleArgument,
    data: DataArgument,
    out: Out = None,
    samples: Samples = None,
    seed: Seed = 0,
    backend: BackendOption = Backend.auto,
    as_json: AsJson = False,
) -> None:
    """Each row with its noise averaged away: what a field shares with the others is kept.

      [bold]vae denoise run sensors.parquet --out clean.parquet[/bold]

    Next: plot both; where they part for long, [bold]vae detect[/bold] says whether that is odd.
    """
    _ask("denoise", bundle, data, {"samples": samples, "seed": seed}, backend=backend, out=out, as_json=as_json)


def impute(
    bundle: BundleArgument,
    data: DataArgument,
    out: Out = None,
    draws: Annotated[int, typer.Option(min=1, help="Complete tables to draw; more than one adds a column `draw`.")] = 1,
    interval: Annotated[
        float | None, typer.Option(help="Add bounds that hold a missing number with this probability, for example 0.9.")
    ] = None,
    samples: Samples = None,
    seed: Seed = 0,
    backend: BackendOption = Backend.auto,
    as_json: AsJson = False,
) -> None:
    """Fill what is missing, from what is there: observed cells stay as they are.

      [bold]vae impute run holes.csv --out full.parquet[/bold]
      [bold]vae impute run holes.csv --draws 5 --out five.parquet[/bold]

    Next: with several draws, run your analysis on each and pool the answers; their spread is the uncertainty.
    """
    _ask(
        "impute",
        bundle,
        data,
        {"draws": draws, "interval": interval, "samples": samples, "seed": seed},
        backend=backend,
        out=out,
        as_json=as_json,
        counted=partial(_holes, draws),
        told=lambda sums: {"missing": int(sums["missing"]), "still_missing": int(sums["still_missing"])},
    )


def _holes(draws: int, asked: pa.Table, answer: pa.Table) -> dict[str, float]:
    """How many cells were missing, and how many still are in each draw (those of fields that are not modelled)."""
    from vaekit.fields.category import Category, missing_count

    shared = [name for name in asked.column_names if name in answer.column_names]
    before, after = (
        sum(
            missing_count(table[name]) if Category.accepts(table[name].type) else table[name].null_count
            for name in shared
        )
        for table in (asked, answer)
    )
    return {"missing": before, "still_missing": after / draws}
