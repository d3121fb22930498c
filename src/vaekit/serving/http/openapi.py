"""The OpenAPI document, made from the facts about the models that are served."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from vaekit.serving.feedback.remarks import Feedback
from vaekit.serving.http.media import ARROW, ARROW_FILE, CSV, FORM, JSON, PARQUET
from vaekit.serving.http.operations import (
    COMMON,
    ERRORS,
    HEADERS,
    IDENTITY,
    answered,
    in_json,
    operation,
    plain_operation,
)
from vaekit.serving.http.schemas import answer_schema, option_schema, question_schema, row_schema
from vaekit.serving.wire.facts import Facts, QueryFacts
from vaekit.version import __version__

__all__ = ["document"]

Schema = dict[str, Any]
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
    schemas: dict[str, Schema] = dict(ERRORS)
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
        "components": {"schemas": schemas, "headers": HEADERS},
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
    return operation(
        f"{facts.name}_{query.name}",
        query.doc,
        answered(gives, IDENTITY),
        (400, 404, 406, 408, 411, 413, 415, 422, 429, 504),
        tags=[facts.name],
        parameters=[*options, *COMMON],
        requestBody={"required": True, "content": takes},
    )


def _listing(models: list[Facts]) -> Schema:
    named = {"type": "string", "enum": [facts.name for facts in models]}
    model = {"name": "model", "in": "path", "required": True, "schema": named}
    return {
        "/v1/models": {"get": operation("models", "The models that there are.", in_json({"type": "object"}))},
        "/v1/models/{model}": {
            "get": operation(
                "model",
                "Fields, queries, options, version and held-out figures of a model.",
                in_json({"type": "object", "required": ["name", "version", "fields", "queries"]}, IDENTITY),
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
            "post": operation(
                "feedback",
                "Say what became of an answer; it is joined to the version of the model that gave it.",
                in_json({"type": "object", "required": ["request_id", "model", "version", "query", "kept"]}),
                (400, 404, 408, 411, 413, 415, 422),
                requestBody={"required": True, "content": {JSON: body}},
            )
        },
        "/v1/feedback/summary": {
            "get": operation(
                "feedback_summary",
                "Counts, rates and mean KPIs of each version of each model.",
                in_json({"type": "object", "required": ["versions"]}),
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
    body, told = {"schema": _TENSORS}, {"type": "object"}
    server = {"type": "object", "required": ["name", "version"]}
    paths: Schema = {
        "/v2": {"get": plain_operation("v2", "What the server is.", server)},
        "/v2/health/live": {"get": plain_operation("v2_live", "Whether the server runs.", told)},
        "/v2/health/ready": {"get": plain_operation("v2_ready", "Whether all models answer.", told)},
    }
    for path, parameters, suffix in (
        ("/v2/models/{model}", [model], ""),
        ("/v2/models/{model}/versions/{version}", [model, version], "_version"),
    ):
        metadata = {"type": "object", "required": ["name", "platform", "inputs", "outputs"]}
        paths[path] = {
            "get": plain_operation(f"v2_model{suffix}", "Tensors of a model.", metadata, (404,), parameters, IDENTITY)
        }
        paths[f"{path}/ready"] = {
            "get": plain_operation(
                f"v2_ready{suffix}", "Whether a model answers.", {"type": "object"}, (404,), parameters
            )
        }
        paths[f"{path}/infer"] = {
            "post": plain_operation(
                f"v2_infer{suffix}",
                "Put a question to a model: parameter `query` says which, others are its options.",
                {"type": "object", "required": ["model_name", "outputs"]},
                (400, 404, 408, 411, 413, 415, 422, 429, 504),
                [*parameters, *COMMON],
                IDENTITY,
                requestBody={"required": True, "content": {JSON: body}},
            )
        }
    return paths


def _system(metrics: bool) -> Schema:
    told = in_json({"type": "object"})
    paths = {
        "/": {"get": operation("index", "Where to go from here.", told)},
        "/openapi.json": {"get": operation("openapi", "This document.", told)},
        "/startupz": {"get": operation("startup", "Whether the models were loaded.", told)},
        "/livez": {"get": operation("live", "Whether the server runs.", told)},
        "/readyz": {"get": operation("ready", "Whether questions are answered.", told)},
    }
    if metrics:
        text = {"200": {"description": "Metrics.", "content": {"text/plain": {}}}}
        paths["/metrics"] = {"get": operation("metrics", "Metrics for Prometheus.", text)}
    return paths
