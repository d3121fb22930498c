"""`vae serve`: models over HTTP and gRPC, until it is stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from vaekit.cli.fit import merged
from vaekit.cli.options import Backend
from vaekit.errors import ConfigError

__all__ = ["serve"]

LISTEN, KEEP, GUARD, TELL = "Where it listens", "What it keeps", "Who may come in", "What it tells"


def serve(
    bundles: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME=]BUNDLE...", help="Bundles, or runs that hold one; each is served as NAME."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE", exists=True, dir_okay=False, help="Every setting there is, in TOML."),
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on. Default: 127.0.0.1.", rich_help_panel=LISTEN)
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="Port for HTTP; 0: any free one. Default: 8000.", rich_help_panel=LISTEN)
    ] = None,
    grpc_port: Annotated[
        int | None, typer.Option(help="Port for gRPC. Default: no gRPC.", rich_help_panel=LISTEN)
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Worker processes; each holds every model. Default: 1.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=0, help="Threads of each worker. Default: the cores are divided among them.")
    ] = None,
    query: Annotated[
        list[str] | None, typer.Option("--query", help="Answer this query alone. Repeat it. Default: all queries.")
    ] = None,
    backend: Annotated[Backend | None, typer.Option(help="What runs the models. Default: auto.")] = None,
    state: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Keep feedback here. Default: in memory, lost at the end.", rich_help_panel=KEEP
        ),
    ] = None,
    keys: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="API keys that may come in, see vae keys.", rich_help_panel=GUARD),
    ] = None,
    jwt_issuer: Annotated[
        str | None, typer.Option(metavar="URL", help="Issuer whose tokens may come in.", rich_help_panel=GUARD)
    ] = None,
    jwt_audience: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Name of this service in tokens. Repeat it.", rich_help_panel=GUARD),
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Certificate chain, PEM.", rich_help_panel=GUARD)
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Its private key, PEM.", rich_help_panel=GUARD)
    ] = None,
    tls_client_ca: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Callers must show a certificate of these, PEM.", rich_help_panel=GUARD),
    ] = None,
    require_signature: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE",
            help="Serve bundles alone that this public key, or another one given so, signed. Repeat it.",
            rich_help_panel=GUARD,
        ),
    ] = None,
    insecure_public: Annotated[
        bool,
        typer.Option("--insecure-public", help="Let everybody in, from other machines too.", rich_help_panel=GUARD),
    ] = False,
    access_log: Annotated[
        str | None,
        typer.Option(help="Requests in the log: all, failures or none. Default: all.", rich_help_panel=TELL),
    ] = None,
    log_level: Annotated[
        str | None,
        typer.Option(help="Least level of events: debug, info, warning, error. Default: info.", rich_help_panel=TELL),
    ] = None,
    log_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Append the log here. Default: standard error.", rich_help_panel=TELL),
    ] = None,
    log_samples: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            max=1.0,
            help="Share of rows described in the log, without values. Default: 0.",
            rich_help_panel=TELL,
        ),
    ] = None,
    trace_endpoint: Annotated[
        str | None,
        typer.Option(metavar="URL", help="OTLP receiver for traces. Default: as OTEL_* say.", rich_help_panel=TELL),
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any other setting, for example max_rows=1000. Repeat it."),
    ] = None,
) -> None:
    """Answer questions to models over HTTP and gRPC, until Ctrl-C or a signal stops it.

    A model is named after its run, or NAME. Workers that die or hang are replaced; a stop lets what was taken end.
    Settings are flags, or lines of a TOML file, with bundles in a table of that name; flags win.

      [bold]vae serve run[/bold]
      [bold]vae serve flights=run old=archive/run --workers 2 --state state[/bold]
      [bold]vae serve --config serve.toml --port 9000 --set drain_delay=5[/bold]

    Next: [bold]curl http://127.0.0.1:8000/v1/models[/bold] lists what can be asked;
    [bold]/openapi.json[/bold] says how.
    """
    flags = {
        "host": host,
        "port": port,
        "grpc_port": grpc_port,
        "workers": workers,
        "threads": threads,
        "queries": query,
        "backend": backend and backend.value,
        "state": state,
        "keys": keys,
        "jwt_issuer": jwt_issuer,
        "jwt_audience": jwt_audience,
        "tls_cert": tls_cert,
        "tls_key": tls_key,
        "tls_client_ca": tls_client_ca,
        "require_signature": require_signature,
        "insecure_public": insecure_public or None,
        "access_log": access_log,
        "log_level": log_level,
        "log_file": log_file,
        "log_samples": log_samples,
        "trace_endpoint": trace_endpoint,
    }
    given = {name: str(value) if isinstance(value, Path) else value for name, value in flags.items()}
    wanted: dict[str, Any] = merged({name: value for name, value in given.items() if value is not None}, setting)
    settings, run = _loaded()
    if bundles:
        wanted["bundles"] = settings.named(bundles)
    raise typer.Exit(run(settings.read(config, **wanted)))


def _loaded() -> tuple[Any, Any]:
    """The settings of the service and what runs it."""
    try:
        from vaekit.serving.server import serve as run
        from vaekit.serving.settings import Settings
    except ImportError as error:
        raise ConfigError(f"the service needs {error.name}: pip install 'vaekit[serve]'") from error
    return Settings, run
