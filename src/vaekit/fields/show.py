"""A contract as an aligned table for people, and how to correct what it takes wrongly."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from typing import NamedTuple

from vaekit.fields.base import Field
from vaekit.fields.whole import CHECK

__all__ = ["Fix", "fixes", "show"]

_HEAD = ("", "field", "kind", "role", "likelihood", "missing", "detail")
_WIDEST = 44
_CHANGE = re.compile(r"\b(?P<option>role|kind|likelihood|unseen)='(?P<value>\w+)'|\b(?P<markers>markers)=\(\)")
_SEPARATOR = re.compile(r"text=\{'(?P<key>\w+)': '(?P<value>.)'\}")


class Fix(NamedTuple):
    """One line that changes a field: in Python, and as a flag of ``vae inspect`` and ``vae fit``."""

    name: str
    python: str
    flag: str
    changes: dict[str, object]


def show(fields: Sequence[Field]) -> str:
    """The fields of a contract as text: one line each; ``!`` marks what needs a look, ``-`` what is left out.

    Example:
        >>> from vaekit.fields.other import Other
        >>> print(show([Other(name="code", type="binary", role="ignore", note="not text")]))
           field  kind   role    likelihood  missing  detail
        -  -----  -----  ------  ----------  -------  --------
        -  code   other  ignore                       not text
    """
    lines = [_HEAD, *(_line(field) for field in fields)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEAD))]
    lines.insert(1, tuple("-" * width for width in widths))
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def fixes(fields: Sequence[Field]) -> list[Fix]:
    """For each field that is left out or needs a look, the first change that its note names.

    Example:
        >>> from vaekit.fields.number import Number
        >>> note = "check: a row number? role='model' keeps it"
        >>> fixes([Number(name="no", type="int64", role="ignore", likelihood="gaussian", note=note)])[0][1:3]
        ("contract.replace('no', role='model')", '--role no=model')
    """
    found = []
    for field in fields:
        if (field.role == "ignore" or field.note.startswith(CHECK)) and (changes := _changes(field.note)):
            told = ", ".join(f"{option}={value!r}" for option, value in changes.items())
            flags = " ".join(_flag(field.name, option, value) for option, value in changes.items())
            found.append(Fix(field.name, f"contract.replace({field.name!r}, {told})", flags, changes))
    return found


def _changes(note: str) -> dict[str, object]:
    """The change that a note names; a format of numbers goes with kind and role."""
    if match := _SEPARATOR.search(note):
        return {"kind": "number", "role": "model", "text": {match["key"]: match["value"]}}
    if "kind='number', text={}" in note:
        return {"kind": "number", "role": "model", "text": {}}
    if match := _CHANGE.search(note):
        return {"markers": ()} if match["markers"] else {match["option"]: match["value"]}
    return {}


def _flag(name: str, option: str, value: object) -> str:
    if option in ("role", "kind", "likelihood"):
        return f"--{option} {shlex.quote(f'{name}={value}')}"
    if isinstance(value, dict):
        text = "{" + ", ".join(f"{key} = {json.dumps(one)}" for key, one in value.items()) + "}"
    else:
        text = "[]" if value == () else str(value)
    return f"--field {shlex.quote(f'{name}={option}:{text}')}"


def _line(field: Field) -> tuple[str, ...]:
    likelihood = str(getattr(field, "likelihood", "")) if field.role == "model" else ""
    missing = f"{field.missing:.1%}" if field.missing else ""
    detail = "; ".join(part for part in (field.detail, field.note.removeprefix(CHECK)) if part)
    mark = "!" if field.note.startswith(CHECK) else "-" if field.role == "ignore" else ""
    name = _short(field.name) if field.name.strip() and field.name.isprintable() else repr(field.name)
    return (mark, name, field.kind, field.role, likelihood, missing, detail)


def _short(text: str) -> str:
    return text if len(text) <= _WIDEST else text[: _WIDEST - 3] + "..."
