"""tritonclient over gRPC, unmodified."""

from __future__ import annotations

import asyncio
import queue

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


@pytest.fixture
def client(service):
    with triton.InferenceServerClient(service.grpc) as made:
        yield made


def inputs_of(client, service, model, rows=None):
    """Tensors of the rows of a model, with names and types that its metadata tells."""
    rows = service.rows(model) if rows is None else rows
    made = []
    for tensor in client.get_model_metadata(model).inputs:
        values = np.array([row[tensor.name] for row in rows], triton_to_np_dtype(tensor.datatype))
        one = triton.InferInput(tensor.name, list(values.shape), tensor.datatype)
        one.set_data_from_numpy(values)
        made.append(one)
    return made


def same(result, expected, names=("score", "p_value")):
    for name in names:
        np.testing.assert_allclose(result.as_numpy(name), [row[name] for row in expected], rtol=1e-5)


@pytest.mark.parametrize("model", ["flights", "digits"])
def test_health_and_metadata(client, model):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(model)
    assert client.get_server_metadata().name == "vaekit"
    found = client.get_model_metadata(model)
    assert found.name == model
    assert client.is_model_ready(model, found.versions[0])
    assert {tensor.name for tensor in found.outputs} == {"score", "p_value"}
    for tensor in (*found.inputs, *found.outputs):
        assert triton_to_np_dtype(tensor.datatype) is not None
        assert tensor.shape[0] == -1


def test_what_is_not_there_is_not_ready(client):
    with pytest.raises(InferenceServerException) as caught:
        client.is_model_ready("absent")
    assert caught.value.status() == "StatusCode.NOT_FOUND"
    with pytest.raises(InferenceServerException) as caught:
        client.is_model_ready("flights", "other")
    assert caught.value.status() == "StatusCode.NOT_FOUND"


@pytest.mark.parametrize("model", ["flights", "digits"])
def test_answers_are_those_of_the_command_line(client, service, model):
    result = client.infer(model, inputs_of(client, service, model), request_id="order-7")
    same(result, service.expected("score", model))
    response = result.get_response()
    assert (response.id, response.model_name) == ("order-7", model)
    assert response.model_version == client.get_model_metadata(model).versions[0]
    for output in response.outputs:
        assert list(output.shape) == list(result.as_numpy(output.name).shape)


def test_parameters_name_the_query_and_its_options(client, service):
    parameters = {"query": "detect", "alpha": 0.2, "attribution": True}
    result = client.infer("flights", inputs_of(client, service, "flights"), parameters=parameters)
    expected = service.expected("detect", "flights", "--alpha", "0.2", "--attribution")
    same(result, expected, ["anomaly_score", "p_value"])
    assert result.as_numpy("anomaly").tolist() == [row["anomaly"] for row in expected]


def test_outputs_can_be_chosen(client, service):
    wanted = [triton.InferRequestedOutput("p_value")]
    result = client.infer("flights", inputs_of(client, service, "flights"), outputs=wanted)
    same(result, service.expected("score", "flights"), ["p_value"])
    assert result.as_numpy("score") is None


def test_text_and_lists_come_back(client, service):
    flights = client.infer("flights", inputs_of(client, service, "flights"), parameters={"query": "impute"})
    carriers = [row["carrier"] for row in service.rows("flights")]
    assert [text.decode() for text in flights.as_numpy("carrier")] == carriers
    digits = client.infer("digits", inputs_of(client, service, "digits"), parameters={"query": "embed"})
    expected = np.array([row["embedding"] for row in service.expected("embed", "digits")])
    np.testing.assert_allclose(digits.as_numpy("embedding"), expected, rtol=1e-4, atol=1e-6)


