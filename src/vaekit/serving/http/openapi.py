"""The OpenAPI document, made from the facts about the models that are served."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from vaekit.serving.feedback.remarks import Feedback
from vaekit.serving.http.media import ARROW, ARROW_FILE, CSV, FORM, JSON, PARQUET
from vaekit.serving.http.schemas import answer_schema, option_schema, question_schema, row_schema
from vaekit.serving.wire.facts import Facts, QueryFacts
from vaekit.version import __version__

__all__ = ["document"]

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
_HEADERS: dict[str, Schema] = {
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
_COMMON: list[Schema] = [
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
_TENSOR: Schema = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
        "datatype": {"type": "string"},
        "parameters": {"type": "object"},
        "data": {"type": "array"},
    },
    "required": ["name", "shape", "datatype"],
}
_TENSORS: Schema = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "parameters": {"type": "object"},
        "inputs": {"type": "array", "items": _TENSOR},
        "outputs": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"name": {"type": "string"}, "parameters": {"type": "object"}},
                "required": ["name"],
            },
        },
    },
    "required": ["inputs"],
}
_IDENTITY = [name for name in _HEADERS if name.startswith("X-Vaekit")]


def document(models: Iterable[Facts], most: int, metrics: bool) -> Schema:
    """The document.

    Args:
        models: The models that its reader may know of.
        most: Most rows of a request.
        metrics: Whether there is ``/metrics``.

    Returns:
        OpenAPI 3.1, as plain values.
    """
    models = list(models)
    schemas: dict[str, Schema] = {"Error": _ERROR, "PlainError": _PLAIN_ERROR}
    _, feedback = msgspec.json.schema_components([Feedback], ref_template="#/components/schemas/{name}")
    feedback["Feedback"]["anyOf"] = [
        {"required": [name], "properties": {name: {"not": {"type": "null"}}}} for name in ("outcome", "label", "kpi")
    ]
    schemas |= feedback
    paths = _system(metrics) | _feedback()
    if models:
        paths |= _listing(models) | _inference(models)
    for facts in models:
        for query in facts.queries.values():
            name = f"{facts.name}.{query.name}"
            schemas[f"{name}.row"] = row_schema(facts, query)
            paths[f"/v1/models/{facts.name}/{query.name}"] = {"post": _question(facts, query, name, most)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "vaekit", "version": __version__, "description": "Ask models of tables about rows."},
        "paths": paths,
        "components": {"schemas": schemas, "headers": _HEADERS},
    }


def _question(facts: Facts, query: QueryFacts, name: str, most: int) -> Schema:
    row = {"$ref": f"#/components/schemas/{name}.row"}
    takes: Schema = {JSON: {"schema": question_schema(facts, query, row, most)}}
    if query.rows:
        takes |= {kind: {} for kind in (ARROW, ARROW_FILE, PARQUET, FORM)}
        takes |= {CSV: {}} if not any(field.width for field in facts.fields) else {}
    gives: Schema = {JSON: {"schema": answer_schema(query)}, ARROW: {}, CSV: {}}
    options = [
        {
            "name": option.name,
            "in": "query",
            "description": f"The same as in options. {option.doc}",
            **(
                {"content": {JSON: {"schema": option_schema(option, facts, row, most)}}}
                if option.type == "object"
                else {"schema": {**option_schema(option, facts, row, most), "type": option.type}}
            ),
        }
        for option in query.options
    ]
    return _operation(
        f"{facts.name}_{query.name}",
        query.doc,
        _answer(gives, _IDENTITY),
        (400, 404, 406, 408, 411, 413, 415, 422, 429, 504),
        tags=[facts.name],
        parameters=[*options, *_COMMON],
        requestBody={"required": True, "content": takes},
    )


def _listing(models: list[Facts]) -> Schema:
    named = {"type": "string", "enum": [facts.name for facts in models]}
    model = {"name": "model", "in": "path", "required": True, "schema": named}
    return {
        "/v1/models": {"get": _operation("models", "The models that there are.", _json({"type": "object"}))},
        "/v1/models/{model}": {
            "get": _operation(
                "model",
                "Fields, queries, options, version and held-out figures of a model.",
                _json({"type": "object", "required": ["name", "version", "fields", "queries"]}, _IDENTITY),
                (404,),
                parameters=[model],
            )
        },
    }


def _feedback() -> Schema:
    body = {"schema": {"$ref": "#/components/schemas/Feedback"}}
    text = {"schema": {"type": "string"}}
    return {
        "/v1/feedback": {
            "post": _operation(
                "feedback",
                "Say what became of an answer; it is joined to the version of the model that gave it.",
                _json({"type": "object", "required": ["request_id", "model", "version", "query", "kept"]}),
                (400, 404, 408, 411, 413, 415, 422),
                requestBody={"required": True, "content": {JSON: body}},
            )
        },
        "/v1/feedback/summary": {
            "get": _operation(
                "feedback_summary",
                "Counts, rates and mean KPIs of each version of each model.",
                _json({"type": "object", "required": ["versions"]}),
                (400,),
                parameters=[{"name": name, "in": "query", **text} for name in ("model", "query")],
            )
        },
    }


def _inference(models: list[Facts]) -> Schema:
    """The Open Inference Protocol."""
    named = {"type": "string", "enum": [facts.name for facts in models]}
    model = {"name": "model", "in": "path", "required": True, "schema": named}
    versions = {"type": "string", "enum": sorted({facts.version for facts in models})}
    version = {"name": "version", "in": "path", "required": True, "schema": versions}
    body = {"schema": _TENSORS}
    paths: Schema = {
        "/v2": {"get": _plain("v2", "What the server is.", {"type": "object", "required": ["name", "version"]})},
        "/v2/health/live": {"get": _plain("v2_live", "Whether the server runs.", {"type": "object"})},
        "/v2/health/ready": {"get": _plain("v2_ready", "Whether all models answer.", {"type": "object"})},
    }
    for path, parameters, suffix in (
        ("/v2/models/{model}", [model], ""),
        ("/v2/models/{model}/versions/{version}", [model, version], "_version"),
    ):
        metadata = {"type": "object", "required": ["name", "platform", "inputs", "outputs"]}
        paths[path] = {
            "get": _plain(f"v2_model{suffix}", "Tensors of a model.", metadata, (404,), parameters, _IDENTITY)
        }
        paths[f"{path}/ready"] = {
            "get": _plain(f"v2_ready{suffix}", "Whether a model answers.", {"type": "object"}, (404,), parameters)
        }
        paths[f"{path}/infer"] = {
            "post": _plain(
                f"v2_infer{suffix}",
                "Put a question to a model: parameter `query` says which, others are its options.",
                {"type": "object", "required": ["model_name", "outputs"]},
                (400, 404, 408, 411, 413, 415, 422, 429, 504),
                [*parameters, *_COMMON],
                _IDENTITY,
                requestBody={"required": True, "content": {JSON: body}},
            )
        }
    return paths


def _system(metrics: bool) -> Schema:
    told = _json({"type": "object"})
    paths = {
        "/": {"get": _operation("index", "Where to go from here.", told)},
        "/openapi.json": {"get": _operation("openapi", "This document.", told)},
        "/startupz": {"get": _operation("startup", "Whether the models were loaded.", told)},
        "/livez": {"get": _operation("live", "Whether the server runs.", told)},
        "/readyz": {"get": _operation("ready", "Whether questions are answered.", told)},
    }
    if metrics:
        text = {"200": {"description": "Metrics.", "content": {"text/plain": {}}}}
        paths["/metrics"] = {"get": _operation("metrics", "Metrics for Prometheus.", text)}
    return paths


def _operation(name: str, doc: str, answers: Schema, faults: tuple[int, ...] = (), **more: Any) -> Schema:
    also = {str(status): _fault(status, "Error") for status in sorted({*faults, 401, 403, 429, 431, 500, 503})}
    return {"operationId": name, "summary": doc, "responses": answers | also, **more}


def _plain(
    name: str,
    doc: str,
    schema: Schema,
    faults: tuple[int, ...] = (),
    parameters: list[Schema] | None = None,
    headers: list[str] | None = None,
    **more: Any,
) -> Schema:
    """An operation whose faults are worded as the Open Inference Protocol does."""
    operation = _operation(name, doc, _json(schema, headers), faults, parameters=parameters or [], **more)
    for status in operation["responses"]:
        if status != "200":
            operation["responses"][status] = _fault(int(status), "PlainError")
    return operation


def _fault(status: int, shape: str) -> Schema:
    headers = ["Retry-After"] if status in (429, 503) else []
    schema = {"schema": {"$ref": f"#/components/schemas/{shape}"}}
    return {"description": _FAULTS[status], "headers": _headers(headers), "content": {JSON: schema}}


def _json(schema: Schema, headers: list[str] | None = None) -> Schema:
    return _answer({JSON: {"schema": schema}}, headers)


def _answer(content: Schema, headers: list[str] | None = None) -> Schema:
    return {"200": {"description": "The answer.", "headers": _headers(headers or []), "content": content}}


def _headers(names: list[str]) -> Schema:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in ["X-Request-Id", *names]}
