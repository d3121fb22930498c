"""`vae fit`: from a file of rows to a run that holds a bundle."""

from __future__ import annotations

import os
import sys
import time
import tomllib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from vaekit.cli.options import ContractFile, DataArgument, FieldOptions, Kinds, Likelihoods, Roles, edited, pairs
from vaekit.cli.output import cell, print_json, say
from vaekit.cli.processes import alone, launch
from vaekit.errors import ConfigError

__all__ = ["fit", "merged"]


def fit(
    data: DataArgument,
    out: Annotated[Path, typer.Option("--out", metavar="RUN", help="Folder of the run; the bundle is RUN/bundle.")],
    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE", exists=True, dir_okay=False, help="Every setting there is, in TOML."),
    ] = None,
    contract: ContractFile = None,
    role: Roles = None,
    kind: Kinds = None,
    likelihood: Likelihoods = None,
    field: FieldOptions = None,
    preset: Annotated[
        str | None,
        typer.Option(help="Size of the networks: small, medium, large, or auto: by the rows. Default: auto."),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="A model of the literature by name: beta-vae, vampprior, vq-vae, … Default: vae."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Fixes splits, first weights, order of rows and noise. Default: 0.")
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            min=2, help="Fit so many models, of this seed and those after it, on the same splits; keep the best."
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Passes over the rows at most. Default: until it stops helping.")
    ] = None,
    max_seconds: Annotated[float | None, typer.Option(help="Time for training at most.")] = None,
    max_rows: Annotated[
        int | None, typer.Option(min=1, help="Rows to train on at most, a uniform sample. Default: all.")
    ] = None,
    stream: Annotated[
        bool | None,
        typer.Option("--stream/--no-stream", help="Leave rows on disk while training. Default: if they exceed memory."),
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="cpu, cuda, cuda:1, … or auto: the best there is. Default: auto.")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="float32, bfloat16, or auto: what was measured to be faster. Default: float32.")
    ] = None,
    threads: Annotated[
        str | None, typer.Option(help="Processor threads, or auto: measured if the run is long. Default: auto.")
    ] = None,
    compiled: Annotated[
        str | None, typer.Option("--compile", help="Compile the step: yes, no, or auto: if it pays. Default: auto.")
    ] = None,
    price_per_hour: Annotated[
        float | None, typer.Option(help="What the machine costs in an hour; the record then says what the run cost.")
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any other setting of a config file, for example beta=0.5."),
    ] = None,
    track: Annotated[
        str | None,
        typer.Option(metavar="NAMES", help="Trackers that are told of the run: mlflow, tensorboard, wandb; by commas."),
    ] = None,
    resume: Annotated[bool, typer.Option(help="Go on where the run in RUN was stopped.")] = False,
    allow_drift: Annotated[
        bool, typer.Option(help="With --resume: go on although settings or data have changed, and say which.")
    ] = False,
    processes: Annotated[
        int, typer.Option(min=1, help="Processes that share each batch, on this machine; torchrun starts them.")
    ] = 1,
    on_nan: Annotated[
        str | None, typer.Option(help="After NaN: stop, or restart from the checkpoint, slower. Default: stop.")
    ] = None,
    keep: Annotated[
        int | None, typer.Option(min=1, help="Latest checkpoints to keep beside the best one. Default: 1.")
    ] = None,
    progress: Annotated[bool, typer.Option(help="Show progress on stderr.")] = True,
    report: Annotated[bool, typer.Option("--report/--no-report", help="Write RUN/report.html.")] = True,
    rows: Annotated[bool, typer.Option("--rows/--no-rows", help="Show example rows in the report.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print a summary for programs.")] = False,
) -> None:
    """Train a model on the rows of a file. Missing cells are welcome.

    Writes RUN/contract.json, RUN/metrics.jsonl, RUN/bundle, which answers without torch, and RUN/report.html.
    A run that was stopped, by Ctrl-C, SIGTERM, a crash or kill -9, goes on with --resume, to the bits that it would
    have had.

      [bold]vae fit flights.csv --out run[/bold]
      [bold]vae fit flights.csv --out run --role origin=condition --max-seconds 300[/bold]
      [bold]vae fit flights.csv --out run --config vae.toml --resume[/bold]
      [bold]vae fit flights.csv --out run --seeds 5[/bold]

    Next: [bold]vae detect run today.csv[/bold], or any other question to the model.
    """
    if processes > 1 and "WORLD_SIZE" not in os.environ:
        raise typer.Exit(launch(processes, sys.argv[1:]))
    from vaekit.api.fitting import fit as train

    asked = None
    if contract or role or kind or likelihood or field:
        asked = edited(data, contract, role, kind, likelihood, field)
    flags: dict[str, Any] = {"preset": preset, "recipe": recipe, "seed": seed, "epochs": epochs}
    flags |= {"max_seconds": max_seconds, "device": device, "price_per_hour": price_per_hour, "precision": precision}
    flags |= {"threads": int(threads) if threads and threads.isdigit() else threads}
    flags |= {"compile": {"yes": True, "no": False}.get(compiled or "", compiled)}
    flags |= {"keep": keep, "on_nan": on_nan}
    wanted = {name: value for name, value in flags.items() if value is not None}
    # a contract that was inferred here leaves likelihoods open, whatever flags changed in it
    still_open = asked is not None and not (contract or likelihood or config)
    start = time.perf_counter()
    try:
        model = train(
            data,
            contract=asked,
            config=config,
            seeds=seeds,
            max_rows=max_rows,
            stream=stream,
            out=out,
            resume=resume,
            allow_drift=allow_drift,
            progress=progress,
            report=report and (rows or "no-rows"),
            track=track,
            **({"choose": True} if still_open else {}) | merged(wanted, setting, _FLAGS),
        )
    except (KeyboardInterrupt, SystemExit) as stop:
        code = 130 if isinstance(stop, KeyboardInterrupt) else int(stop.code or 0)
        if alone():
            say(f"stopped; the same command with --resume goes on where {out} was stopped")
        raise typer.Exit(code) from None
    if not alone():
        return
    seconds = round(time.perf_counter() - start, 3)
    bundle, figures, count = out / "bundle", model.evaluation, model.bundle.run["data"]["rows"]
    if as_json:
        told = {"run": str(out), "bundle": str(bundle), "rows": count, "seconds": seconds}
        told["report"] = str(out / "report.html") if (out / "report.html").exists() else None
        print_json({**told, "spent": model.bundle.run["spent"], "evaluation": figures})
        return
    typer.echo(f"fit: {count:,} rows -> {bundle}; seconds {cell(seconds)}")
    if figures:
        typer.echo(
            f"on {figures['rows']:,} held-out rows: -log p at most {cell(-figures['iwae_64'])} nats per row "
            f"({cell(figures['marginal_nats'])} if the columns had nothing to do with each other)"
        )
    for line in _spread(figures.get("seeds")):
        typer.echo(line)
    if (out / "report.html").exists():
        typer.echo(f"report: {out / 'report.html'}")
    typer.echo(f"next: vae score {out} {data} --attribution")


