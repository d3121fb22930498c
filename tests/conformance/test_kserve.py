"""The client of kserve over REST, unmodified."""

from __future__ import annotations

import asyncio

import httpx
import numpy as np
import pytest
from asking import EXPECTED, MODELS, same, tensor
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput


def call(work):
    """Run one call of a client that lives as long."""

    async def main():
        async with InferenceRESTClient(RESTConfig(protocol="v2")) as client:
            return await work(client)

    return asyncio.run(main())


def request(service, name, binary, parameters=None, outputs=None):
    """One tensor per field, as the metadata of the model describes them."""
    found = []
    for facts in httpx.get(f"{service.http}/v2/models/{name}").json()["inputs"]:
        array = tensor(EXPECTED[name]["rows"][facts["name"]], facts["datatype"], facts["shape"])
        kind = facts["datatype"] if array.dtype != np.float64 else "FP64"
        one = InferInput(facts["name"], list(array.shape), kind)
        one.set_data_from_numpy(array, binary_data=binary)
        found.append(one)
    return InferRequest(name, found, parameters=parameters, request_outputs=outputs)


def test_health(service):
    assert call(lambda client: client.is_server_live(service.http)) is True
    assert call(lambda client: client.is_server_ready(service.http)) is True
    assert call(lambda client: client.is_model_ready(service.http, "flights")) is True
    assert call(lambda client: client.is_model_ready(service.http, "nobody")) is False


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("binary", [True, False])  # in JSON it writes NaN as null
def test_answers_are_those_of_the_model(service, name, binary):
    asked = request(service, name, binary, {"binary_data_output": binary})
    found = call(lambda client: client.infer(service.http, asked, model_name=name))
    for column, values in EXPECTED[name]["answers"]["score"].items():
        same(found.get_output_by_name(column).as_numpy(), values)


def test_parameters_and_outputs(service):
    asked = request(
        service, "flights", True, {"query": "reconstruct"}, [RequestedOutput("carrier"), RequestedOutput("evening")]
    )
    found = call(lambda client: client.infer(service.http, asked, model_name="flights"))
    assert [one.name for one in found.outputs] == ["carrier", "evening"]
    expected = EXPECTED["flights"]["answers"]["reconstruct"]
    for one in found.outputs:
        same(one.as_numpy(), expected[one.name])


def test_a_fault_is_an_error_with_its_message(service):
    asked = request(service, "flights", True, {"query": "forecast"})
    with pytest.raises(httpx.HTTPStatusError, match="forecast"):
        call(lambda client: client.infer(service.http, asked, model_name="flights"))
