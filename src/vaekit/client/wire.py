"""How questions are written for the service, and how its answers and errors are read."""

from __future__ import annotations

import os
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from vaekit.client.exchange import Call, Reply
from vaekit.client.retry import retry_after
from vaekit.errors import BundleError, ConfigError, ContractError, QueryError, ServingError, VaekitError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "ARROW",
    "JSON",
    "arrow_stream",
    "authorization",
    "error_of",
    "feedback",
    "json_rows",
    "located",
    "message",
    "parameters",
    "plain_question",
    "read_json",
    "read_table",
    "request_ids",
    "row_question",
    "with_request_ids",
]

ARROW = "application/vnd.apache.arrow.stream"
JSON = "application/json"
_KEY = "VAEKIT_API_KEY"
_IDS = b"vaekit.requests"  # key under which an answer remembers the requests that it came from
_ERRORS: dict[str, type[VaekitError]] = {kind.__name__: kind for kind in (BundleError, ConfigError, QueryError)}
_ERRORS |= {"bad_option": ConfigError, "no_such_query": QueryError}  # what the service sees before the model does


# ------------------------------------------------------------------------------------------------------------ questions


def row_question(model: str, query: str, rows: pa.Table, options: Mapping[str, Any], media: str = ARROW) -> Call:
    """A question about rows, with options in the URL.

    Args:
        model: Name of the model.
        query: Name of the query.
        rows: The rows.
        options: Options of the query.
        media: How rows and answer are written, `ARROW` or `JSON`.
    """
    body = arrow_stream(rows) if media == ARROW else _encode({"rows": json_rows(rows)})
    return Call("POST", _path(model, query), parameters(options), {"content-type": media, "accept": media}, body)


def plain_question(model: str, query: str, arguments: Mapping[str, Any], options: Mapping[str, Any]) -> Call:
    """A question about something else than one table: JSON.

    Args:
        model: Name of the model.
        query: Name of the query.
        arguments: What the query is asked about, by name.
        options: Options of the query.
    """
    body = _encode({**arguments, "options": dict(options)})
    return Call("POST", _path(model, query), headers={"content-type": JSON, "accept": ARROW}, body=body)


def feedback(said: Mapping[str, Any]) -> Call:
    """What is said of an answer; nothing is sent of what is None."""
    body = _encode({name: value for name, value in said.items() if value is not None})
    return Call("POST", "/v1/feedback", headers={"content-type": JSON}, body=body)


def authorization(key: str | None) -> dict[str, str]:
    """The header that says who asks; without a key that of the environment, if there is one.

    Example:
        >>> authorization("secret")
        {'authorization': 'Bearer secret'}
    """
    key = os.environ.get(_KEY) if key is None else key
    return {"authorization": f"Bearer {key}"} if key else {}


def parameters(options: Mapping[str, Any]) -> dict[str, str]:
    """Options as parameters of a URL: text as it is, everything else as JSON.

    Example:
        >>> parameters({"attribution": True, "path": "linear", "alpha": 0.01})
        {'attribution': 'true', 'path': 'linear', 'alpha': '0.01'}
    """
    return {name: value if isinstance(value, str) else _encode(value).decode() for name, value in options.items()}


def message(call: Call, url: urllib.parse.SplitResult, headers: Mapping[str, str]) -> bytes:
    r"""A request as a whole HTTP/1.1 message.

    Args:
        call: The request.
        url: Address of the service.
        headers: Headers beside its own.

    Example:
        >>> message(Call("POST", "/a", {"b": "1"}, body=b"hi"), urllib.parse.urlsplit("http://h:1"), {"accept": "c"})
        b'POST /a?b=1 HTTP/1.1\r\nhost: h:1\r\naccept: c\r\ncontent-length: 2\r\n\r\nhi'
    """
    target = url.path.rstrip("/") + call.path + (f"?{urllib.parse.urlencode(call.params)}" if call.params else "")
    named = {"host": url.netloc.rpartition("@")[2], **call.headers, **headers, "content-length": str(len(call.body))}
    lines = [f"{call.method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in named.items())]
    return "\r\n".join([*lines, "", ""]).encode() + call.body


def arrow_stream(table: pa.Table) -> bytes:
    """A table as an Arrow IPC stream."""
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    found: bytes = sink.getvalue().to_pybytes()
    return found


def json_rows(table: pa.Table) -> list[dict[str, Any]]:
    """A table as objects that `plain_question` can write."""
    found: list[dict[str, Any]] = table.to_pylist()
    return found


def _path(model: str, query: str) -> str:
    return f"/v1/models/{urllib.parse.quote(model, safe='')}/{urllib.parse.quote(query, safe='')}"


def _encode(value: Any) -> bytes:
    """JSON; NaN becomes null, dates ISO 8601, what JSON does not know text."""
    return msgspec.json.encode(value, enc_hook=_plain)


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)  # a NumPy scalar, else text


