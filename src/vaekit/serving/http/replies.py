"""How faults are worded over HTTP: bodies, headers, and whole responses where no application is at hand."""

from __future__ import annotations

import math
import secrets
from http import HTTPStatus

import msgspec

from vaekit.serving.http.media import JSON
from vaekit.serving.wire.asking import Fault, Told

__all__ = ["as_json", "fault_body", "fault_headers", "new_id", "refusal"]

_DIGITS, _IDS = 24, 128  # of an id, and how many are drawn at once
_encoder = msgspec.json.Encoder()
_ids: list[str] = []


class _Error(msgspec.Struct, frozen=True):
    kind: str
    message: str
    field: str | None
    row: int | None
    request_id: str


class _Body(msgspec.Struct, frozen=True):
    error: _Error


def as_json(value: object) -> Told:
    """Plain values as an answer in JSON.

    Example:
        >>> as_json({"live": True}).body
        b'{"live":true}'
    """
    return Told(body=_encoder.encode(value), headers={"content-type": JSON})


def new_id() -> str:
    """A fresh request id that nobody can guess."""
    if not _ids:
        drawn = secrets.token_hex(_DIGITS // 2 * _IDS)  # for many at once, since the kernel is slow to be asked
        _ids.extend(drawn[start : start + _DIGITS] for start in range(0, len(drawn), _DIGITS))
    return _ids.pop()


def fault_body(fault: Fault, request_id: str, plain: bool = False) -> bytes:
    r"""The JSON body of a fault.

    Args:
        fault: The fault.
        request_id: Id of the request.
        plain: Word it as the Open Inference Protocol does.

    Example:
        >>> fault_body(Fault(status=404, kind="no_such_model", message="no model 'a'; it serves b"), "7f", plain=True)
        b'{"error":"no model \'a\'; it serves b"}'
        >>> fault_body(Fault(status=422, kind="contract", message="wrong", field="x", row=2), "7f")
        b'{"error":{"kind":"contract","message":"wrong","field":"x","row":2,"request_id":"7f"}}'
    """
    if plain:
        return _encoder.encode({"error": fault.message})
    return _encoder.encode(_Body(_Error(fault.kind, fault.message, fault.field, fault.row, request_id)))


def fault_headers(fault: Fault) -> dict[str, str]:
    """Headers that go with a fault.

    Example:
        >>> fault_headers(Fault(status=429, kind="rate_limit", message="too many", retry_after=0.2))
        {'retry-after': '1'}
    """
    found = {}
    if fault.retry_after is not None:
        found["retry-after"] = str(max(1, math.ceil(fault.retry_after)))
    if fault.status == HTTPStatus.UNAUTHORIZED:
        found["www-authenticate"] = 'Bearer realm="vaekit"'
    return found


def refusal(fault: Fault) -> bytes:
    """A whole response that ends its connection, for a request that is too broken or too large to be one."""
    request_id = new_id()
    body = fault_body(fault, request_id)
    headers = fault_headers(fault) | {
        "content-type": JSON,
        "content-length": str(len(body)),
        "x-request-id": request_id,
        "connection": "close",
    }
    lines = [f"HTTP/1.1 {fault.status} {HTTPStatus(fault.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body
