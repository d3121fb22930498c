"""Arguments and options that several commands share, and what their values mean."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vaekit.errors import ConfigError

if TYPE_CHECKING:
    import pyarrow as pa

    from vaekit.fields import Contract

__all__ = [
    "AsJson",
    "Backend",
    "BackendOption",
    "BundleArgument",
    "ContractFile",
    "DataArgument",
    "EnsembleOption",
    "FieldOptions",
    "Kinds",
    "Likelihoods",
    "Out",
    "Roles",
    "Seed",
    "bundle_path",
    "edited",
    "output_path",
    "pairs",
    "read",
]


class Backend(StrEnum):
    """What runs the graphs of a bundle."""

    auto = "auto"
    torch = "torch"
    onnx = "onnx"
    litert = "litert"


DataArgument = Annotated[
    Path,
    typer.Argument(
        metavar="DATA",
        exists=True,
        help="Rows: Parquet (a file or folder), .csv, .tsv, either with .gz, .arrow or .feather.",
    ),
]
BundleArgument = Annotated[
    Path, typer.Argument(metavar="BUNDLE", exists=True, file_okay=False, help="A bundle, or a run that holds one.")
]
Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="FILE", help="Write the result here; the suffix says how. Default: print a preview."),
]
AsJson = Annotated[
    bool, typer.Option("--json", help="Print for programs: a summary, and the rows unless --out takes them.")
]
EnsembleOption = Annotated[
    bool, typer.Option("--ensemble", help="Answer with all models of a run of several seeds, as their mixture.")
]
Seed = Annotated[int, typer.Option(help="The same seed gives the same answer.")]
BackendOption = Annotated[
    Backend,
    typer.Option(
        help="What runs the model; auto: ONNX Runtime, or LiteRT, if the bundle holds graphs for it, else torch."
    ),
]
ContractFile = Annotated[
    Path | None,
    typer.Option(
        "--contract", metavar="FILE", exists=True, dir_okay=False, help="Start from this contract (.json or .toml)."
    ),
]
Roles = Annotated[
    list[str] | None,
    typer.Option(
        "--role", metavar="NAME=ROLE", help="Set a role: model, condition, ignore, time or entity. Repeat it."
    ),
]
Kinds = Annotated[
    list[str] | None,
    typer.Option("--kind", metavar="NAME=KIND", help="Set a kind: number, count, category or vector."),
]
Likelihoods = Annotated[
    list[str] | None,
    typer.Option("--likelihood", metavar="NAME=FAMILY", help="Set a likelihood, for example fare=student_t."),
]
FieldOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--field",
        metavar="NAME=OPTION:VALUE",
        help="Set any other option of a field, for example fare=clip:false, or job='unseen:missing'. Repeat it.",
    ),
]


def pairs(items: Sequence[str] | None, option: str) -> dict[str, str]:
    """Split the values of a repeatable NAME=VALUE option.

    Args:
        items: Values as given on the command line.
        option: Name of the option, for messages.

    Returns:
        Name to value, in the order given. A name may hold an equals sign only if the value holds none.

    Raises:
        ConfigError: A value is not NAME=VALUE, or a name is given twice.

    Example:
        >>> pairs(["flight=ignore", "origin=condition"], "--role")
        {'flight': 'ignore', 'origin': 'condition'}
    """
    found: dict[str, str] = {}
    for item in items or ():
        name, sign, value = item.partition("=")
        if not (sign and value):
            raise ConfigError(f"{option} expects NAME=VALUE, got {item!r}")
        if name in found:
            raise ConfigError(f"{option} names {name!r} twice: {found[name]!r} and {value!r}")
        found[name] = value
    return found


def bundle_path(path: Path) -> Path:
    """The bundle that a path means: a run directory means the bundle inside it."""
    inside = path / "bundle"
    return inside if inside.is_dir() else path


def output_path(out: Path | None) -> Path | None:
    """Check where the result goes before any work is done.

    Raises:
        ConfigError: The suffix is not one that can be written, or the folder does not exist.
    """
    if out is None:
        return None
    from vaekit.fields.writing import SUFFIXES

    if not out.name.lower().endswith(SUFFIXES):
        raise ConfigError(f"--out {out}: cannot tell the format; end the name with {', '.join(SUFFIXES)}")
    if not out.resolve().parent.is_dir():
        raise ConfigError(f"--out {out}: the folder {out.parent} does not exist; make it first")
    return out


def read(data: Path, contract: Path | None) -> pa.Table:
    """The rows of a file, with the types of a contract if there is one."""
    from vaekit.fields import Contract, to_arrow

    return to_arrow(data) if contract is None else Contract.load(contract).table(data)


def edited(
    data: Any,
    file: Path | None,
    roles: Sequence[str] | None,
    kinds: Sequence[str] | None,
    families: Sequence[str] | None,
    options: Sequence[str] | None = None,
) -> Contract:
    """The contract that the options ask for: read or inferred, then edited, and fitted where an edit asks for it.

    Args:
        data: Rows to infer from when there is no file, in any form that a contract is inferred from.
        file: A saved contract.
        roles: Values of --role.
        kinds: Values of --kind.
        families: Values of --likelihood.
        options: Values of --field.

    Raises:
        ConfigError: A value is not NAME=VALUE.
        ContractError: The contract has no such field, or the field cannot be that.
    """
    from vaekit.fields import Contract

    contract = Contract.infer(data) if file is None else Contract.load(file)
    asked: dict[str, dict[str, Any]] = {}
    for name, kind in pairs(kinds, "--kind").items():
        asked.setdefault(name, {})["kind"] = kind
    for item in options or ():
        name, option, value = _option(item)
        asked.setdefault(name, {})[option] = value
    fresh = bool(asked)
    for flag, key, items in (("--role", "role", roles), ("--likelihood", "likelihood", families)):
        for name, value in pairs(items, flag).items():
            asked.setdefault(name, {})[key] = value
    for name, changes in asked.items():
        contract = contract.replace(name, **changes)
    return contract.fit(data) if fresh else contract


def _option(item: str) -> tuple[str, str, Any]:
    """NAME=OPTION:VALUE taken apart; the value is read as TOML, or else as text."""
    name, sign, rest = item.partition("=")
    option, colon, text = rest.partition(":")
    if not (sign and option and colon):
        raise ConfigError(f"--field expects NAME=OPTION:VALUE, got {item!r}")
    try:
        return name, option, tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return name, option, text
