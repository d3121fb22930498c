"""`vae batch`: queries about more rows than anyone waits for, into a folder; what is killed goes on where it was."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_type_hints

import typer

from vaekit.cli.ask import Attribution, Samples
from vaekit.cli.jobs import print_costs, run_job
from vaekit.cli.lazy import SETTINGS
from vaekit.cli.options import (
    Backend,
    BackendOption,
    BundleArgument,
    DataArgument,
    Seed,
    bundle_path,
    pairs,
)
from vaekit.errors import ConfigError

__all__ = ["batch"]

HELP = """Ask about files of any size, or draw any number of rows: memory stays flat, and a killed job goes on.

  [bold]vae batch score run flights/ --out scores/ --keep flight,time_hour[/bold]
  [bold]vae batch detect run today.csv --out alarms/ --alpha 0.001 --max-bad 0.01[/bold]
  [bold]vae batch sample run --rows 10000000 --out new/[/bold]

OUT gets part-00000.parquet, … with the number of each row; any reader of Parquet takes the folder as one table.
Rows that break the contract go to OUT/_quarantine/part-00000.jsonl, with the reason and all their cells.
However a job ends, the same command goes on where it was; OUT/_SUCCESS says that it is done.

Next: read OUT as one table, and look at OUT/_quarantine if rows went there.
Exit codes: 0 done, 1 more bad rows than --max-bad allows, 2 wrong use or bad input, 130 or 143 stopped by a signal.
"""

batch = typer.Typer(no_args_is_help=True, help=HELP, **SETTINGS)


class Asked(NamedTuple):
    """What all questions about rows share."""

    bundle: BundleArgument
    data: DataArgument
    out: Annotated[Path, typer.Option("--out", metavar="OUT", help="Folder of the output.")]
    keep: Annotated[
        str | None, typer.Option(metavar="NAMES", help="Columns to carry along, separated by commas, or: all.")
    ] = None
    max_bad: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of rows that may break the contract before the job ends.")
    ] = 0.5


class Job(NamedTuple):
    """What all jobs share."""

    part_rows: Annotated[
        int, typer.Option(min=1, help="Rows of the input per file: what is lost at most if the job is killed.")
    ] = 2**17
    batch_rows: Annotated[int | None, typer.Option(min=1, help="Rows of one call. Default: measured.")] = None
    threads: Annotated[
        int | None, typer.Option(min=1, help="Calls at a time. Default: one for each core; with torch, one.")
    ] = None
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Begin again where another job was begun.")] = False
    backend: BackendOption = Backend.auto
    as_json: Annotated[bool, typer.Option("--json", help="Print a summary for programs.")] = False


def _command(function: Callable[..., None]) -> Callable[..., None]:
    """Make a command of `batch` of a function: arguments that are groups of options become those options."""
    groups, parameters = dict[str, Any](), list[inspect.Parameter]()
    for name, one in inspect.signature(function, eval_str=True).parameters.items():
        if one.annotation in (Asked, Job):
            groups[name] = one.annotation
            hints = get_type_hints(one.annotation, include_extras=True)
            shared = inspect.signature(one.annotation).parameters.values()
            parameters += [option.replace(annotation=hints[option.name]) for option in shared]
        else:
            parameters.append(one)
    parameters = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in parameters]

    def command(**given: Any) -> None:
        for name, group in groups.items():
            given[name] = group(**{option: given.pop(option) for option in group._fields})
        function(**given)

    command.__name__, command.__doc__ = function.__name__, function.__doc__
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {one.name: one.annotation for one in parameters}
    return batch.command()(command)


@_command
def score(asked: Asked, job: Job, attribution: Attribution = False, samples: Samples = None, seed: Seed = 0) -> None:
    """How improbable each row is: columns `score` and `p_value`; see vae score.

      [bold]vae batch score run flights/ --out scores/ --keep flight,time_hour[/bold]

    Next: sort by score, or ask [bold]vae batch detect[/bold] for alarms with a promised rate of false ones.
    """
    _ask("score", asked, job, {"attribution": attribution, "samples": samples, "seed": seed})


@_command
def detect(
    asked: Asked,
    job: Job,
    alpha: Annotated[float, typer.Option(help="Rate of false alarms to promise, between 0 and 1.")] = 0.01,
    attribution: Attribution = False,
) -> None:
    """Which rows are anomalies: columns `anomaly_score`, `p_value` and `anomaly`; see vae detect.

      [bold]vae batch detect run today.csv --out alarms/ --alpha 0.001[/bold]

    Next: look at the rows where `anomaly` is true; [bold]--attribution[/bold] names the fields that make them strange.
    """
    _ask("detect", asked, job, {"alpha": alpha, "attribution": attribution})


@_command
def embed(asked: Asked, job: Job) -> None:
    """A short vector for each row: column `embedding`; see vae embed.

      [bold]vae batch embed run flights/ --out vectors/ --keep id[/bold]

    Next: load the vectors into an index, or cluster them.
    """
    _ask("embed", asked, job, {})


@_command
def reconstruct(asked: Asked, job: Job) -> None:
    """What the model makes of each row: every modelled field; see vae reconstruct.

      [bold]vae batch reconstruct run flights/ --out rebuilt/[/bold]

    Next: join with the rows by `row`, and compare.
    """
    _ask("reconstruct", asked, job, {})


@_command
def denoise(asked: Asked, job: Job, samples: Samples = None, seed: Seed = 0) -> None:
    """Each row with its noise averaged away; see vae denoise.

      [bold]vae batch denoise run sensors/ --out clean/ --keep id[/bold]

    Next: plot both; where they part for long, [bold]vae batch detect[/bold] says whether that is odd.
    """
    _ask("denoise", asked, job, {"samples": samples, "seed": seed})


@_command
def impute(
    asked: Asked,
    job: Job,
    draws: Annotated[int, typer.Option(min=1, help="Complete tables to draw; more than one adds a column `draw`.")] = 1,
    interval: Annotated[
        float | None, typer.Option(help="Add bounds that hold a missing number with this probability, for example 0.9.")
    ] = None,
    samples: Samples = None,
    seed: Seed = 0,
) -> None:
    """The table with what is missing filled, all of its columns included; see vae impute.

      [bold]vae batch impute run holes/ --out full/[/bold]

    Next: use OUT in place of the table; its column `row` says which row is which.
    """
    _ask("impute", asked, job, {"draws": draws, "interval": interval, "samples": samples, "seed": seed})


@_command
def sample(
    bundle: BundleArgument,
    job: Job,
    rows: Annotated[int, typer.Option("--rows", "-n", min=0, help="How many rows to draw.")] = 1_000_000,
    out: Annotated[Path | None, typer.Option("--out", metavar="OUT", help="Folder of the output.")] = None,
    given: Annotated[
        list[str] | None,
        typer.Option("--given", metavar="NAME=VALUE", help="Hold a field at a value. Repeat it for more fields."),
    ] = None,
    temperature: Annotated[
        float, typer.Option(help="Below 1 draws more typical rows, above 1 more varied ones.")
    ] = 1.0,
    seed: Seed = 0,
    sweep: Annotated[
        bool, typer.Option("--sweep", help="Measure what rows cost at several sizes of calls; write nothing.")
    ] = False,
    price_per_hour: Annotated[
        float | None, typer.Option(min=0.0, help="With --sweep: what the machine costs in an hour.")
    ] = None,
) -> None:
    """Draw any number of rows; see vae sample. A row depends on the seed and on its number alone.

      [bold]vae batch sample run --rows 10000000 --out new/[/bold]
      [bold]vae batch sample run --sweep --price-per-hour 0.17[/bold]

    Next: read OUT as one table; with --sweep, give the best size as [bold]--batch-rows[/bold].
    """
    from vaekit.batch.entry import loaded
    from vaekit.cli.sample import typed

    if (out is None) != sweep or (price_per_hour is not None and not sweep):
        raise ConfigError(
            "give --out OUT for the rows, or --sweep, with or without --price-per-hour, for what they cost"
        )
    found = loaded(bundle_path(bundle))
    options = {
        "given": typed(pairs(given, "--given"), found.contract) or None,
        "temperature": temperature,
        "seed": seed,
    }
    if out is not None:
        run_job(found, "sample", rows, out, options, **_settings(job))
    elif job.batch_rows or job.overwrite:
        raise ConfigError("--sweep tries several sizes and writes nothing: leave out --batch-rows and --overwrite")
    else:
        how = {"backend": job.backend.value, "threads": job.threads, "part_rows": job.part_rows}
        print_costs(found, price_per_hour, job.as_json, how | options)


def _ask(query: str, asked: Asked, job: Job, options: Mapping[str, Any]) -> None:
    keep = (
        asked.keep if asked.keep == "all" else [name.strip() for name in (asked.keep or "").split(",") if name.strip()]
    )
    rest = {"keep": keep, "max_bad": asked.max_bad, **_settings(job)}
    run_job(bundle_path(asked.bundle), query, asked.data, asked.out, options, **rest)


def _settings(job: Job) -> dict[str, Any]:
    return {**job._asdict(), "backend": job.backend.value}
