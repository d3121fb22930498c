"""JSON schemas of rows, options and answers of one model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vaekit.serving.wire.facts import ColumnFacts, Facts, FieldFacts, OptionFacts, QueryFacts

__all__ = ["answer_schema", "option_schema", "question_schema", "row_schema"]

Schema = dict[str, Any]
_ATTRIBUTE: Schema = {"type": ["string", "number", "boolean", "null"]}  # a value of a column beyond the fields


def row_schema(facts: Facts, query: QueryFacts) -> Schema:
    """One row as a query takes it. Columns that the model does not know are attributes, or passed over."""
    schema = _table({field.name: _field(field) for field in facts.fields}, facts, query)
    return schema | {"additionalProperties": _ATTRIBUTE} if _beyond(query) else schema


def question_schema(facts: Facts, query: QueryFacts, row: Schema, most: int) -> Schema:
    """The JSON body of a question.

    Args:
        facts: The model.
        query: The query.
        row: Schema of a row, or a reference to it.
        most: Most rows of a request.
    """
    options = _closed(
        {one.name: option_schema(one, facts, row, most) for one in query.options}, _required(query.options)
    )
    needed = ["options"] if "required" in options else []
    if not query.rows:
        arguments = {one.name: option_schema(one, facts, row, most) for one in query.arguments}
        return _closed({**arguments, "options": options}, [*_required(query.arguments), *needed])
    rows = {"type": "array", "items": row, "maxItems": most}
    columns = {field.name: {"type": "array", "items": _field(field), "maxItems": most} for field in facts.fields}
    more = {"type": "array", "maxItems": most} | ({"items": _ATTRIBUTE} if _beyond(query) else {})
    table = _table(columns, facts, query) | {"additionalProperties": more}
    shapes = {"rows": rows, "columns": table}
    return {"oneOf": [_closed({name: shape, "options": options}, [name, *needed]) for name, shape in shapes.items()]}


def option_schema(option: OptionFacts, facts: Facts, row: Schema, most: int) -> Schema:
    """One option, or one argument, of a query."""
    if option.type == "rows":
        schema: Schema = {"type": "array", "items": row, "maxItems": most}
    else:
        schema = {"type": [option.type, "null"] if option.null else option.type, **option.range}
    if option.type == "object":
        schema |= {"properties": {field.name: _given(field) for field in facts.fields}, "additionalProperties": False}
    if option.beyond and option.type == "object":
        schema["additionalProperties"] = _ATTRIBUTE
    if option.null and "enum" in schema:
        schema["enum"] = [*schema["enum"], None]
    if option.doc:
        schema["description"] = option.doc
    if not option.required and option.default is not None:
        schema["default"] = option.default
    return schema


def answer_schema(query: QueryFacts) -> Schema:
    """The JSON answer to a query as rows; options can add columns to it."""
    columns = {column.name: _value(column, {}) for column in query.columns}
    rows = {"type": "array", "items": {"type": "object", "properties": columns}}
    return {"type": "object", "properties": {"rows": rows}, "required": ["rows"]}


def _beyond(query: QueryFacts) -> bool:
    """Whether columns of rows beyond the fields are read."""
    return any(one.beyond for one in (*query.arguments, *query.options))


def _required(options: tuple[OptionFacts, ...]) -> list[str]:
    return [option.name for option in options if option.required]


def _table(properties: Schema, facts: Facts, query: QueryFacts) -> Schema:
    """Columns by name, of which some have to be there, and one at least."""
    required = [field.name for field in facts.fields if not (query.absent and field.role == "model")]
    schema: Schema = {"type": "object", "properties": properties}
    if required:
        return schema | {"required": required}
    return schema | {"anyOf": [{"required": [field.name]} for field in facts.fields]}


def _field(field: FieldFacts) -> Schema:
    schema = _value(field, field.range)
    if field.levels and not field.width:
        schema = {"enum": [*field.levels, None]}
    if field.doc:
        schema["description"] = field.doc
    return schema


def _given(field: FieldFacts) -> Schema:
    """A value that is given; only of a condition it may be missing."""
    schema = _field(field)
    if field.role == "condition":
        return schema
    for at in (schema, schema.get("items", {})):
        if "enum" in at:
            at["enum"] = [value for value in at["enum"] if value is not None]
        if "type" in at:
            at["type"] = at["type"][0]
    return schema


def _value(column: ColumnFacts, extent: Mapping[str, Any]) -> Schema:
    """A value of a column, which may be null; of a list, each element may be."""
    item: Schema = {"type": [column.json, "null"], **extent}
    if "enum" in item:
        item["enum"] = [*item["enum"], None]
    if column.item.startswith("timestamp"):
        item["format"] = "date-time"
    elif column.item.startswith("date"):
        item["format"] = "date"
    if not column.width:
        return item
    return {"type": ["array", "null"], "items": item, "minItems": column.width, "maxItems": column.width}


def _closed(properties: Schema, required: list[str]) -> Schema:
    schema: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return schema | ({"required": required} if required else {})
