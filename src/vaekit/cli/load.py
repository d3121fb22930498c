"""`vae load`: how fast a service answers, how late, and how often it does not."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vaekit.cli.options import AsJson, DataArgument, pairs
from vaekit.cli.output import print_json, say

if TYPE_CHECKING:
    from vaekit.client.load import Measured

__all__ = ["load"]


class Format(StrEnum):
    """How rows travel."""

    json = "json"
    arrow = "arrow"


def load(
    url: Annotated[
        str, typer.Argument(metavar="URL", help="Address of the service, for example http://127.0.0.1:8000")
    ],
    data: DataArgument,
    model: Annotated[str, typer.Option("--model", "-m", help="Name of the model.")],
    query: Annotated[str, typer.Option(help="What to ask about the rows.")] = "score",
    option: Annotated[
        list[str] | None, typer.Option("--option", metavar="NAME=VALUE", help="An option of the query. Repeat it.")
    ] = None,
    format: Annotated[Format, typer.Option(help="How rows travel, both ways.")] = Format.json,
    rows: Annotated[int, typer.Option(min=1, help="Rows of a request.")] = 1,
    clients: Annotated[int, typer.Option(min=1, help="Connections.")] = 16,
    rate: Annotated[
        float | None,
        typer.Option(help="Requests per second, arriving at random. Default: each client sends the next at once."),
    ] = None,
    seconds: Annotated[float, typer.Option(help="Length of the run.")] = 10.0,
    warmup: Annotated[float, typer.Option(help="Seconds before it that are not counted.")] = 1.0,
    timeout: Annotated[float, typer.Option(help="Seconds after which an answer is too late.")] = 10.0,
    max_p95: Annotated[float | None, typer.Option(metavar="MS", help="Fail if P95 is above this.")] = None,
    max_failed: Annotated[float | None, typer.Option(metavar="SHARE", help="Fail if more requests fail.")] = None,
    remote: Annotated[bool, typer.Option("--remote", help="Allow a service on another machine.")] = False,
    as_json: AsJson = False,
) -> None:
    """Put a service under load: requests per second, P50, P95 and P99, failures by reason.

    The key of the environment variable VAEKIT_API_KEY is sent. Exit code 1 if a limit is exceeded.

      [bold]vae load http://127.0.0.1:8000 flights.csv --model flights[/bold]
      [bold]vae load http://127.0.0.1:8000 flights.csv -m flights --rate 500 --max-p95 300 --max-failed 0.001[/bold]

    Next: the same with a larger --rate, until P95 is no longer good enough; that is what one replica carries.
    """
    from vaekit.client.load import Plan
    from vaekit.client.load import load as run

    plan = Plan(
        url=url,
        model=model,
        query=query,
        options=dict(pairs(option, "--option")),
        format=format.value,
        rows=rows,
        clients=clients,
        rate=rate,
        seconds=seconds,
        warmup=warmup,
        timeout=timeout,
        remote=remote,
    )
    found = run(plan, data)
    exceeded = _exceeded(found, max_p95, max_failed)
    if as_json:
        print_json({"measured": found, "exceeded": exceeded})
    else:
        _show(found)
    for limit in exceeded:
        say(f"limit exceeded: {limit}")
    if exceeded:
        raise typer.Exit(1)


def _exceeded(found: Measured, max_p95: float | None, max_failed: float | None) -> list[str]:
    """Which limits are not kept, in words; a run without a good answer keeps none."""
    told = []
    if max_p95 is not None and (found.p95_ms is None or found.p95_ms > max_p95):
        told.append(f"P95 {_milliseconds(found.p95_ms)} is above {max_p95:g} ms")
    if max_failed is not None and (found.requests == 0 or found.failed_rate > max_failed):
        told.append(f"failed {found.failed_rate:.3%} of {found.requests:,} requests, more than {max_failed:.3%}")
    return told


def _show(found: Measured) -> None:
    plan: Any = found.plan
    loop = f"{plan.rate:g} requests/s arriving" if plan.rate else "each sends the next at once"
    typer.echo(
        f"{plan.query} of {plan.model}, {plan.format}, {plan.rows} rows a request, {plan.clients} clients, {loop}"
    )
    typer.echo(f"requests   {found.requests:,} in {found.seconds:g} s")
    typer.echo(f"answered   {found.requests_per_second:,.1f} requests/s, {found.rows_per_second:,.1f} rows/s")
    named = (("P50", found.p50_ms), ("P95", found.p95_ms), ("P99", found.p99_ms), ("most", found.max_ms))
    typer.echo("latency    " + ", ".join(f"{name} {_milliseconds(value)}" for name, value in named))
    reasons = "".join(f"; {why}: {count:,}" for why, count in found.failed.items())
    typer.echo(f"failed     {found.failed_rate:.3%}{reasons}")


def _milliseconds(value: float | None) -> str:
    return "–" if value is None else f"{value:,.2f} ms"