def _spread(found: Mapping[str, Any] | None) -> list[str]:
    """What models of several seeds came to."""
    if found is None:
        return []
    told = [f"{name} {cell(one['mean'])} ± {cell(one['std'])}" for name, one in found["figures"].items()]
    return [
        f"{len(found['seeds'])} seeds, mean ± standard deviation: {', '.join(told)}",
        f"kept: seed {found['best']}, the best by validation; --ensemble answers with all of them",
    ]


_FLAGS = (
    "table",
    "contract",
    "config",
    "seeds",
    "max_rows",
    "stream",
    "out",
    "resume",
    "allow_drift",
    "progress",
    "report",
    "graphs",
    "track",
    "parent",
    "observers",
)  # of no configuration


def merged(flags: Mapping[str, Any], settings: Sequence[str] | None, taken: Collection[str] = ()) -> dict[str, Any]:
    """Flags and the values of --set as one set of options; values are read as TOML, or else as text.

    Args:
        flags: Options that have a flag of their own.
        settings: Values of --set.
        taken: Names that have a flag, and are no options of the configuration.

    Raises:
        ConfigError: A value is not NAME=VALUE, or an option is set both ways.

    Example:
        >>> merged({"epochs": 5}, ["beta=0.5", "optimizer=adam"])
        {'epochs': 5, 'beta': 0.5, 'optimizer': 'adam'}
    """
    options = dict(flags)
    for name, text in pairs(settings, "--set").items():
        if name in taken:
            raise ConfigError(
                f"--set {name}={text}: {name} is no option of the configuration; it has a flag of its own"
            )
        if name in flags:
            raise ConfigError(f"--set {name}={text}: the flag --{name.replace('_', '-')} says {flags[name]!r} already")
        try:
            options[name] = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            options[name] = text
    return options
