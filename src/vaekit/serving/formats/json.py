"""JSON: rows as objects, or columns as lists."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from vaekit.errors import ContractError
from vaekit.serving.formats.base import Answer, Parsed, reader, writer
from vaekit.serving.refusals import Refusal
from vaekit.serving.rows import CellRows

if TYPE_CHECKING:
    from vaekit.serving.asking import Ask
    from vaekit.serving.frames import Buffer
    from vaekit.serving.hosted import Hosted

__all__ = ["COLUMNS", "JSON", "read_json", "write_columns", "write_rows"]

JSON = "application/json"
COLUMNS = "application/json; shape=columns"


@reader(JSON)
def read_json(body: Buffer, ask: Ask, hosted: Hosted) -> Parsed:
    """``{"rows": [{...}, ...], "options": {...}}``, or ``{"columns": {name: [...]}}``, or the arguments of a query."""
    try:
        plain = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(400, "bad_body", f"the body is not JSON: {error}") from error
    if not isinstance(plain, dict):
        raise Refusal(400, "bad_body", 'the body is a JSON object, for example {"rows": [{...}]}')
    facts = hosted.query(ask.query)
    known = {"options", *(("rows", "columns") if facts.rows else (one.name for one in facts.arguments))}
    if unknown := sorted(set(plain) - known):
        raise Refusal(400, "bad_body", f"the body has {unknown[0]!r}; known are: {', '.join(sorted(known))}")
    options = plain.pop("options", {})
    if not facts.rows:
        return Parsed(ask.query, None, plain, options)
    if len(plain) != 1:
        raise Refusal(400, "bad_body", "the body has either rows or columns")
    rows = _rows(plain["rows"], hosted) if "rows" in plain else _columns(plain["columns"], hosted)
    return Parsed(ask.query, rows, {}, options)


def _rows(rows: Any, hosted: Hosted) -> CellRows:
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: [row.get(name) for row in rows] for name in hosted.cells if name in names}
    return _checked(columns, len(rows), hosted)


def _columns(columns: Any, hosted: Hosted) -> CellRows:
    lengths = {len(values) for values in columns.values()}
    if len(lengths) > 1:
        raise Refusal(400, "bad_body", "columns have different lengths")
    there = {name: columns[name] for name in hosted.cells if name in columns}
    return _checked(there, next(iter(lengths), 0), hosted)


def _checked(columns: dict[str, Any], count: int, hosted: Hosted) -> CellRows:
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
    return CellRows(hosted.cells, found, count)


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