# -------------------------------------------------------------------------------------------------------------- answers


def read_table(reply: Reply) -> pa.Table:
    """The table of an answer.

    Raises:
        VaekitError: If the reply is an error, or no Arrow stream.
    """
    import pyarrow as pa

    if reply.status >= 300:
        raise error_of(reply)
    try:
        return pa.ipc.open_stream(reply.body).read_all()
    except (pa.ArrowInvalid, OSError) as error:
        raise _unreadable(reply, f"an Arrow stream ({error})") from error


def read_json(reply: Reply) -> Any:
    """The JSON document of an answer.

    Raises:
        VaekitError: If the reply is an error, or no JSON.
    """
    if reply.status >= 300:
        raise error_of(reply)
    try:
        return msgspec.json.decode(reply.body)
    except msgspec.DecodeError as error:
        raise _unreadable(reply, f"JSON ({error})") from error


def error_of(reply: Reply) -> VaekitError:
    """The exception that an error of the service means: the one that it was raised as there, else a `ServingError`.

    Example:
        >>> body = b'{"error": {"kind": "ContractError", "message": "is infinite", "field": "x", "row": 3}}'
        >>> error_of(Reply(422, {}, body))
        ContractError("is infinite (field 'x', row 3)")
        >>> error_of(Reply(502, {}, b"<html>bad gateway</html>")).status
        502
    """
    try:
        told = msgspec.json.decode(reply.body)["error"]
        kind, message = str(told["kind"]), str(told["message"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return _unreadable(reply, "an answer of vaekit")
    request_id = reply.headers.get("x-request-id", "")
    if kind == ContractError.__name__:
        return _contract_error(message, told.get("field"), told.get("row"))
    if kind in _ERRORS:
        return _ERRORS[kind](message)
    wait = retry_after(reply.headers.get("retry-after"))
    return ServingError(message, status=reply.status, kind=kind, request_id=request_id, retry_after=wait)


def _contract_error(message: str, field: str | None, row: int | None) -> ContractError:
    """The error with its place, which the message may name already, once."""
    place = str(ContractError("", field=field, row=row))
    return ContractError(message.replace(place, "", 1) if place else message, field=field, row=row)


def _unreadable(reply: Reply, expected: str) -> ServingError:
    got = reply.body[:200].decode("utf-8", "replace")
    return ServingError(
        f"expected {expected}, got {got!r}; is this the address of a vaekit service?",
        status=reply.status,
        kind="unreadable",
        request_id=reply.headers.get("x-request-id", ""),
    )


# ---------------------------------------------------------------------------------------------------------- request ids


def with_request_ids(table: pa.Table, requests: Sequence[tuple[str, int]]) -> pa.Table:
    """An answer that remembers which requests it came from.

    Args:
        table: The answer.
        requests: Id and number of rows of each request, in order.
    """
    metadata = {**(table.schema.metadata or {}), _IDS: msgspec.json.encode(requests)}
    return table.replace_schema_metadata(metadata)


def request_ids(answer: pa.Table) -> list[tuple[str, int]]:
    """Which requests an answer came from: the id of each and how many rows it was about, in order.

    Args:
        answer: A table that a `Client` or `AsyncClient` returned.

    Raises:
        ConfigError: If it is no such table.

    Example:
        >>> import pyarrow as pa
        >>> request_ids(with_request_ids(pa.table({"score": [1.0]}), [("4f1c", 1)]))
        [('4f1c', 1)]
    """
    metadata = answer.schema.metadata or {}
    if _IDS not in metadata:
        raise ConfigError("expected an answer of a client, got a table that remembers no request")
    return msgspec.json.decode(metadata[_IDS], type=list[tuple[str, int]])


def located(answer: pa.Table, row: int | None) -> tuple[str, int | None]:
    """The request that a row of an answer came from, and the row within it.

    Args:
        answer: An answer of a client.
        row: Zero-based row of what was asked; None for the answer as a whole.

    Raises:
        ConfigError: If there is no such row, or the whole is meant and came from several requests.

    Example:
        >>> import pyarrow as pa
        >>> answer = with_request_ids(pa.table({"score": [1.0, 2.0, 3.0]}), [("4f1c", 2), ("77ab", 1)])
        >>> located(answer, 2)
        ('77ab', 0)
    """
    requests = request_ids(answer)
    if row is None:
        if len(requests) != 1:
            raise ConfigError(f"the answer came from {len(requests)} requests; say which row is meant")
        return requests[0][0], None
    first = 0
    for request, rows in requests:
        if 0 <= row - first < rows:
            return request, row - first
        first += rows
    raise ConfigError(f"row {row} is not one of the {first} that were asked about")
