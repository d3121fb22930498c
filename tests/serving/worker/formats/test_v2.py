"""The Open Inference Protocol over REST in a worker: tensors are rows and answers are tensors, whatever their types."""

import json
import math
import struct

import numpy as np
import pyarrow as pa
import pytest

from vaekit.errors import ContractError
from vaekit.serving.batching.stored import read_bundle
from vaekit.serving.wire.asking import Ask
from vaekit.serving.wire.inference import LENGTH, TENSORS, model_metadata
from vaekit.serving.wire.messages import Limits
from vaekit.serving.worker.formats import READERS, WRITERS, Answer
from vaekit.serving.worker.formats.base import Whole
from vaekit.serving.worker.formats.tensors import DTYPES, bytes_of, texts_of
from vaekit.serving.worker.hosted import Hosted
from vaekit.serving.worker.refusals import Refusal

ROWS = 25
LIMITS = Limits(max_rows=1000, max_batch_rows=1000, max_samples=100, max_pixels=1 << 20)


def host(kept):
    stored = read_bundle(kept.name, kept.bundle, "onnx")
    return Hosted(stored.packed, dict(zip(stored.packed.files, stored.files, strict=True)), LIMITS, backend="onnx")


@pytest.fixture(scope="module")
def hosted(zoo):
    return host(zoo["flights"])


def ask(**headers):
    return Ask(id="r", model="m", query="infer", takes=TENSORS, gives=TENSORS, headers=headers)


def read(body, hosted, **headers):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return READERS[TENSORS](content, ask(**headers), hosted)


def rows_of(parsed):
    return type(parsed.rows).merged([parsed.rows])


def plain(hosted, table):
    """The rows of a table as tensors in JSON: a missing value is null."""
    json_rows = WRITERS["application/json; shape=columns"](Answer(Whole(table), 0, len(table)), None, ask(), hosted)
    columns = json.loads(json_rows[0])["columns"]
    found = []
    for one in model_metadata(hosted.facts)["inputs"]:
        shape = [len(table) if size == -1 else size for size in one["shape"]]
        data = columns[one["name"]]
        if len(shape) > 1:  # a list that is missing has missing elements
            data = [value or [None] * shape[1] for value in data]
        found.append({**one, "shape": shape, "data": data})
    return found


def binary(tensors):
    """The same tensors as bytes behind the JSON."""
    heads, contents = [], []
    for one in tensors:
        data = np.array(one["data"], object).ravel().tolist()
        if one["datatype"] == "BYTES":
            content, kind = bytes_of(data), "BYTES"
        else:
            kind = one["datatype"] if None not in data else "FP64"
            content = np.array([math.nan if x is None else x for x in data], DTYPES[kind]).tobytes()
        contents.append(content)
        heads.append({**one, "datatype": kind, "data": None, "parameters": {"binary_data_size": len(content)}})
        del heads[-1]["data"]
    return heads, b"".join(contents)


def test_tensors_are_rows_in_the_types_of_the_model(kept):
    hosted = host(kept)
    table = kept.rows.slice(0, ROWS)
    tensors = plain(hosted, table)
    heads, content = binary(tensors)
    head = json.dumps({"inputs": heads}).encode()
    found = rows_of(read({"inputs": tensors}, hosted))
    assert {name: found[name].type for name in found.column_names} == {n: c.type for n, c in hosted.cells.items()}
    expected = hosted.engine.encode(table)
    for rows in (found, rows_of(read(head + content, hosted, **{LENGTH: str(len(head))}))):
        for name, block in hosted.engine.encode(rows).items():
            np.testing.assert_allclose(block.values, expected[name].values, rtol=1e-6, err_msg=name)
            np.testing.assert_array_equal(block.observed, expected[name].observed, err_msg=name)


