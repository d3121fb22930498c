"""tritonclient over gRPC, unmodified: tensors as bytes and as typed contents, outputs that are asked for, faults."""

from __future__ import annotations

import asyncio
import queue

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from asking import EXPECTED, MODELS, same, tensor
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

CONTENTS = {"BOOL": "bool_contents", "BYTES": "bytes_contents", "INT64": "int64_contents"}
CONTENTS |= {f"INT{bits}": "int_contents" for bits in (8, 16, 32)}
CONTENTS |= {f"UINT{bits}": "uint_contents" for bits in (8, 16, 32)}
CONTENTS |= {"UINT64": "uint64_contents", "FP32": "fp32_contents", "FP64": "fp64_contents"}


@pytest.fixture(scope="module")
def client(service):
    with triton.InferenceServerClient(service.grpc) as made:
        yield made


def arrays(client, name, rows=None):
    """Name, data type and elements of one tensor per field, as the metadata of the model describes them."""
    rows = rows or EXPECTED[name]["rows"]
    for facts in client.get_model_metadata(name).inputs:
        array = tensor(rows[facts.name], facts.datatype, list(facts.shape))
        yield facts.name, facts.datatype if array.dtype != np.float64 else "FP64", array


def inputs(client, name, rows=None):
    """The same, as the client packs them: bytes."""
    found = []
    for field, kind, array in arrays(client, name, rows):
        one = triton.InferInput(field, list(array.shape), kind)
        one.set_data_from_numpy(array)
        found.append(one)
    return found


