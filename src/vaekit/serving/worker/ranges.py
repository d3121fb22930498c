"""What values can be beside their types, in the words of JSON Schema: of options and of fields.

Documents are made of it; what is refused is decided by the queries and the contract alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pyarrow as pa

from vaekit.queries.conformal import attainable
from vaekit.serving.wire.facts import OptionFacts

if TYPE_CHECKING:
    from vaekit.runtime import Engine
    from vaekit.serving.wire.messages import Limits
    from vaekit.serving.worker.cells import Cells

__all__ = ["POSITIONS", "field_range", "ranged"]

POSITIONS = 2**53  # whole numbers below are exact in every JSON parser

_FINITE = 1e100  # numbers beyond are taken for infinite
_SHARE = {"exclusiveMinimum": 0, "exclusiveMaximum": 1}
_ABOVE = {"exclusiveMinimum": 0}


def ranged(query: str, option: OptionFacts, engine: Engine, limits: Limits) -> OptionFacts:
    """An option with what its value can be.

    Args:
        query: Name of the query.
        option: The option.
        engine: The model.
        limits: What a request may ask for.
    """
    condition = list(engine.contract.names("condition"))
    if option.name == "given":
        if not condition:
            return option
        return msgspec.structs.replace(option, range={"required": condition}, required=True, null=False)
    if option.name == "at" and condition:
        return msgspec.structs.replace(option, required=True)
    if option.name == "alpha":
        least = attainable(engine, "anomaly")
        return msgspec.structs.replace(
            option, range={"minimum": least, "exclusiveMaximum": 1}, required=not least <= option.default < 1
        )
    ranges: dict[str, dict[str, Any]] = {
        "samples": {"minimum": 1, "maximum": limits.max_samples},
        "draws": {"minimum": 1, "maximum": limits.max_rows},
        "steps": {"minimum": 2 if query == "interpolate" else 1, "maximum": limits.max_rows},
        "dim": {"minimum": 0, "maximum": sum(engine.architecture.groups.values()) - 1},
        "n": {"minimum": 0, "maximum": limits.max_rows},
        "first": {"minimum": 0, "maximum": POSITIONS - 1},
        "path": {"enum": ["linear", "spherical"]},
        "interval": _SHARE,
        "temperature": _ABOVE,
        "truncation": _ABOVE,
        "reach": _ABOVE,
    }
    return msgspec.structs.replace(option, range=ranges.get(option.name, {}))


def field_range(cells: Cells) -> dict[str, Any]:
    """What a value of a field can be; of a list, each of its elements."""
    item, field = cells.item, cells.field
    if field.kind == "category":  # its levels say
        return {}
    if field.kind == "image":
        return {"contentEncoding": "base64", "contentMediaType": "image/png"}
    if cells.json == "number":
        most = min(_FINITE, float(np.finfo(item.to_pandas_dtype()).max)) if pa.types.is_floating(item) else _FINITE
        found: dict[str, Any] = {"exclusiveMinimum": -most, "exclusiveMaximum": most}
    elif cells.json == "integer":
        kind = np.iinfo(item.to_pandas_dtype())
        found = {"minimum": int(kind.min), "maximum": int(kind.max)}
    else:
        found = {}
    if field.kind == "count":
        found = {name: value for name, value in found.items() if "inimum" not in name} | {"minimum": 0}
    if field.kind == "vector" and getattr(field, "likelihood", "") == "bernoulli" and field.role == "model":
        return {"enum": [0, 1]}
    return found
