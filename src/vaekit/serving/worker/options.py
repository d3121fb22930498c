"""Options of queries as their signatures declare them, and checked values for what a caller wrote."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import msgspec

from vaekit.queries import Query
from vaekit.serving.wire.facts import OptionFacts
from vaekit.serving.worker.refusals import Refusal

__all__ = ["checked", "described", "first_line", "takes"]

_TYPES: dict[str, Any] = {"integer": int, "number": float, "boolean": bool, "string": str, "object": dict[str, Any]}
_WORDS = {"int": "integer", "float": "number", "bool": "boolean", "str": "string", "Mapping[str, Any]": "object"}
_BEYOND = {"Labelled": "rows", "Attributes": "object"}  # with names beyond those of the fields
_FIRST = OptionFacts(
    name="first",
    type="integer",
    default=0,
    doc="Position of the first row, where the rows are a part of a larger table: noise belongs to positions.",
)
_ITEM = re.compile(r"^ {8}(?P<name>\w+): (?P<doc>.*(?:\n {12}.*)*)", re.MULTILINE)


def described(query: Query) -> tuple[tuple[OptionFacts, ...], tuple[OptionFacts, ...]]:
    """Arguments and options of a query, from its signature; what they mean from its docstring.

    Args:
        query: The query; its first parameter is the engine.

    Returns:
        What it takes by position, and what by name.
    """
    docs = {match["name"]: " ".join(match["doc"].split()) for match in _ITEM.finditer(query.__doc__ or "")}
    arguments: list[OptionFacts] = []
    options: list[OptionFacts] = []
    for name, parameter in list(inspect.signature(query).parameters.items())[1:]:
        if name == "positions":  # the service counts rows itself, from where the caller says
            options.append(_FIRST)
            continue
        kind, null, beyond = _kind(parameter)
        required = parameter.default is inspect.Parameter.empty
        default = None if required else parameter.default
        doc = docs.get(name, "")
        one = OptionFacts(name=name, type=kind, null=null, required=required, default=default, doc=doc, beyond=beyond)
        (options if parameter.kind is inspect.Parameter.KEYWORD_ONLY and kind != "rows" else arguments).append(one)
    return tuple(arguments), tuple(options)


@cache
def takes(query: Query, name: str) -> bool:
    """Whether a query has a parameter of a name."""
    return name in inspect.signature(query).parameters


def first_line(query: Query) -> str:
    """The first line of the docstring of a query."""
    return (query.__doc__ or "").strip().split("\n", 1)[0]


def checked(known: Iterable[OptionFacts], given: Mapping[str, Any], what: str, *, text: bool) -> dict[str, Any]:
    """Values of options in the types that a query takes.

    Args:
        known: Options that there are.
        given: Values as they came.
        what: What they are options of, for messages.
        text: Whether values were written as text, as in URLs.

    Raises:
        Refusal: An option is unknown, or its value has the wrong type.

    Example:
        >>> checked([OptionFacts(name="seed", type="integer")], {"seed": "7"}, "score", text=True)
        {'seed': 7}
    """
    named = {one.name: one for one in known}
    found = {}
    for name, value in given.items():
        if name not in named:
            there = ", ".join(named) or "none"
            raise Refusal(400, "bad_option", f"{what} has no option {name!r}; it has: {there}")
        found[name] = _value(named[name], value, text)
    return found


def _value(option: OptionFacts, value: Any, text: bool) -> Any:
    kind = _TYPES[option.type]
    try:
        if text and option.type == "object":
            value = msgspec.json.decode(value)
        if option.type == "integer" and isinstance(value, float) and value.is_integer():
            value = int(value)  # JSON has one kind of numbers
        value = msgspec.convert(value, kind | None if option.null and not text else kind, strict=not text)
    except (msgspec.MsgspecError, RecursionError) as error:
        expected = f"{option.type}{' or null' if option.null and not text else ''}"
        raise Refusal(400, "bad_option", f"option {option.name!r}: expected {expected}, got {value!r:.80}") from error
    if isinstance(value, float) and not math.isfinite(value):
        raise Refusal(400, "bad_option", f"option {option.name!r}: expected a finite number, got {value}")
    return value


def _kind(parameter: inspect.Parameter) -> tuple[str, bool, bool]:
    """Type of a parameter in words, whether it may be null, and whether it has names beyond those of the fields."""
    annotation = parameter.annotation
    written = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
    name = written.removesuffix(" | None")
    if parameter.annotation is inspect.Parameter.empty and parameter.default is not inspect.Parameter.empty:
        name = type(parameter.default).__name__
    null = written.endswith(" | None") or parameter.default is None
    return (_WORDS | _BEYOND).get(name, "rows"), null, name in _BEYOND