def test_answers_are_tensors(kept):
    hosted = host(kept)
    for query in ("score", "embed", "reconstruct"):
        answer = getattr(kept.onnx, query)(kept.rows.slice(0, ROWS))
        part = Answer(Whole(answer), 0, ROWS)
        tensors = plain(hosted, kept.rows.slice(0, ROWS))
        asked = read({"inputs": tensors, "id": "7", "parameters": {"query": query}}, hosted)
        body, headers = WRITERS[TENSORS](part, asked, ask(), hosted)
        told = json.loads(body)
        assert headers == {"content-type": "application/json"}
        assert (told["id"], told["model_version"]) == ("7", hosted.facts.version)
        assert [one["name"] for one in told["outputs"]] == answer.column_names
        asked = read({"inputs": tensors, "parameters": {"binary_data_output": True}}, hosted)
        body, headers = WRITERS[TENSORS](part, asked, ask(), hosted)
        size = int(headers[LENGTH])
        head, rest = json.loads(body[:size]), body[size:]
        assert headers["content-type"] == "application/octet-stream"
        for one, other in zip(told["outputs"], head["outputs"], strict=True):
            content, rest = np.split(np.frombuffer(rest, np.uint8), [other["parameters"]["binary_data_size"]])
            assert (one["shape"], one["datatype"]) == (other["shape"], other["datatype"])
            assert math.prod(one["shape"]) == len(one["data"])
            if one["datatype"] == "BYTES":
                assert texts_of("", content.tobytes()) == one["data"]
            else:
                values = np.frombuffer(content.tobytes(), DTYPES[one["datatype"]])
                np.testing.assert_allclose(values, np.array(one["data"], np.float64), rtol=1e-6)
        assert not len(rest)


def test_requested_outputs_are_chosen_each_in_its_own_way(hosted):
    table = pa.table({"score": [1.5], "p_value": pa.array([None], pa.float64())})
    outputs = [{"name": "p_value", "parameters": {"binary_data": True}}, {"name": "score"}]
    asked = read({"inputs": nothing(hosted), "outputs": outputs}, hosted)
    body, headers = WRITERS[TENSORS](Answer(Whole(table), 0, 1), asked, ask(), hosted)
    size = int(headers[LENGTH])
    first, second = json.loads(body[:size])["outputs"]
    assert first == {"name": "p_value", "datatype": "FP64", "shape": [1], "parameters": {"binary_data_size": 8}}
    assert second == {"name": "score", "datatype": "FP64", "shape": [1], "data": [1.5]}
    assert math.isnan(struct.unpack("<d", body[size:])[0])
    asked = read({"inputs": nothing(hosted), "outputs": [{"name": "other"}]}, hosted)
    with pytest.raises(Refusal, match="no output 'other'; there are: score, p_value"):
        WRITERS[TENSORS](Answer(Whole(table), 0, 1), asked, ask(), hosted)


@pytest.mark.parametrize(
    ("column", "datatype", "data"),
    [
        (pa.array([1, None], pa.int32()), "FP64", [1.0, None]),
        (pa.array([True, None]), "FP64", [1.0, None]),
        (pa.array([True, False]), "BOOL", [True, False]),
        (pa.array(["a", None]), "BYTES", ["a", None]),
        (pa.array(["a", "b"]).dictionary_encode(), "BYTES", ["a", "b"]),
        (pa.array([0, 1], pa.timestamp("s")), "BYTES", ["1970-01-01T00:00:00", "1970-01-01T00:00:01"]),
        (pa.array([0.5, 1.5], pa.float32()), "FP32", [0.5, 1.5]),
        (pa.array([0.5, 1.5], pa.float16()), "FP32", [0.5, 1.5]),  # JSON has no name for FP16
        (pa.array([1500, 2500], pa.duration("ms")), "FP64", [1.5, 2.5]),
        (pa.array([[1.0, 2.0], None], pa.list_(pa.float64(), 2)), "FP64", [1.0, 2.0, None, None]),
        (pa.array([[1, 2], [3, 4]], pa.list_(pa.int8())), "INT8", [1, 2, 3, 4]),
    ],
)
def test_every_type_of_answer_has_a_tensor(hosted, column, datatype, data):
    asked = read({"inputs": nothing(hosted)}, hosted)
    body, _ = WRITERS[TENSORS](Answer(Whole(pa.table({"x": column})), 0, 2), asked, ask(), hosted)
    [told] = json.loads(body)["outputs"]
    assert (told["datatype"], told["data"]) == (datatype, data)


# ---------------------------------------------------------------------------------------------------------- the request


def nothing(hosted):
    """One row of which nothing is known."""
    return [
        {
            "name": one["name"],
            "datatype": "BYTES" if one["datatype"] == "BYTES" else "FP64",
            "shape": [1],
            "data": [None],
        }
        for one in model_metadata(hosted.facts)["inputs"]
    ]


def changed(hosted, **changes):
    """One row with the first tensor changed."""
    first, *rest = nothing(hosted)
    return {"inputs": [{**first, **changes}, *rest]}


def test_parameters_say_the_query_and_its_options(hosted):
    asked = read({"inputs": nothing(hosted), "parameters": {"query": "impute", "draws": 2, "seed": "7"}}, hosted)
    assert (asked.query, asked.options) == ("impute", {"draws": 2, "seed": 7})
    asked = read({"parameters": {"query": "sample", "n": 5, "given": '{"origin": "JFK", "hour": 1}'}}, hosted)
    assert asked.rows is None
    assert (asked.arguments, asked.options) == ({"n": 5}, {"given": {"origin": "JFK", "hour": 1}})
    assert read({"inputs": nothing(hosted)}, hosted).query == "score"


