"""What a schema cannot say of a request, told to schemathesis: valid cases are made so, and a few are left out."""

from __future__ import annotations

from typing import Any

import schemathesis


@schemathesis.hook
def filter_case(context: Any, case: Any) -> bool:
    """Leave out what has no schema, or a wrong one."""
    if case.media_type not in (None, "application/json"):
        return False  # tables in other formats
    valid = case.meta is not None and case.meta.generation.mode.is_positive
    if case.path.endswith("/infer") and valid:
        return False  # as many elements as the shape says; the clients of the protocol prove these
    body = case.body if isinstance(case.body, dict) else {}
    return valid or "options" in body or "given" not in (case.query or {})  # it may also stand in the URL


@schemathesis.hook
def map_case(context: Any, case: Any) -> Any:
    """Options are given once and do not ask for too many rows; tables and columns are equally long."""
    if case.meta is None or not case.meta.generation.mode.is_positive or not isinstance(case.body, dict):
        return case
    body, query = case.body, case.query or {}
    options = body.get("options") if isinstance(body.get("options"), dict) else {}
    for name in options:
        query.pop(name, None)
    for given in (options, query):
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
    return case
