"""Commands that are imported when they are run: what one of them needs, the others do not pay for."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib import import_module
from typing import Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

__all__ = ["SETTINGS", "Home", "group"]

SETTINGS: dict[str, Any] = {"add_completion": False, "pretty_exceptions_enable": False, "rich_markup_mode": "rich"}


class Home(NamedTuple):
    """Where a command lives.

    Args:
        module: Its module; the command is the function, or the `typer.Typer` with commands of its own, of that name.
        panel: Under which heading the help lists it.
    """

    module: str
    panel: str


def group(homes: Mapping[str, Home]) -> type[TyperGroup]:
    """A group of commands that knows where they live, and imports one to run it, or all to list them with their help.

    Args:
        homes: Name of the command to its home, in the order of the help.

    Returns:
        A class for `typer.Typer(cls=...)`.
    """

    class Lazy(TyperGroup):
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            for name, home in homes.items():
                self.commands[name] = TyperCommand(name, rich_help_panel=home.panel)

        def resolve_command(self, ctx: Any, args: list[str]) -> Any:
            if args[0] in homes:
                self.commands[args[0]] = _command(args[0], homes[args[0]])
            return super().resolve_command(ctx, args)

        def format_help(self, ctx: Any, formatter: Any) -> None:
            for name, home in homes.items():
                self.commands[name].help = _help(_found(name, home))
            super().format_help(ctx, formatter)

    return Lazy


def _found(name: str, home: Home) -> Any:
    return getattr(import_module(home.module), name)


def _help(found: Any) -> str:
    return inspect.cleandoc((found.info.help if isinstance(found, typer.Typer) else found.__doc__) or "")


def _command(name: str, home: Home) -> Any:
    found = _found(name, home)
    if not isinstance(found, typer.Typer):
        alone = typer.Typer(**SETTINGS)
        alone.command(name)(found)
        found = alone
    command = get_command(found)
    command.name = name
    return command
