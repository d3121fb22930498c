"""What the Open Inference Protocol says of a server and its models: names, data types and shapes, for every host.

References:
    https://github.com/kserve/open-inference-protocol.
"""

from __future__ import annotations

from typing import Any

from vaekit.serving.wire.facts import ColumnFacts, Facts
from vaekit.version import __version__

__all__ = [
    "DENSE",
    "EXTENSIONS",
    "GRPC",
    "LENGTH",
    "QUERY",
    "SERVICE",
    "TENSORS",
    "datatype",
    "is_dense",
    "model_metadata",
    "server_metadata",
]

TENSORS = "application/vnd.vaekit.tensors"  # the format of bodies between front and worker
GRPC = "application/vnd.vaekit.tensors+grpc"  # the same over gRPC: a ModelInferRequest as it came, and its answer
SERVICE = "inference.GRPCInferenceService"
QUERY = "score"  # what is asked where a request has no parameter `query`
DENSE = "rows"  # name of the tensor that holds all fields at once
LENGTH = "inference-header-content-length"  # header: bytes of the JSON part of a body with binary tensors
EXTENSIONS = ("binary_tensor_data",)
_ITEMS = {"double": "FP64", "float": "FP32", "halffloat": "FP16"}
_ITEMS |= {f"{sign}int{bits}": f"{sign}int{bits}".upper() for sign in ("", "u") for bits in (8, 16, 32, 64)}
_PLAIN = {"number": "FP64", "integer": "INT64", "boolean": "BOOL", "string": "BYTES"}


def datatype(column: ColumnFacts) -> str:
    """The data type of the tensor for a column.

    Example:
        >>> datatype(ColumnFacts(name="when", type="timestamp[us]", item="timestamp[us]", json="string"))
        'BYTES'
    """
    return _ITEMS.get(column.item, _PLAIN[column.json])


def is_dense(facts: Facts) -> bool:
    """Whether all fields are single numbers, so that rows can come as one matrix."""
    return all(field.json in ("number", "integer") and not field.width for field in facts.fields)


def server_metadata() -> dict[str, Any]:
    """What the server is."""
    return {"name": "vaekit", "version": __version__, "extensions": list(EXTENSIONS)}


def model_metadata(facts: Facts) -> dict[str, Any]:
    """The tensors that a model takes, one per field, and those that it gives if nothing else is asked.

    Fields of which no value needs to be there may be left out; a model whose fields are all single numbers also takes
    one tensor ``rows`` of shape [-1, fields] in their place.
    """
    query = facts.queries.get(QUERY) or next(iter(facts.queries.values()))
    return {
        "name": facts.name,
        "versions": [facts.version],
        "platform": f"vaekit_{facts.backend}",
        "inputs": [_tensor(field) for field in facts.fields],
        "outputs": [_tensor(column) for column in query.columns],
    }


def _tensor(column: ColumnFacts) -> dict[str, Any]:
    shape = [-1, column.width] if column.width else [-1]
    return {"name": column.name, "datatype": datatype(column), "shape": shape}