def test_health(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert all(client.is_model_ready(name) for name in MODELS)


def test_metadata(client):
    assert client.get_server_metadata().name == "vaekit"
    for name in MODELS:
        found = client.get_model_metadata(name)
        assert (found.name, list(found.versions)) == (name, [EXPECTED[name]["version"]])
        assert {facts.name for facts in found.inputs} <= set(EXPECTED[name]["rows"])
        assert {facts.name for facts in found.outputs} == {"score", "p_value"}
        assert client.is_model_ready(name, EXPECTED[name]["version"])


@pytest.mark.parametrize("query", ["score", "embed", "reconstruct"])
@pytest.mark.parametrize("name", MODELS)
def test_answers_are_those_of_the_model(client, name, query):
    result = client.infer(name, inputs(client, name), request_id="order-7", parameters={"query": query})
    expected = EXPECTED[name]["answers"][query]
    response = result.get_response()
    assert {output.name for output in response.outputs} == set(expected)
    for column, values in expected.items():
        same(result.as_numpy(column), values)
    assert (response.id, response.model_name, response.model_version) == ("order-7", name, EXPECTED[name]["version"])


def test_parameters_are_options_of_the_query(client):
    asked = inputs(client, "flights")
    calm, wary = (
        client.infer("flights", asked, parameters={"query": "detect", "alpha": alpha, "attribution": True})
        for alpha in (0.02, 0.9)
    )
    assert calm.as_numpy("anomaly").sum() < wary.as_numpy("anomaly").sum()
    same(calm.as_numpy("anomaly_score"), wary.as_numpy("anomaly_score").tolist())
    assert calm.as_numpy("excess.carrier") is not None


def test_queries_without_rows(client):
    wanted = EXPECTED["numbers"]["answers"]["sample"]
    result = client.infer("numbers", [], parameters={"query": "sample", "n": 6, "seed": 3})
    for column, values in wanted.items():
        same(result.as_numpy(column), values)


def test_outputs_can_be_chosen(client):
    wanted = [triton.InferRequestedOutput("p_value")]
    result = client.infer("flights", inputs(client, "flights"), outputs=wanted)
    same(result.as_numpy("p_value"), EXPECTED["flights"]["answers"]["score"]["p_value"])
    assert result.as_numpy("score") is None


def test_one_matrix_stands_for_all_columns(client):
    rows = np.array(list(EXPECTED["numbers"]["rows"].values()), np.float64).T
    one = triton.InferInput("rows", list(rows.shape), "FP64")
    one.set_data_from_numpy(np.ascontiguousarray(rows))
    result = client.infer("numbers", [one])
    same(result.as_numpy("score"), EXPECTED["numbers"]["answers"]["score"]["score"])


@pytest.mark.parametrize("name", MODELS)
def test_typed_contents_are_answered_in_kind(client, service, name):
    """The client's generated stubs, without its own packing, which is always bytes."""
    request = service_pb2.ModelInferRequest(model_name=name, id="typed")
    for field, kind, array in arrays(client, name):
        one = request.inputs.add(name=field, datatype=kind, shape=array.shape)
        flat = array.ravel().tolist()
        plain = [value.encode() for value in flat] if kind == "BYTES" else flat
        getattr(one.contents, CONTENTS[kind]).extend(plain)
    with grpc.insecure_channel(service.grpc) as channel:
        response = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer(request, timeout=60)
    assert response.id == "typed"
    assert not response.raw_output_contents
    for output in response.outputs:
        told = getattr(output.contents, CONTENTS[output.datatype])
        same(told, EXPECTED[name]["answers"]["score"][output.name])


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
def test_mistakes_have_their_codes(client, change, status, told):
    arguments = {"model_name": "flights", "inputs": inputs(client, "flights")} | change
    with pytest.raises(InferenceServerException, match=told) as caught:
        client.infer(**arguments)
    assert caught.value.status() == f"StatusCode.{status}"


def test_what_is_not_there_is_not_ready(client):
    for model, version in (("absent", ""), ("flights", "other")):
        with pytest.raises(InferenceServerException) as caught:
            client.is_model_ready(model, version)
        assert caught.value.status() == "StatusCode.NOT_FOUND"


def test_a_bad_cell_is_named(client):
    rows = {column: list(values) for column, values in EXPECTED["flights"]["rows"].items()}
    rows["carrier"][3] = "no such carrier"
    with pytest.raises(InferenceServerException, match="carrier") as caught:
        client.infer("flights", inputs(client, "flights", rows))
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"
    assert "row 3" in caught.value.message()


def test_a_deadline_that_has_passed_is_told(client):
    long = {"query": "impute", "draws": 100, "samples": 1000}
    with pytest.raises(InferenceServerException) as caught:
        client.infer("flights", inputs(client, "flights"), parameters=long, client_timeout=0.005)
    # once the service knows what the question costs, it says at once that this deadline cannot be met
    assert caught.value.status() in ("StatusCode.DEADLINE_EXCEEDED", "StatusCode.RESOURCE_EXHAUSTED")


def test_many_at_a_time_get_their_own_rows(client):
    rows, expected = EXPECTED["flights"]["rows"], EXPECTED["flights"]["answers"]["score"]["score"]
    answers: queue.Queue = queue.Queue()
    for at in range(len(expected)):
        one = {column: values[at : at + 1] for column, values in rows.items()}
        packed = inputs(client, "flights", one)
        client.async_infer("flights", packed, lambda result, error, at=at: answers.put((at, result, error)))
    for _ in expected:
        at, result, error = answers.get(timeout=60)
        assert error is None
        same(result.as_numpy("score"), expected[at : at + 1])


def test_the_asyncio_client(client, service):
    packed, expected = inputs(client, "flights"), EXPECTED["flights"]["answers"]["score"]["score"]

    async def story():
        async with triton_aio.InferenceServerClient(service.grpc) as made:
            assert await made.is_server_live()
            for result in await asyncio.gather(*(made.infer("flights", packed) for _ in range(10))):
                same(result.as_numpy("score"), expected)

    asyncio.run(story())


def test_compressed_messages(client):
    result = client.infer("flights", inputs(client, "flights"), compression_algorithm="gzip")
    same(result.as_numpy("score"), EXPECTED["flights"]["answers"]["score"]["score"])
