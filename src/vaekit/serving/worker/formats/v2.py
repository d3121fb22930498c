"""The Open Inference Protocol over REST: JSON, with tensors in it or as bytes behind it.

References:
    https://github.com/kserve/open-inference-protocol, specification/protocol/inference_rest.md.
    https://docs.nvidia.com/deeplearning/triton-inference-server, extension_binary_data.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from vaekit.serving.wire.inference import LENGTH, QUERY, TENSORS
from vaekit.serving.worker.formats.base import Answer, Parsed, reader, writer
from vaekit.serving.worker.formats.tensors import (
    DTYPES,
    Tensor,
    bytes_of,
    numbers,
    outputs_of,
    rows_of,
    tensor,
    texts_of,
)
from vaekit.serving.worker.options import checked
from vaekit.serving.worker.refusals import Refusal

if TYPE_CHECKING:
    from vaekit.serving.wire.asking import Ask
    from vaekit.serving.wire.frames import Buffer
    from vaekit.serving.worker.hosted import Hosted

__all__ = ["parsed", "read_v2", "write_v2"]

Parameters = dict[str, Any] | None


class Input(msgspec.Struct):
    """One tensor of a request."""

    name: str
    shape: list[int]
    datatype: str
    parameters: Parameters = None
    data: msgspec.Raw = msgspec.Raw(b"null")


class Output(msgspec.Struct):
    """One tensor that is asked for."""

    name: str
    parameters: Parameters = None


class Inference(msgspec.Struct):
    """A request."""

    id: str = ""
    parameters: Parameters = None
    inputs: list[Input] | None = None
    outputs: list[Output] | None = None


_decoder = msgspec.json.Decoder(Inference)
_floats = msgspec.json.Decoder(list[float])


@reader(TENSORS)
def read_v2(body: Buffer, ask: Ask, hosted: Hosted) -> Parsed:
    """A request in JSON, and the bytes of its binary tensors behind it."""
    length = _length(ask.headers.get(LENGTH), len(body))
    view = memoryview(body)
    try:
        request = _decoder.decode(view[:length])
        tensors, rest = [], view[length:]
        for one in request.inputs or ():
            size = (one.parameters or {}).get("binary_data_size")
            if size is None:
                values = _plain(one)
            else:
                if not isinstance(size, int) or not 0 <= size <= len(rest):
                    raise Refusal(400, "bad_tensor", f"input {one.name!r}: {len(rest)} bytes are left, not {size!r}")
                content, rest = rest[:size], rest[size:]
                values = (
                    texts_of(one.name, content) if one.datatype == "BYTES" else numbers(one.name, one.datatype, content)
                )
            tensors.append(tensor(one.name, one.datatype, one.shape, values))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Refusal(400, "bad_body", f"the body is not an inference request: {error}") from error
    if len(rest):
        raise Refusal(400, "bad_tensor", f"{len(rest)} bytes are left over behind the tensors")
    parameters = dict(request.parameters or {})
    binary = parameters.pop("binary_data_output", False)
    outputs = None
    if request.outputs:
        outputs = {one.name: (one.parameters or {}).get("binary_data", binary) for one in request.outputs}
    return parsed(tensors, parameters, hosted, {"id": request.id, "binary": binary, "outputs": outputs})


def parsed(tensors: list[Tensor], parameters: dict[str, Any], hosted: Hosted, extra: dict[str, Any]) -> Parsed:
    """A request that was taken apart.

    Args:
        tensors: Its inputs.
        parameters: Its parameters: ``query`` says which query, the others are its options.
        hosted: The model.
        extra: What its writer needs to know.

    Raises:
        Refusal: If a parameter is unknown or has a wrong value, or the tensors hold no rows of the model.
    """
    name = parameters.pop("query", QUERY)
    facts = hosted.query(str(name))
    texts = {key: value for key, value in parameters.items() if isinstance(value, str)}
    known = (*facts.arguments, *facts.options)
    options = checked(known, {key: v for key, v in parameters.items() if key not in texts}, facts.name, text=False)
    options |= checked(known, texts, facts.name, text=True)  # the protocol has no other way to write some of them
    if facts.rows:
        if not tensors:
            raise Refusal(400, "bad_tensor", f"inputs are needed: {', '.join(hosted.cells)}")
        return Parsed(facts.name, rows_of(tensors, hosted), {}, options, extra)
    if tensors or any(one.type == "rows" and one.required for one in facts.arguments):
        raise Refusal(400, "bad_tensor", f"query {facts.name!r} takes no inputs here; ask it under /v1/models")
    arguments = {one.name: options.pop(one.name) for one in facts.arguments if one.name in options}
    return Parsed(facts.name, None, arguments, options, extra)


def _length(header: str | None, size: int) -> int:
    """Bytes of the JSON part."""
    if header is None:
        return size
    if not header.isascii() or not header.isdigit() or int(header) > size:
        raise Refusal(400, "bad_body", f"{LENGTH} is at most the {size} bytes of the body, got {header[:40]!r}")
    return int(header)


def _plain(one: Input) -> Any:
    """The elements of a tensor that is written in JSON, nested or not."""
    if one.datatype in ("FP32", "FP64"):
        try:
            return np.array(_floats.decode(one.data), DTYPES[one.datatype])
        except msgspec.ValidationError:  # nested, or with missing elements
            pass
    values: list[Any] = []
    _flatten(msgspec.json.decode(one.data), values, one.name)
    if one.datatype == "BYTES":
        if any(value is not None and not isinstance(value, str) for value in values):
            raise Refusal(400, "bad_tensor", f"input {one.name!r}: BYTES in JSON are strings")
        return values
    if one.datatype not in DTYPES:
        return numbers(one.name, one.datatype, b"")  # which says what is known
    kinds = (bool,) if one.datatype == "BOOL" else (int, float) if one.datatype.startswith("FP") else (int,)
    if bad := [value for value in values if value is not None and type(value) not in kinds]:
        raise Refusal(400, "bad_tensor", f"input {one.name!r}: {bad[0]!r:.80} is no {one.datatype}")
    if None in values:
        return np.array([math.nan if value is None else value for value in values], np.float64)
    try:
        return np.array(values, DTYPES[one.datatype])
    except OverflowError as error:
        raise Refusal(400, "bad_tensor", f"input {one.name!r}: a value is beyond {one.datatype}") from error


def _flatten(value: Any, into: list[Any], name: str) -> None:
    if not isinstance(value, list):
        raise Refusal(400, "bad_tensor", f"input {name!r} has no data: a list, or bytes of a size in binary_data_size")
    for one in value:
        if isinstance(one, list):
            _flatten(one, into, name)
        else:
            into.append(one)


@writer(TENSORS)
def write_v2(answer: Answer, parsed: Parsed, ask: Ask, hosted: Hosted) -> tuple[bytes, dict[str, str]]:
    """The answer, with those tensors behind the JSON that were asked for so."""
    table = answer.table
    wanted = parsed.extra["outputs"] or dict.fromkeys(table.column_names, parsed.extra["binary"])
    told: list[dict[str, Any]] = []
    contents: list[bytes] = []
    for one in outputs_of(table, wanted, answer.whole.whites):
        facts: dict[str, Any] = {"name": one.name, "datatype": one.datatype, "shape": one.shape}
        if wanted[one.name]:
            content = bytes_of(one.values) if isinstance(one.values, list) else one.values.tobytes()
            facts["parameters"] = {"binary_data_size": len(content)}
            contents.append(content)
        else:
            facts |= {"data": one.written, "datatype": "FP32" if one.datatype == "FP16" else one.datatype}
        told.append(facts)
    model = hosted.facts
    head = {"model_name": model.name, "model_version": model.version, "outputs": told}
    if parsed.extra["id"]:
        head["id"] = parsed.extra["id"]
    body = msgspec.json.encode(head)
    if not contents:
        return body, {"content-type": "application/json"}
    return b"".join([body, *contents]), {"content-type": "application/octet-stream", LENGTH: str(len(body))}
