"""What `vae batch` does with a job: run it, stop it at a signal, tell of it, or measure what it would cost."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from vaekit.cli.output import cell, print_json, say
from vaekit.cli.progress import Advance

if TYPE_CHECKING:
    from vaekit.batch import Summary
    from vaekit.bundle import Bundle

__all__ = ["print_costs", "run_job"]


def run_job(
    bundle: Path | Bundle,
    query: str,
    data: Path | int,
    out: Path,
    options: Mapping[str, Any],
    *,
    as_json: bool,
    **settings: Any,
) -> None:
    """Run a job, show how far it is, tell what it did, and exit with its code.

    Args:
        bundle: The model.
        query: Name of the query.
        data: The rows, or how many to draw.
        out: Folder of the output.
        options: Options of the query; None stands for what it takes by default.
        as_json: Tell it for programs.
        settings: Other arguments of `vaekit.batch.run`.
    """
    from vaekit.batch import run

    given = {name: value for name, value in options.items() if value is not None}
    with _signals() as (stop, caught), Advance(query, None) as advance:
        done = run(bundle, query, data, out, told=advance.told, stop=stop, **settings, **given)
    if as_json:
        import msgspec

        print_json({"out": str(out), **msgspec.structs.asdict(done)})
    _tell(done, out, as_json, settings.get("max_bad", 0.0))
    if done.state == "stopped":
        raise typer.Exit(128 + caught[0])
    if done.state == "too_many_bad_rows":
        raise typer.Exit(1)


def _tell(done: Summary, out: Path, as_json: bool, max_bad: float) -> None:
    bad = f"{done.quarantined:,} in quarantine ({out / '_quarantine'})"
    if done.state == "stopped":
        say(f"{done.query}: stopped after {done.rows:,} rows; the same command goes on from there")
    elif done.state == "too_many_bad_rows":
        say(f"error: of {done.rows:,} rows {bad}, more than --max-bad {max_bad:g} allows; the answers are in {out}")
    elif not as_json:
        speed = (
            f"{done.seconds:,.1f} s, {done.rows_per_second:,.0f} rows/s"
            if done.rows > done.before
            else "was done before"
        )
        rest = f"; {bad}" if done.quarantined else ""
        typer.echo(f"{done.query}: {done.rows:,} rows -> {out}, {done.parts:,} files; {speed}{rest}")


@contextmanager
def _signals() -> Iterator[tuple[threading.Event, list[int]]]:
    """Let the first Ctrl-C or SIGTERM end a job between two calls; the second one ends the process."""
    stop, caught, before = threading.Event(), list[int](), dict[int, Any]()

    def handle(number: int, _: object) -> None:
        stop.set()
        caught.append(number)
        for known, handler in before.items():
            signal.signal(known, handler)

    try:
        for asked in (signal.SIGINT, signal.SIGTERM):
            before[asked] = signal.signal(asked, handle)
        yield stop, caught
    finally:
        for known, handler in before.items():
            signal.signal(known, handler)


def print_costs(bundle: Bundle, price: float | None, as_json: bool, how: Mapping[str, Any]) -> None:
    """Measure what rows cost, and print it as a table."""
    import msgspec
    from rich.console import Console
    from rich.table import Table

    from vaekit.batch.cost import cheapest, costs

    found = []
    for cost in costs(
        bundle, price_per_hour=price, **{name: value for name, value in how.items() if value is not None}
    ):
        say(f"{cost.batch_rows:,} rows a call: {cost.rows_per_second:,.0f} rows/s")
        found.append(cost)
    best = cheapest(found)
    if as_json:
        print_json({"best": best.batch_rows, "costs": [msgspec.structs.asdict(cost) for cost in found]})
        return
    names = ("rows a call", "rows/s", "s per million", *(("per million",) if price is not None else ()), "peak MB", "")
    table = Table(*names, box=None, header_style="bold", pad_edge=False)
    for one in found:
        cells: list[Any] = [one.batch_rows, round(one.rows_per_second), one.seconds_per_million]
        cells += [*([one.price_per_million] if price is not None else []), round(one.peak_mb)]
        table.add_row(*(cell(value) for value in cells), "best" if one is best else "")
    Console(highlight=False).print(table)
