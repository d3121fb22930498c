"""The Open Inference Protocol over gRPC: messages with tensors as typed contents, or as bytes behind them.

An answer is written as its question was: typed contents to typed contents, else bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from vaekit.serving.wire.inference import GRPC
from vaekit.serving.worker.formats.base import Answer, Parsed, reader, writer
from vaekit.serving.worker.formats.tensors import DTYPES, Tensor, bytes_of, numbers, outputs_of, tensor, texts_of
from vaekit.serving.worker.formats.v2 import parsed
from vaekit.serving.worker.refusals import Refusal

if TYPE_CHECKING:
    from vaekit.serving.wire.asking import Ask
    from vaekit.serving.wire.frames import Buffer
    from vaekit.serving.worker.hosted import Hosted

__all__ = ["read_v2_grpc", "write_v2_grpc"]

# The field of InferTensorContents that holds the elements of a data type.
CONTENTS = {"BOOL": "bool_contents", "INT64": "int64_contents", "UINT64": "uint64_contents", "BYTES": "bytes_contents"}
CONTENTS |= {f"INT{bits}": "int_contents" for bits in (8, 16, 32)} | {"FP32": "fp32_contents", "FP64": "fp64_contents"}
CONTENTS |= {f"UINT{bits}": "uint_contents" for bits in (8, 16, 32)}


@reader(GRPC)
def read_v2_grpc(body: Buffer, ask: Ask, hosted: Hosted) -> Parsed:
    """A ModelInferRequest."""
    from google.protobuf.message import DecodeError  # only where somebody speaks gRPC

    from vaekit.serving.rpc.messages import message

    try:
        request = message("inference.ModelInferRequest").FromString(bytes(body))
    except DecodeError as error:
        raise Refusal(400, "bad_body", "the message is not a ModelInferRequest") from error
    contents = request.raw_input_contents
    if contents and len(contents) != len(request.inputs):
        raise Refusal(
            400, "bad_tensor", f"raw_input_contents: {len(contents)} contents of {len(request.inputs)} inputs"
        )
    tensors = []
    for at, one in enumerate(request.inputs):
        _no_parameters(f"input {one.name!r}", one.parameters)
        if contents and one.HasField("contents"):
            raise Refusal(400, "bad_tensor", f"input {one.name!r} has contents, and raw_input_contents too")
        values = _raw(one, contents[at]) if contents else _typed(one)
        tensors.append(tensor(one.name, one.datatype, one.shape, values))
    for output in request.outputs:
        _no_parameters(f"output {output.name!r}", output.parameters)
    typed = bool(tensors) and not contents
    outputs = [output.name for output in request.outputs] or None
    parameters = {name: _value(name, choice) for name, choice in request.parameters.items()}
    return parsed(tensors, parameters, hosted, {"id": request.id, "typed": typed, "outputs": outputs})


def _raw(one: Any, content: bytes) -> Any:
    """The elements of a tensor from bytes."""
    return texts_of(one.name, content) if one.datatype == "BYTES" else numbers(one.name, one.datatype, content)


def _typed(one: Any) -> Any:
    """The elements of a tensor from typed contents."""
    known = CONTENTS.get(one.datatype)
    if known is None:
        raise Refusal(
            400,
            "bad_tensor",
            f"input {one.name!r}: there are no typed contents of {one.datatype!r}, only of {', '.join(CONTENTS)}; "
            "FP16 is sent in raw_input_contents",
        )
    if other := [field.name for field, _ in one.contents.ListFields() if field.name != known]:
        raise Refusal(400, "bad_tensor", f"input {one.name!r} of {one.datatype}: expected {known}, got {other[0]}")
    values = getattr(one.contents, known)
    if one.datatype == "BYTES":
        return _texts(one.name, values)
    wide = np.array(values)  # in the type of the field, which holds several narrower ones
    found = wide.astype(DTYPES[one.datatype])
    if found.dtype.kind in "iu" and not np.array_equal(found, wide):
        raise Refusal(400, "bad_tensor", f"input {one.name!r}: a value is beyond {one.datatype}")
    return found


def _texts(name: str, values: Iterable[bytes]) -> list[str | None]:
    found: list[str | None] = []
    for value in values:
        try:
            found.append(value.decode())
        except UnicodeDecodeError as error:
            raise Refusal(400, "bad_tensor", f"input {name!r}: element {len(found)} is not UTF-8") from error
    return found


def _no_parameters(where: str, parameters: Iterable[str]) -> None:
    """Refuse parameters of tensors: nothing is silently left out, and shared memory is not offered."""
    if names := sorted(parameters):
        raise Refusal(400, "bad_tensor", f"{where} has the parameter {names[0][:80]!r}; tensors have none here")


def _value(name: str, choice: Any) -> Any:
    """The value of a parameter."""
    kind = choice.WhichOneof("parameter_choice")
    if kind is None:
        raise Refusal(400, "bad_option", f"parameter {name[:80]!r} has no value")
    return getattr(choice, kind)


@writer(GRPC)
def write_v2_grpc(answer: Answer, parsed: Parsed, ask: Ask, hosted: Hosted) -> tuple[bytes, dict[str, str]]:
    """A ModelInferResponse."""
    from vaekit.serving.rpc.messages import message

    model = hosted.facts
    response = message("inference.ModelInferResponse")(
        model_name=model.name, model_version=model.version, id=parsed.extra["id"]
    )
    for one in outputs_of(answer.table, parsed.extra["outputs"], answer.whole.whites):
        _write(response, one, typed=parsed.extra["typed"])
    return response.SerializeToString(), {}


def _write(response: Any, one: Tensor, *, typed: bool) -> None:
    values = one.values
    if not typed:
        response.outputs.add(name=one.name, datatype=one.datatype, shape=one.shape)
        response.raw_output_contents.append(bytes_of(values) if isinstance(values, list) else values.tobytes())
        return
    kind = "FP32" if one.datatype == "FP16" else one.datatype  # FP16 has no typed contents
    output = response.outputs.add(name=one.name, datatype=kind, shape=one.shape)
    elements = [(text or "").encode() for text in values] if isinstance(values, list) else values.tolist()
    getattr(output.contents, CONTENTS[kind]).extend(elements)
