"""ModelInferRequests in the worker: what is read, what is refused, and that nothing else happens to broken ones."""

import struct

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.support import zoo
from vaekit.errors import VaekitError
from vaekit.queries import query
from vaekit.serving.batching.stored import read_bundle
from vaekit.serving.rpc.messages import message
from vaekit.serving.wire.asking import Ask
from vaekit.serving.wire.inference import GRPC
from vaekit.serving.wire.messages import Limits
from vaekit.serving.worker.answering import Answering
from vaekit.serving.worker.formats.v2_grpc import CONTENTS, read_v2_grpc
from vaekit.serving.worker.hosted import Hosted
from vaekit.serving.worker.refusals import Refusal, fault_of

__all__ = ["zoo"]

Infer, Answer = message("inference.ModelInferRequest"), message("inference.ModelInferResponse")
FIELDS = {"dep_delay": 3.0, "arr_delay": 1.0, "distance": 500, "air_time": 80.0, "carrier": "UA", "origin": "JFK"}
FIELDS |= {"hour": 9.0, "evening": False}
KINDS = {float: "FP64", int: "INT64", str: "BYTES", bool: "BOOL"}
ASK = Ask(id="r", model="flights", query="infer", takes=GRPC, gives=GRPC)


@pytest.fixture(scope="module")
def hosted(zoo):
    stored = read_bundle("flights", zoo["flights"].bundle, "onnx")
    limits = Limits(max_rows=1000, max_batch_rows=1000, max_samples=100, max_pixels=1)
    return Hosted(stored.packed, dict(zip(stored.packed.files, stored.files, strict=True)), limits)


def request_of(rows=1, typed=True, **changes):
    """A request about some equal rows."""
    request = Infer(model_name="flights", id="mine")
    for name, value in (FIELDS | changes).items():
        kind = KINDS[type(value)]
        value = value.encode() if isinstance(value, str) else value
        one = request.inputs.add(name=name, datatype=kind, shape=[rows])
        if typed:
            getattr(one.contents, CONTENTS[kind]).extend([value] * rows)
        elif kind == "BYTES":
            request.raw_input_contents.append((struct.pack("<I", len(value)) + value) * rows)
        else:
            request.raw_input_contents.append(
                np.array([value] * rows, {"FP64": "<f8", "INT64": "<i8", "BOOL": "?"}[kind]).tobytes()
            )
    return request


def tensors(hosted, request):
    """The tensors that were read, as a table."""
    return read_v2_grpc(request.SerializeToString(), ASK, hosted).rows.table.to_pydict()


def answer(hosted, request):
    told = Answering({"flights": hosted}).answer([ASK], [request.SerializeToString()])[0][0]
    assert told.fault is None, told.fault
    return Answer.FromString(told.body), told


def test_typed_and_raw_contents_hold_the_same_rows(hosted):
    typed = tensors(hosted, request_of(3))
    assert typed == tensors(hosted, request_of(3, typed=False))
    assert typed["carrier"] == ["UA"] * 3
    assert typed["distance"] == [500] * 3


@pytest.mark.parametrize(
    "kind", ["INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64", "FP32", "FP64"]
)
def test_each_type_of_number_is_read(hosted, kind):
    request = request_of()
    for one in request.inputs:
        if one.name == "dep_delay":
            one.datatype = kind
            one.contents.Clear()
            getattr(one.contents, CONTENTS[kind]).append(7)
    assert tensors(hosted, request)["dep_delay"] == [7.0]


def test_half_precision_comes_raw_and_goes_raw_or_as_singles(hosted):
    request = request_of(typed=False)
    request.inputs[0].datatype = "FP16"
    request.raw_input_contents[0] = np.array([1.5], "<f2").tobytes()
    assert tensors(hosted, request)["dep_delay"] == [1.5]
    typed = request_of()
    typed.inputs[0].datatype = "FP16"
    with pytest.raises(Refusal, match="raw_input_contents"):
        tensors(hosted, typed)


@pytest.mark.parametrize("typed", [True, False])
def test_an_answer_is_written_as_its_question_was(hosted, typed):
    response, told = answer(hosted, request_of(2, typed))
    assert (response.id, response.model_name, response.model_version) == ("mine", "flights", hosted.facts.version)
    assert (told.rows, told.query) == (2, "score")
    assert [output.name for output in response.outputs] == ["score", "p_value"]
    values = [
        list(output.contents.fp64_contents) if typed else np.frombuffer(content, "<f8").tolist()
        for output, content in zip(response.outputs, response.raw_output_contents or [b""] * 2, strict=True)
    ]
    assert bool(response.raw_output_contents) is not typed
    assert all(list(output.shape) == [2] for output in response.outputs)

    rows = pa.table({name: [value] * 2 for name, value in FIELDS.items()})

    expected = query(hosted.engine, "score", rows)
    assert values[0] == pytest.approx(expected["score"].to_pylist(), rel=1e-5)


