"""JSON: rows as objects, columns as lists, or the arguments of a query that takes no rows.

Bodies are decoded straight into the types of the contract. Only a body that does not fit them is decoded once more as
it is and checked value by value, to accept what means the same (``3.0`` for ``3``) and to name field and row of what
does not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET

from vaekit.errors import ContractError
from vaekit.serving.worker.formats.base import Answer, Parsed, check_text, reader, writer
from vaekit.serving.worker.refusals import Refusal
from vaekit.serving.worker.rows import CellRows

if TYPE_CHECKING:
    from vaekit.serving.wire.asking import Ask
    from vaekit.serving.wire.facts import QueryFacts
    from vaekit.serving.wire.frames import Buffer
    from vaekit.serving.worker.cells import Cells
    from vaekit.serving.worker.hosted import Hosted

__all__ = ["COLUMNS", "JSON", "RowDecoder", "decoded", "read_json", "rows_of", "write_columns", "write_rows"]

JSON = "application/json"
COLUMNS = "application/json; shape=columns"
_KEY = re.compile(rb'"\s*:')  # matches at every key, and rarely within a text


class RowDecoder:
    """Decodes ``{"rows": [...], "options": {...}}`` into the types of the fields of a model.

    Args:
        cells: The fields.
    """

    def __init__(self, cells: Mapping[str, Cells]) -> None:
        self.cells = cells
        keys = {f"f{index}": name for index, name in enumerate(cells)}
        types = [(f"f{index}", one.python) for index, one in enumerate(cells.values())]
        self._row = whole = msgspec.defstruct("Row", types, rename=keys, gc=False)
        some = [(name, kind | msgspec.UnsetType, UNSET) for name, kind in types]
        partial = msgspec.defstruct("Row", some, rename=keys, gc=False)
        self._whole, self._partial = (self._decoder(row) for row in (whole, partial))

    def _decoder(self, row: Any) -> msgspec.json.Decoder[Any]:
        options: Any = ("options", dict[str, Any], {})
        return msgspec.json.Decoder(
            msgspec.defstruct("Body", [("rows", list[row]), options], forbid_unknown_fields=True, gc=False)
        )

    def decode(self, body: Buffer, absent: bool) -> tuple[CellRows, dict[str, Any]] | None:
        """Rows and options of a body; None if it has another form, or does not fit the types.

        Args:
            body: The body.
            absent: Whether columns may be left out, and count as missing.

        Raises:
            Refusal: The body is not JSON, or has a key twice.
        """
        for decoder in (self._whole, self._partial):
            try:
                found = decoder.decode(body)
            except msgspec.ValidationError:
                continue
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise _not_json(error) from error
            columns = self._columns(found.rows, absent)
            keys = 1 + (len(found.options) + 1 if found.options else 0) + len(found.rows) * len(columns)
            if len(_KEY.findall(body)) != keys:
                _refuse_repeated(body)
            return CellRows(self.cells, columns, len(found.rows)), found.options
        return None

    def _columns(self, rows: Sequence[Any], absent: bool) -> dict[str, Sequence[Any]]:
        """The columns that came, of which all are there if there are no rows."""
        if not rows:
            return dict.fromkeys(self.cells, ())
        columns: dict[str, Sequence[Any]] = dict(
            zip(self.cells, zip(*map(msgspec.structs.astuple, rows), strict=True), strict=True)
        )
        if type(rows[0]) is self._row:
            return columns
        return {name: _complete(name, column, absent) for name, column in columns.items() if _any(column)}


@reader(JSON)
def read_json(body: Buffer, ask: Ask, hosted: Hosted) -> Parsed:
    """``{"rows": [{...}, ...], "options": {...}}``, or ``{"columns": {name: [...]}}``, or the arguments of a query."""
    facts = hosted.query(ask.query)
    check_text(body)
    if facts.rows:
        found = hosted.rows.decode(body, facts.absent)
        if found is not None:
            return Parsed(ask.query, found[0], {}, found[1])
    plain = decoded(body)
    if not isinstance(plain, dict):
        raise Refusal(400, "bad_body", f"the body is a JSON object, for example {_example(facts)}, not {_kind(plain)}")
    known = ["rows", "columns"] if facts.rows else [one.name for one in (*facts.arguments, *facts.options)]
    if unknown := [name for name in plain if name not in (*known, "options")]:
        there = ", ".join([*known, "options"])
        raise Refusal(400, "bad_body", f"the body has no place for {unknown[0]!r:.80}; it may have: {there}")
    options = plain.pop("options", {})
    if not isinstance(options, dict):
        raise Refusal(400, "bad_body", f"options is an object of names and values, not {_kind(options)}")
    if not facts.rows:
        options |= {one.name: plain.pop(one.name) for one in facts.options if one.name in plain}
        return Parsed(ask.query, None, plain, options)
    if len(plain) != 1:
        raise Refusal(400, "bad_body", f"the body has either rows or columns, for example {_example(facts)}")
    if "rows" in plain:
        return Parsed(ask.query, rows_of(plain["rows"], hosted, facts.absent), {}, options)
    return Parsed(ask.query, _columns_of(plain["columns"], hosted), {}, options)


@writer(JSON)
def write_rows(answer: Answer, parsed: Parsed, ask: Ask, hosted: Hosted) -> tuple[bytes, dict[str, str]]:
    """``{"rows": [{...}, ...]}``; numbers that JSON does not have are null."""
    columns = answer.columns()
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return msgspec.json.encode({"rows": rows}), {"content-type": JSON}


@writer(COLUMNS)
def write_columns(answer: Answer, parsed: Parsed, ask: Ask, hosted: Hosted) -> tuple[bytes, dict[str, str]]:
    """``{"columns": {name: [...]}}``; numbers that JSON does not have are null."""
    return msgspec.json.encode({"columns": answer.columns()}), {"content-type": JSON}


def decoded(body: Buffer) -> Any:
    """Any JSON as plain values.

    Raises:
        Refusal: It is not JSON, is nested too deeply, or has a key twice in one object.
    """
    try:
        plain = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise _not_json(error) from error
    _refuse_repeated(body)
    return plain


def rows_of(rows: Any, hosted: Hosted, absent: bool) -> CellRows:
    """Rows from a list of objects.

    Raises:
        Refusal: It is no list of objects.
        ContractError: A value has the wrong type, or is not there.
    """
    if not isinstance(rows, list):
        raise Refusal(400, "bad_body", f"rows is a list of objects, not {_kind(rows)}")
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise Refusal(400, "bad_body", f"a row is an object of names and values, not {_kind(row)}", row=number)
    there = {name for row in rows for name in row}
    if not rows:
        return CellRows(hosted.cells, dict.fromkeys(hosted.cells, ()), 0)
    raw = {name: [row.get(name, UNSET) for row in rows] for name in hosted.cells if name in there}
    columns = {name: _complete(name, column, absent) for name, column in raw.items()}
    return CellRows(hosted.cells, _checked(columns, hosted), len(rows))


def _columns_of(columns: Any, hosted: Hosted) -> CellRows:
    if not isinstance(columns, dict):
        raise Refusal(400, "bad_body", f"columns is an object of names and lists, not {_kind(columns)}")
    for name, values in columns.items():
        if not isinstance(values, list):
            raise Refusal(400, "bad_body", f"column {name!r:.80} is a list of values, not {_kind(values)}")
    lengths = {len(values) for values in columns.values()}
    if len(lengths) > 1:
        raise Refusal(400, "bad_body", f"columns have {min(lengths)} to {max(lengths)} values; they need equally many")
    there = {name: columns[name] for name in hosted.cells if name in columns}
    return CellRows(hosted.cells, _checked(there, hosted), next(iter(lengths), 0))


def _checked(columns: Mapping[str, Sequence[Any]], hosted: Hosted) -> dict[str, list[Any]]:
    """Values of any JSON type in the forms that their fields take."""
    found = {}
    for name, values in columns.items():
        cells, checked = hosted.cells[name], []
        for row, value in enumerate(values):
            try:
                checked.append(cells.checked(value))
            except ContractError as error:
                raise ContractError(
                    error.message, field=name, row=row, expected=error.expected, got=error.got
                ) from error
        found[name] = checked
    return found


def _any(column: Sequence[Any]) -> bool:
    """Whether a column has a value in any row."""
    return any(value is not UNSET for value in column)


def _complete(name: str, column: Sequence[Any], absent: bool) -> Sequence[Any]:
    """A column in which cells that are not there are null, if they may be left out."""
    gone = [row for row, value in enumerate(column) if value is UNSET]
    if gone and not absent:
        raise ContractError("value is not there; give null if it is not known", field=name, row=gone[0])
    return [None if value is UNSET else value for value in column] if gone else column


def _refuse_repeated(body: Buffer) -> None:
    """Refuse a body in which an object has a key twice, of which one value would be lost."""

    def pairs(found: list[tuple[str, Any]]) -> None:
        if len(dict(found)) < len(found):
            names = [name for name, _ in found]
            twice = next(name for name in names if names.count(name) > 1)
            raise Refusal(400, "bad_body", f"the body has the key {twice!r:.80} twice in one object")

    try:
        json.loads(bytes(body), object_pairs_hook=pairs, parse_int=str, parse_float=str)
    except (ValueError, RecursionError) as error:
        raise _not_json(error) from error


def _not_json(error: Exception) -> Refusal:
    if isinstance(error, RecursionError):
        return Refusal(400, "bad_body", "the body is nested too deeply")
    return Refusal(400, "bad_body", f"the body is not JSON: {error}")


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "a boolean", int: "a number", float: "a number"}
    return names.get(type(value), "null")


def _example(facts: QueryFacts) -> str:
    if facts.rows:
        return '{"rows": [{"name": value, ...}]}'
    return "{" + ", ".join(f'"{one.name}": ...' for one in facts.arguments) + "}"