def test_queries_without_rows(client):
    parameters = {"query": "sample", "n": 7, "seed": 3, "given": '{"origin": "JFK", "hour": 9}'}
    first, again = (client.infer("flights", [], parameters=parameters).as_numpy("distance") for _ in range(2))
    assert len(first) == 7
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("model", ["flights", "digits"])
def test_typed_contents_are_answered_in_kind(client, service, model):
    """The generated stubs of the client, without its own packing."""
    request = service_pb2.ModelInferRequest(model_name=model, id="typed")
    rows = service.rows(model)
    for tensor in client.get_model_metadata(model).inputs:
        values = np.array([row[tensor.name] for row in rows], triton_to_np_dtype(tensor.datatype))
        one = request.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=values.shape)
        flat = values.reshape(-1).tolist()
        plain = [value.encode() for value in flat] if tensor.datatype == "BYTES" else flat
        getattr(one.contents, CONTENTS[tensor.datatype]).extend(plain)
    with grpc.insecure_channel(service.grpc) as channel:
        response = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=60)
    assert not response.raw_output_contents
    expected = service.expected("score", model)
    for output in response.outputs:
        told = getattr(output.contents, CONTENTS[output.datatype])
        np.testing.assert_allclose(told, [row[output.name] for row in expected], rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "status", "told"),
    [
        ({"model_name": "absent"}, "NOT_FOUND", "absent"),
        ({"model_version": "other"}, "NOT_FOUND", "version"),
        ({"parameters": {"query": "absent"}}, "NOT_FOUND", "absent"),
        ({"parameters": {"smaples": 3}}, "INVALID_ARGUMENT", "smaples"),
        ({"parameters": {"samples": "many"}}, "INVALID_ARGUMENT", "samples"),
        ({"outputs": [triton.InferRequestedOutput("absent")]}, "INVALID_ARGUMENT", "absent"),
        ({"outputs": [triton.InferRequestedOutput("score", class_count=3)]}, "INVALID_ARGUMENT", "classification"),
    ],
)
def test_mistakes_have_their_codes(client, service, change, status, told):
    arguments = {"model_name": "flights", "inputs": inputs_of(client, service, "flights")} | change
    with pytest.raises(InferenceServerException, match=told) as caught:
        client.infer(**arguments)
    assert caught.value.status() == f"StatusCode.{status}"


def test_a_bad_cell_is_named(client, service):
    rows = [dict(row) for row in service.rows("flights")]
    rows[3]["carrier"] = "no such carrier"
    with pytest.raises(InferenceServerException, match="carrier") as caught:
        client.infer("flights", inputs_of(client, service, "flights", rows))
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"
    assert "row 3" in caught.value.message()


def test_a_deadline_that_has_passed_is_told(client, service):
    with pytest.raises(InferenceServerException) as caught:
        client.infer("flights", inputs_of(client, service, "flights"), client_timeout=1e-6)
    assert caught.value.status() == "StatusCode.DEADLINE_EXCEEDED"


def test_many_at_a_time_get_their_own_rows(client, service):
    rows, expected = service.rows("flights"), service.expected("score", "flights")
    answers: queue.Queue = queue.Queue()
    for at in range(len(rows)):
        tensors = inputs_of(client, service, "flights", rows[at : at + 1])
        client.async_infer("flights", tensors, lambda result, error, at=at: answers.put((at, result, error)))
    for _ in rows:
        at, result, error = answers.get(timeout=60)
        assert error is None
        same(result, expected[at : at + 1])


def test_the_asyncio_client(service, client):
    tensors, expected = inputs_of(client, service, "flights"), service.expected("score", "flights")

    async def story():
        async with triton_aio.InferenceServerClient(service.grpc) as made:
            assert await made.is_server_live()
            for result in await asyncio.gather(*(made.infer("flights", tensors) for _ in range(10))):
                same(result, expected)

    asyncio.run(story())


def test_compressed_messages(client, service):
    result = client.infer("flights", inputs_of(client, service, "flights"), compression_algorithm="gzip")
    same(result, service.expected("score", "flights"))
