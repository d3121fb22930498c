"""What a schema cannot say of a request, told to schemathesis: valid cases are made so, and a few are left out."""

from __future__ import annotations

from typing import Any

import schemathesis

CONDITIONS = {"origin", "hour", "label", "profile"}  # of the models that are served


def _given(case: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The options in the body of a request, and those in its URL."""
    body = case.body if isinstance(case.body, dict) else {}
    options = body.get("options")
    return (options if isinstance(options, dict) else {}), case.query or {}


@schemathesis.hook
def filter_case(context: Any, case: Any) -> bool:
    """Leave out what has no schema, or a wrong one."""
    if case.media_type not in (None, "application/json"):
        return False  # tables in other formats
    valid = case.meta is not None and case.meta.generation.mode.is_positive
    if case.path.endswith("/infer") and valid:
        return False  # as many elements as the shape says; the clients of the protocol prove these
    body = case.body if isinstance(case.body, dict) else {}
    if (
        case.path.endswith("/edit")
        and valid
        and not any(CONDITIONS & set(given.get("set") or ()) for given in _given(case))
    ):
        return False  # other attributes than conditions are learned from examples, which have to hold enough of each
    return valid or "options" in body or "given" not in (case.query or {})  # it may also stand in the URL


@schemathesis.hook
def map_case(context: Any, case: Any) -> Any:
    """Options are given once and do not ask for too many rows; tables and columns are equally long."""
    if case.meta is None or not case.meta.generation.mode.is_positive or not isinstance(case.body, dict):
        return case
    body, query = case.body, case.query or {}
    options, _ = _given(case)
    for name in options:
        query.pop(name, None)
    for given in (options, query):
        if isinstance(given.get("set"), dict):
            given["set"] = {name: value for name, value in given["set"].items() if name in CONDITIONS}
        for name in ("draws", "steps"):
            if name in given and int(given[name]) > 2:
                given[name] = 2
    for name in ("rows", "a", "b"):
        if isinstance(body.get(name), list):
            body[name] = body[name][:10]
    if options.get("given") or query.get("given"):  # what shapes the prior may go with conditions alone
        for name in ("temperature", "truncation"):
            options.pop(name, None)
            query.pop(name, None)
    if any(int(given.get("draws", 1)) > 1 for given in (options, query)):
        options.pop("interval", None)
        query.pop("interval", None)
    if isinstance(columns := body.get("columns"), dict):
        shortest = min([10, *map(len, columns.values())])
        body["columns"] = {name: values[:shortest] for name, values in columns.items()}
    if isinstance(body.get("at"), list):
        body["at"] = body["at"][:10]
    if isinstance(body.get("a"), list):
        shortest = min(len(body["a"]), len(body["b"]))
        body["a"], body["b"] = body["a"][:shortest], body["b"][:shortest]
    if case.path.endswith("/edit"):
        body |= {name: _of_one_kind(body[name]) for name in ("rows", "examples") if isinstance(body.get(name), list)}
        if isinstance(columns := body.get("columns"), dict):
            body["columns"] = {name: values for name, values in columns.items() if _one_kind(values)}
    return case


def _of_one_kind(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows without the columns that hold values of several kinds."""
    names = {name for row in rows for name in row}
    mixed = {name for name in names if not _one_kind([row.get(name) for row in rows])}
    return [{name: value for name, value in row.items() if name not in mixed} for row in rows]


def _one_kind(values: list[Any]) -> bool:
    """Whether all values are text, all numbers, or all booleans; lists are columns of fields."""
    kinds = {float if isinstance(one, int) and not isinstance(one, bool) else type(one) for one in values}
    return len(kinds - {type(None)}) < 2
