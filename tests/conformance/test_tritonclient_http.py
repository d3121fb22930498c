"""tritonclient over HTTP, unmodified: tensors as bytes and as JSON, outputs that are asked for, faults."""

from __future__ import annotations

import numpy as np
import pytest
import tritonclient.http as triton
from asking import EXPECTED, MODELS, same, tensor
from tritonclient.utils import InferenceServerException

BINARY = pytest.mark.parametrize("binary", [True, False])


@pytest.fixture(scope="module")
def client(service):
    client = triton.InferenceServerClient(service.http.partition("//")[2])
    yield client
    client.close()


def inputs(client, name, rows=None, binary=True):
    """One tensor per field, as the metadata of the model describes them."""
    rows = rows or EXPECTED[name]["rows"]
    found = []
    for facts in client.get_model_metadata(name)["inputs"]:
        array = tensor(rows[facts["name"]], facts["datatype"], facts["shape"])
        if not binary and array.dtype.kind == "f":
            array = np.nan_to_num(array)  # its JSON has no NaN
        kind = facts["datatype"] if array.dtype != np.float64 else "FP64"
        one = triton.InferInput(facts["name"], list(array.shape), kind)
        one.set_data_from_numpy(array, binary_data=binary)
        found.append(one)
    return found


def test_health(client):
    assert client.is_server_live()
    assert client.is_server_ready()
    assert all(client.is_model_ready(name) for name in MODELS)
    assert not client.is_model_ready("nobody")


def test_metadata(client):
    server = client.get_server_metadata()
    assert server["name"] == "vaekit"
    assert "binary_tensor_data" in server["extensions"]
    for name in MODELS:
        model = client.get_model_metadata(name)
        assert model["versions"] == [EXPECTED[name]["version"]]
        assert {one["name"] for one in model["inputs"]} >= set(EXPECTED[name]["answers"]["reconstruct"])
        assert model == client.get_model_metadata(name, EXPECTED[name]["version"])
    with pytest.raises(InferenceServerException, match="version"):
        client.get_model_metadata(MODELS[0], "7")


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("query", ["score", "embed", "reconstruct"])
def test_answers_are_those_of_the_model(client, name, query):
    found = client.infer(name, inputs(client, name), parameters={"query": query})
    expected = EXPECTED[name]["answers"][query]
    assert [one["name"] for one in found.get_response()["outputs"]] == list(expected)
    for column, values in expected.items():
        same(found.as_numpy(column), values)


@BINARY
def test_the_default_question_is_the_score(client, binary):
    found = client.infer("numbers", inputs(client, "numbers", binary=binary), request_id="seven")
    same(found.as_numpy("score"), EXPECTED["numbers"]["answers"]["score"]["score"])
    assert found.get_response()["id"] == "seven"
    assert found.get_response()["model_version"] == EXPECTED["numbers"]["version"]


@BINARY
@pytest.mark.parametrize("kind", ["FP32", "FP64"])
def test_rows_can_come_as_one_matrix(client, binary, kind):
    rows = EXPECTED["numbers"]["rows"]
    matrix = np.array(list(rows.values())).T.astype(np.float32 if kind == "FP32" else np.float64)
    one = triton.InferInput("rows", list(matrix.shape), kind)
    one.set_data_from_numpy(np.ascontiguousarray(matrix), binary_data=binary)
    same(client.infer("numbers", [one]).as_numpy("score"), EXPECTED["numbers"]["answers"]["score"]["score"])


@BINARY
def test_outputs_are_those_that_are_asked_for(client, binary):
    outputs = [triton.InferRequestedOutput(name, binary_data=binary) for name in ("p_value", "score")]
    found = client.infer("flights", inputs(client, "flights"), outputs=outputs)
    told = found.get_response()["outputs"]
    assert [one["name"] for one in told] == ["p_value", "score"]
    assert [("data" in one) for one in told] == [not binary] * 2
    same(found.as_numpy("score"), EXPECTED["flights"]["answers"]["score"]["score"])


@BINARY
def test_text_and_truth_values_go_both_ways(client, binary):
    outputs = [triton.InferRequestedOutput(name, binary_data=binary) for name in ("carrier", "evening", "distance")]
    found = client.infer("flights", inputs(client, "flights"), outputs=outputs, parameters={"query": "reconstruct"})
    expected = EXPECTED["flights"]["answers"]["reconstruct"]
    for name in ("carrier", "evening", "distance"):
        same(found.as_numpy(name), expected[name])


def test_inputs_that_are_absent_are_missing(client):
    rows = EXPECTED["flights"]["rows"]
    some = [one for one in inputs(client, "flights") if one.name() in ("dep_delay", "origin", "hour")]
    found = client.infer("flights", some, parameters={"query": "impute", "samples": 8})
    assert not np.isnan(found.as_numpy("air_time")).any()
    same(found.as_numpy("origin"), rows["origin"])


def test_parameters_are_options(client):
    given = {"query": "sample", "n": 6, "seed": "3", "given": '{"origin": "JFK", "hour": 9.0}'}
    found = client.infer("flights", [], parameters=given)
    for name, values in EXPECTED["flights"]["answers"]["sample"].items():
        same(found.as_numpy(name), values)


def test_asynchronous_requests_get_their_own_rows(client, service):
    expected, rows = EXPECTED["numbers"]["answers"]["score"]["score"], EXPECTED["numbers"]["rows"]
    single = [{name: values[at : at + 1] for name, values in rows.items()} for at in range(len(expected))]
    asked = [inputs(client, "numbers", row) for row in single]
    with triton.InferenceServerClient(service.http.partition("//")[2], concurrency=len(asked)) as many:
        pending = [many.async_infer("numbers", one) for one in asked]
        for one, score in zip(pending, expected, strict=True):
            same(one.get_result().as_numpy("score"), [score])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model_name": "nobody"}, "no model 'nobody'"),
        ({"model_version": "7"}, "version"),
        ({"parameters": {"query": "forecast"}}, "forecast"),
        ({"parameters": {"smaples": 3}}, "smaples"),
        ({"parameters": {"samples": "many"}}, "samples"),
        ({"outputs": [triton.InferRequestedOutput("nothing")]}, "nothing"),
        ({"inputs": []}, "inputs are needed"),
        ({"priority": 3}, "priority"),
    ],
)
def test_what_cannot_be_answered_is_said(client, change, said):
    asked = {"model_name": "numbers", "inputs": inputs(client, "numbers")} | change
    with pytest.raises(InferenceServerException, match=said):
        client.infer(**asked)


def test_a_tensor_of_another_shape_is_refused(client):
    one = triton.InferInput("x0", [2, 3], "FP32")
    one.set_data_from_numpy(np.zeros((2, 3), np.float32))
    with pytest.raises(InferenceServerException, match="x0"):
        client.infer("numbers", [one])
