"""JSON schemas of rows, options and answers of one model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vaekit.serving.facts import ColumnFacts, Facts, FieldFacts, OptionFacts, QueryFacts

__all__ = ["answer_schema", "option_schema", "question_schema", "row_schema"]

Schema = dict[str, Any]
_INTEGERS = {f"int{bits}": (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for bits in (8, 16, 32, 64)}
_INTEGERS |= {f"uint{bits}": (0, 2**bits - 1) for bits in (8, 16, 32, 64)}


def row_schema(facts: Facts, query: QueryFacts) -> Schema:
    """One row as a query takes it. Columns that the model does not know are passed over."""
    return _table({field.name: _field(field) for field in facts.fields}, facts, query)


def question_schema(facts: Facts, query: QueryFacts, row: Schema) -> Schema:
    """The JSON body of a question.

    Args:
        facts: The model.
        query: The query.
        row: Schema of a row, or a reference to it.
    """
    options = {
        "type": "object",
        "properties": {option.name: option_schema(option, row) for option in query.options},
        "additionalProperties": False,
    }
    if not query.rows:
        arguments = {argument.name: option_schema(argument, row) for argument in query.arguments}
        required = [argument.name for argument in query.arguments if argument.required]
        return _closed({**arguments, "options": options}, required)
    rows = _closed({"rows": {"type": "array", "items": row}, "options": options}, ["rows"])
    columns = {field.name: {"type": "array", "items": _field(field)} for field in facts.fields}
    table = _table(columns, facts, query)
    return {"oneOf": [rows, _closed({"columns": table, "options": options}, ["columns"])]}


def option_schema(option: OptionFacts, row: Schema) -> Schema:
    """One option, or one argument, of a query."""
    if option.type == "rows":
        schema: Schema = {"type": "array", "items": row}
    else:
        schema = {"type": [option.type, "null"] if option.null else option.type}
    if option.doc:
        schema["description"] = option.doc
    if not option.required and option.default is not None:
        schema["default"] = option.default
    return schema


def answer_schema(query: QueryFacts) -> Schema:
    """The JSON answer to a query as rows; options can add columns to it."""
    columns = {column.name: _nullable(column) for column in query.columns}
    row = {"type": "object", "properties": columns}
    return {
        "type": "object",
        "properties": {"rows": {"type": "array", "items": row}},
        "required": ["rows"],
    }


def _table(properties: Schema, facts: Facts, query: QueryFacts) -> Schema:
    """Columns by name, of which some have to be there."""
    required = [field.name for field in facts.fields if not (query.absent and field.role == "model")]
    return {"type": "object", "properties": properties} | ({"required": required} if required else {})


def _field(field: FieldFacts) -> Schema:
    schema = _nullable(field)
    if field.levels and not field.width:
        schema = {"enum": [*field.levels, None]}
    if field.doc:
        schema["description"] = field.doc
    return schema


def _nullable(column: ColumnFacts) -> Schema:
    """A value of a column, which may be null; of a list, each element may be."""
    item: Schema = {"type": [column.json, "null"]}
    if column.item in _INTEGERS:
        item["minimum"], item["maximum"] = _INTEGERS[column.item]
    if column.item.startswith("timestamp"):
        item["format"] = "date-time"
    elif column.item.startswith("date"):
        item["format"] = "date"
    if not column.width:
        return item
    return {"type": ["array", "null"], "items": item, "minItems": column.width, "maxItems": column.width}


def _closed(properties: Mapping[str, Schema], required: list[str]) -> Schema:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": required,
        "additionalProperties": False,
    }
