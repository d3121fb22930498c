"""One operation of the OpenAPI document: its answers, its faults, its headers."""

from __future__ import annotations

from typing import Any

from vaekit.serving.http.media import JSON

__all__ = ["COMMON", "ERRORS", "HEADERS", "IDENTITY", "answered", "in_json", "operation", "plain_operation"]

Schema = dict[str, Any]
_FAULTS = {
    400: "The request cannot be understood: no JSON, an unknown option, a header that makes no sense.",
    401: "Who asks is not known.",
    403: "Who asks may not do this.",
    404: "There is no such model, version, query or request.",
    406: "No format that Accept names can be written.",
    408: "The request did not come in time.",
    411: "The body has no length.",
    413: "The body, or the number of rows, is too large.",
    415: "The body has a media type that cannot be read.",
    422: "A row, or what was said of an answer, breaks its contract.",
    429: "Too many requests, of this caller or waiting.",
    431: "The headers are too large.",
    500: "The server failed.",
    503: "The server is not ready, overloaded or about to stop.",
    504: "The answer did not come before the deadline.",
}
HEADERS: dict[str, Schema] = {
    "X-Request-Id": {"description": "The id that the request gave, or a fresh one.", "schema": {"type": "string"}},
    "X-Vaekit-Model": {"description": "Name of the model.", "schema": {"type": "string"}},
    "X-Vaekit-Version": {"description": "Version of the model.", "schema": {"type": "string"}},
    "X-Vaekit-Contract": {"description": "Hash of the model's contract.", "schema": {"type": "string"}},
    "X-Vaekit-Data": {"description": "Hash of the data it was fitted on.", "schema": {"type": "string"}},
    "Retry-After": {
        "description": "Seconds until another try makes sense.",
        "schema": {"type": "integer", "minimum": 1},
    },
}
COMMON: list[Schema] = [
    {
        "name": "X-Request-Timeout",
        "in": "header",
        "description": "Seconds until the answer is of no use, such as 1.5 or 250ms.",
        "schema": {"type": "string", "pattern": "^(?![0.]+(ms|s)?$)[0-9]{1,9}(\\.[0-9]{1,9})? ?(ms|s)?$"},
    },
    {
        "name": "X-Request-Id",
        "in": "header",
        "description": "An id for logs and feedback; one of more than 128 or of other than visible ASCII characters "
        "is replaced.",
        "schema": {"type": "string"},
    },
]
_ERROR: Schema = {
    "type": "object",
    "properties": {
        "error": {
            "type": "object",
            "properties": {
                "kind": {"type": "string", "description": "The reason as one word."},
                "message": {"type": "string"},
                "field": {"type": ["string", "null"], "description": "The field that is to blame."},
                "row": {"type": ["integer", "null"], "description": "Its row, from 0."},
                "request_id": {"type": "string"},
            },
            "required": ["kind", "message", "field", "row", "request_id"],
        }
    },
    "required": ["error"],
}
_PLAIN_ERROR: Schema = {
    "type": "object",
    "properties": {"error": {"type": "string"}},
    "required": ["error"],
}
ERRORS = {"Error": _ERROR, "PlainError": _PLAIN_ERROR}
IDENTITY = [name for name in HEADERS if name.startswith("X-Vaekit")]


def operation(name: str, doc: str, answers: Schema, faults: tuple[int, ...] = (), **more: Any) -> Schema:
    """An operation with its answer and all faults that it may end in; some it has like all others."""
    also = {str(status): _fault(status, "Error") for status in sorted({*faults, 401, 403, 429, 431, 500, 503})}
    return {"operationId": name, "summary": doc, "responses": answers | also, **more}


def plain_operation(
    name: str,
    doc: str,
    schema: Schema,
    faults: tuple[int, ...] = (),
    parameters: list[Schema] | None = None,
    headers: list[str] | None = None,
    **more: Any,
) -> Schema:
    """The same, whose faults are worded as the Open Inference Protocol does."""
    found = operation(name, doc, in_json(schema, headers), faults, parameters=parameters or [], **more)
    for status in found["responses"]:
        if status != "200":
            found["responses"][status] = _fault(int(status), "PlainError")
    return found


def _fault(status: int, shape: str) -> Schema:
    headers = ["Retry-After"] if status in (429, 503) else []
    schema = {"schema": {"$ref": f"#/components/schemas/{shape}"}}
    return {"description": _FAULTS[status], "headers": _headers(headers), "content": {JSON: schema}}


def in_json(schema: Schema, headers: list[str] | None = None) -> Schema:
    """An answer in JSON."""
    return answered({JSON: {"schema": schema}}, headers)


def answered(content: Schema, headers: list[str] | None = None) -> Schema:
    """An answer by media types."""
    return {"200": {"description": "The answer.", "headers": _headers(headers or []), "content": content}}


def _headers(names: list[str]) -> Schema:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in ["X-Request-Id", *names]}