@pytest.mark.parametrize("typed", [True, False])
def test_text_goes_out_as_it_came_in(hosted, typed):
    request = request_of(2, typed)
    request.parameters["query"].string_param = "impute"
    response, _ = answer(hosted, request)
    names = [output.name for output in response.outputs]
    at = names.index("carrier")
    if typed:
        assert list(response.outputs[at].contents.bytes_contents) == [b"UA", b"UA"]
    else:
        assert response.raw_output_contents[at] == b"\x02\0\0\0UA" * 2


def test_parameters_of_every_type_are_taken(hosted):
    request = request_of()
    request.parameters["query"].string_param = "score"
    request.parameters["attribution"].bool_param = True
    request.parameters["samples"].int64_param = 3
    request.parameters["seed"].uint64_param = 5
    found = read_v2_grpc(request.SerializeToString(), ASK, hosted)
    assert (found.query, found.options) == ("score", {"attribution": True, "samples": 3, "seed": 5})
    detect = request_of()
    detect.parameters["query"].string_param = "detect"
    detect.parameters["alpha"].double_param = 0.25
    assert read_v2_grpc(detect.SerializeToString(), ASK, hosted).options == {"alpha": 0.25}


def no_contents(request):
    request.inputs[0].ClearField("contents")


def other_contents(request):
    request.inputs[0].contents.Clear()
    request.inputs[0].contents.fp32_contents.append(1.0)


def both_contents(request):
    request.raw_input_contents.extend([b""] * len(request.inputs))


def too_few_raw(request):
    for one in request.inputs:
        one.ClearField("contents")
    request.raw_input_contents.append(b"\0" * 8)


def shape_is_another(request):
    request.inputs[0].shape[0] = 2


def shape_is_negative(request):
    request.inputs[0].shape[0] = -1


def shape_is_huge(request):
    request.inputs[0].shape.extend([2**62, 2**62])


def unknown_type(request):
    request.inputs[0].datatype = "FP12"


def number_beyond_its_type(request):
    request.inputs[0].datatype = "INT8"
    request.inputs[0].contents.Clear()
    request.inputs[0].contents.int_contents.append(1000)


def text_is_no_utf8(request):
    next(one for one in request.inputs if one.name == "carrier").contents.bytes_contents[0] = b"\xff"


def unknown_input(request):
    request.inputs[0].name = "nobody"


def twice_the_same(request):
    request.inputs.add().CopyFrom(request.inputs[0])


def parameter_without_a_value(request):
    request.parameters["samples"].SetInParent()


def unknown_parameter(request):
    request.parameters["smaples"].int64_param = 3


def unknown_query(request):
    request.parameters["query"].string_param = "absent"


def parameter_of_a_tensor(request):
    request.inputs[0].parameters["shared_memory_region"].string_param = "x"


def parameter_of_an_output(request):
    request.outputs.add(name="score").parameters["classification"].int64_param = 3


def no_inputs(request):
    del request.inputs[:]


@pytest.mark.parametrize(
    "damage",
    [
        no_contents, other_contents, both_contents, too_few_raw, shape_is_another, shape_is_negative, shape_is_huge,
        unknown_type, number_beyond_its_type, text_is_no_utf8, unknown_input, twice_the_same, parameter_without_a_value,
        unknown_parameter, unknown_query, parameter_of_a_tensor, parameter_of_an_output, no_inputs,
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(hosted, damage):
    request = request_of()
    damage(request)
    with pytest.raises(VaekitError) as caught:
        tensors(hosted, request)
    assert 400 <= fault_of(caught.value).status < 500


def test_an_unknown_output_is_refused(hosted):
    request = request_of()
    request.outputs.add(name="absent")
    told = Answering({"flights": hosted}).answer([ASK], [request.SerializeToString()])[0][0]
    assert told.fault.status == 400
    assert "absent" in told.fault.message


GOOD = [request_of(2).SerializeToString(), request_of(2, typed=False).SerializeToString()]


@st.composite
def broken(draw):
    """A good message of which some bytes were changed, left out, or put in."""
    body = bytearray(draw(st.sampled_from(GOOD)))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(body)))
        change = draw(st.sampled_from(["set", "cut", "drop", "insert"]))
        if change == "set" and at < len(body):
            body[at] = draw(st.integers(0, 255))
        elif change == "cut":
            del body[at:]
        elif change == "drop":
            del body[at : at + draw(st.integers(1, 8))]
        else:
            body[at:at] = draw(st.binary(min_size=1, max_size=8))
    return bytes(body)


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=broken() | st.binary(max_size=200))
@example(body=b"")
@example(body=b"\x2a\xff\xff\xff\xff\x0f")
@example(body=b"\x3a\x00" * 5000)
def test_broken_messages_are_answered_or_refused_and_nothing_else(hosted, body):
    told = Answering({"flights": hosted}).answer([ASK], [body])[0][0]
    assert told.fault is None or 400 <= told.fault.status < 500, told.fault