def test_numbers_that_mean_the_same_are_taken(hosted):
    def distance(datatype, data):
        tensors = [one for one in nothing(hosted) if one["name"] != "distance"]
        added = {"name": "distance", "datatype": datatype, "shape": [1], "data": data}
        return rows_of(read({"inputs": [*tensors, added]}, hosted))["distance"].to_pylist()

    assert distance("FP32", [100.0]) == distance("INT64", [100]) == distance("UINT8", [[100]]) == [100]
    assert distance("FP64", [None]) == [None]
    with pytest.raises(ContractError, match="distance"):
        distance("FP64", [100.5])


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not an inference request"),
        (b"{", "not an inference request"),
        (b'{"inputs": 3}', "not an inference request"),
        (b'{"inputs": [{"name": "x"}]}', "not an inference request"),
        (b'{"inputs": []}', "inputs are needed: dep_delay"),
        (b'{"parameters": {"query": "forecast"}}', "forecast"),
        (b'{"parameters": {"query": ["a"]}}', "query"),
        (b'{"parameters": {"query": "sample", "n": 1, "sequence_id": 3}}', "sequence_id"),
        (b'{"parameters": {"query": "interpolate"}}', "takes no inputs here"),
    ],
)
def test_what_is_no_request_is_refused(hosted, body, said):
    with pytest.raises(Refusal, match=said):
        read(body, hosted)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "other"}, "no input 'other'; inputs are: dep_delay"),
        ({"name": "arr_delay"}, "twice"),
        ({"datatype": "BF16"}, "BF16"),
        ({"datatype": "FP16", "shape": [2]}, "2"),
        ({"shape": [2], "data": [1.0, 2.0]}, "has 2"),
        ({"shape": [-1]}, "shape"),
        ({"shape": []}, "shape"),
        ({"shape": [2**62, 2**62]}, "shape"),
        ({"shape": [1, 3], "data": [1, 2, 3]}, "shape"),
        ({"data": None}, "no data"),
        ({"data": {"a": 1}}, "no data"),
        ({"data": ["a"]}, "no FP64"),
        ({"data": [True]}, "no FP64"),
        ({"datatype": "BYTES", "data": [3]}, "strings"),
        ({"datatype": "INT8", "data": [1000]}, "beyond INT8"),
        ({"datatype": "INT8", "data": [10**400]}, "not an inference request|beyond INT8"),
        ({"datatype": "INT32", "data": [1.5]}, "no INT32"),
        ({"parameters": {"binary_data_size": 8}}, "0 bytes are left"),
        ({"parameters": {"binary_data_size": -1}}, "bytes are left"),
        ({"parameters": {"binary_data_size": "8"}}, "bytes are left"),
        ({"parameters": {"shared_memory_region": "r"}, "data": None}, "no data"),
    ],
)
def test_a_tensor_that_is_none_is_refused(hosted, changes, said):
    with pytest.raises(Refusal, match=said) as refused:
        read(changed(hosted, **changes), hosted)
    assert refused.value.fault.status == 400


@pytest.mark.parametrize(
    ("datatype", "content", "said"),
    [
        ("FP64", b"1234567", "no whole number of FP64"),
        ("BYTES", struct.pack("<I", 9) + b"short", "beyond the end"),
        ("BYTES", b"\1\0", "beyond the end"),
        ("BYTES", struct.pack("<I", 1) + b"\xff", "UTF-8"),
    ],
)
def test_bytes_that_are_no_tensor_are_refused(hosted, datatype, content, said):
    tensors = changed(hosted, datatype=datatype, parameters={"binary_data_size": len(content)})
    head = json.dumps(tensors).encode()
    with pytest.raises(Refusal, match=said):
        read(head + content, hosted, **{LENGTH: str(len(head))})


def test_bytes_that_belong_to_no_tensor_are_refused(hosted):
    head = json.dumps({"inputs": nothing(hosted)}).encode()
    with pytest.raises(Refusal, match="4 bytes are left over"):
        read(head + b"more", hosted, **{LENGTH: str(len(head))})


@pytest.mark.parametrize("length", ["-1", "many", "1e2", "99999", ""])
def test_a_length_that_makes_no_sense_is_refused(hosted, length):
    with pytest.raises(Refusal, match="at most the"):
        read({"inputs": nothing(hosted)}, hosted, **{LENGTH: length})
