"""What the front knows of a model: plain data that a worker makes, for metadata and OpenAPI without Arrow."""

from __future__ import annotations

from typing import Any

import msgspec

__all__ = ["ColumnFacts", "Facts", "FieldFacts", "OptionFacts", "QueryFacts"]


class ColumnFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One column of an answer.

    Args:
        name: Name of the column.
        type: Arrow type, as text.
        item: Arrow type of one value, as text: of the elements of a list, of the values of a dictionary, else `type`.
        json: What a value is in JSON: ``number``, ``integer``, ``boolean`` or ``string``.
        width: Number of elements of a list; 0 for a single value.
    """

    name: str
    type: str
    item: str
    json: str
    width: int = 0


class FieldFacts(ColumnFacts, frozen=True, kw_only=True, omit_defaults=True):
    """One field that a model reads.

    Args:
        kind: Kind of the field, such as ``number`` or ``vector``.
        role: ``model`` or ``condition``.
        missing: Whether a value may be null.
        levels: Values that a category can take, where others are refused and there are few.
        doc: What is worth knowing about the fitted field, such as the range of the rows that it was fitted to.
        range: What a value can be beside its type, in the words of JSON Schema; of a list, each of its elements.
    """

    kind: str
    role: str
    missing: bool = True
    levels: tuple[Any, ...] = ()
    doc: str = ""
    range: dict[str, Any] = {}


class OptionFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One option, or one argument, of a query.

    Args:
        name: Name of the option.
        type: ``integer``, ``number``, ``boolean``, ``string``, ``object`` (field name to value) or ``rows``.
        null: Whether it may be null.
        required: Whether it must be given.
        default: What it is if it is not given.
        doc: What it means.
        range: What a value can be beside its type, in the words of JSON Schema.
        beyond: Whether it has names beyond those of the fields: columns of rows that the query reads all the same, or
            attributes of an object.
    """

    name: str
    type: str
    null: bool = False
    required: bool = False
    default: Any = None
    doc: str = ""
    range: dict[str, Any] = {}
    beyond: bool = False


class QueryFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One query that a model answers.

    Args:
        name: Name of the query.
        doc: One line on what it does.
        rows: Whether it is asked about a table of rows; otherwise its `arguments` are all there is.
        absent: Whether columns of model fields may be left out, and count as missing.
        arguments: What it takes in place of rows: numbers or tables.
        options: Its options.
        columns: Columns of its answer, with default options.
    """

    name: str
    doc: str
    rows: bool
    absent: bool = False
    arguments: tuple[OptionFacts, ...] = ()
    options: tuple[OptionFacts, ...] = ()
    columns: tuple[ColumnFacts, ...] = ()


class Facts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One model as it is served.

    Args:
        name: Name of the model.
        version: First 12 digits of the seal of the bundle's manifest.
        contract: Hash of the contract.
        data: Hash of the data that the model was fitted on.
        vaekit: Release that wrote the bundle.
        created: When it was written, in UTC.
        backend: What runs it.
        fields: Fields that it reads, model fields first.
        queries: Queries that it answers, by name.
    """

    name: str
    version: str
    contract: str
    data: str
    vaekit: str
    created: str
    backend: str
    fields: tuple[FieldFacts, ...]
    queries: dict[str, QueryFacts]
