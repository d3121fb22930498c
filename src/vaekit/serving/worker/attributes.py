"""Columns of rows in JSON beyond the fields of a model: attributes that a query learns about."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pyarrow as pa

from vaekit.errors import ContractError

__all__ = ["attributes"]

_WORDS = {str: "a text", bool: "a boolean", int: "a number", float: "a number"}
_WHOLE = 2**53  # whole numbers below are exact as floating-point numbers too


def attributes(rows: Sequence[Mapping[str, Any]], fields: Collection[str]) -> dict[str, pa.Array]:
    """The columns that are no fields: text, numbers or booleans; a row that lacks one has no value there.

    Args:
        rows: Rows as objects of names and plain values.
        fields: Names that are fields.

    Raises:
        ContractError: A value is a list or an object, or of another kind than those before it.

    Example:
        >>> found = attributes([{"x": 1.5, "digit": "d3"}, {"x": 2.5, "digit": "d7"}, {"x": 3.5}], {"x"})
        >>> found["digit"].to_pylist()
        ['d3', 'd7', None]
    """
    names = dict.fromkeys(name for row in rows for name in row if name not in fields)
    return {name: _column(name, [row.get(name) for row in rows]) for name in names}


def _column(name: str, values: Sequence[Any]) -> pa.Array:
    told = ""
    for row, value in enumerate(values):
        if value is None:
            continue
        kind = _WORDS.get(type(value), "")
        if not kind or (told and kind != told):
            expected = f"{told}, as in the rows before" if told else "a text, a number or a boolean"
            raise ContractError(
                "attribute has the wrong type", field=name, row=row, expected=expected, got=f"{value!r:.80}"
            )
        told = kind
    whole = all(type(one) is int and abs(one) < _WHOLE for one in values if one is not None)
    if told == "a number" and not whole:
        return pa.array([None if one is None else float(one) for one in values], pa.float64())
    return pa.array(values)
