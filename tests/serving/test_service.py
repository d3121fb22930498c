"""`vae serve` as a user meets it: real models over real sockets, answers that are those of the models themselves."""

import io
import json
import subprocess
import sys

import httpx
import pyarrow as pa
import pytest

from tests.serving.live import ROOT, Live
from vaekit.serving.http.media import ARROW, COLUMNS

MODELS = ("flights", "digits")


@pytest.fixture(scope="module")
def live(zoo):
    with Live(*(f"{name}={zoo[name].bundle}" for name in MODELS)) as live:
        assert live.url, live.log
        yield live


def arrow(table):
    """A table as an Arrow stream."""
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return sink.getvalue()


def rows(answer):
    """The rows of an answer in JSON."""
    assert answer.status_code == 200, answer.text
    return answer.json()["rows"]


# -------------------------------------------------------------------------------------------------------------- answers


@pytest.mark.parametrize("name", MODELS)
def test_answers_are_those_of_the_model(live, zoo, name):
    kept = zoo[name]
    some = kept.rows.slice(0, 20)
    expected = kept.onnx.score(some, attribution=True)
    options = {"attribution": True}
    as_json = rows(live.ask(f"/v1/models/{name}/score", {"rows": some.to_pylist(), "options": options}))
    for column in expected.column_names:
        assert [row[column] for row in as_json] == pytest.approx(expected[column].to_pylist(), rel=1e-5), column
    as_columns = live.ask(
        f"/v1/models/{name}/score?attribution=true", {"columns": some.to_pydict()}, headers={"accept": COLUMNS}
    ).json()["columns"]
    assert as_columns == {column: [row[column] for row in as_json] for column in expected.column_names}
    sent = httpx.post(
        f"{live.url}/v1/models/{name}/score?attribution=true", content=arrow(some), headers={"content-type": ARROW}
    )
    assert sent.headers["content-type"] == ARROW
    found = pa.ipc.open_stream(sent.content).read_all()
    assert found.schema.equals(expected.schema)
    assert found["score"].to_pylist() == pytest.approx(expected["score"].to_pylist(), rel=1e-5)


def test_rows_come_back_in_their_types(live, zoo):
    kept = zoo["flights"]
    some = kept.rows.slice(0, 5)
    sent = httpx.post(
        f"{live.url}/v1/models/flights/impute", content=arrow(some), headers={"content-type": ARROW, "accept": ARROW}
    )
    found, expected = pa.ipc.open_stream(sent.content).read_all(), kept.onnx.impute(some)
    assert found.equals(expected.select(found.column_names))
    assert set(found.column_names) == set(expected.column_names)


def test_new_rows_are_drawn(live, zoo):
    given = {"origin": "JFK", "hour": 9.0}
    found = rows(live.ask("/v1/models/flights/sample", {"n": 7, "options": {"given": given, "seed": 3}}))
    assert found == zoo["flights"].onnx.sample(7, given=given, seed=3).to_pylist()


# --------------------------------------------------------------------------------------------------------------- faults


def test_a_row_that_breaks_the_contract_is_named(live, zoo):
    some = zoo["flights"].rows.slice(0, 3).to_pylist()
    some[2]["origin"] = "XYZ"
    answer = live.ask("/v1/models/flights/score", {"rows": some})
    error = answer.json()["error"]
    assert (answer.status_code, error["field"], error["row"]) == (422, "origin", 2)
    assert "XYZ" in error["message"]


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[" * 100_000, b'{"rows": [' + b'{"a":' * 50_000, b"\xff\xfe", b'{"rows": 3}', b'{"rows": [3]}'],
)
def test_a_body_that_is_none_is_400(live, body):
    answer = httpx.post(
        f"{live.url}/v1/models/flights/score", content=body, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["message"]
    assert live.ask("/readyz").status_code == 200


def test_a_deadline_that_cannot_be_kept_is_504(live, zoo):
    some = {"rows": zoo["flights"].rows.slice(0, 100).to_pylist(), "options": {"samples": 1000}}
    answer = live.ask("/v1/models/flights/score", some, headers={"x-request-timeout": "1ms"})
    assert (answer.status_code, answer.json()["error"]["kind"]) == (504, "deadline")


# ---------------------------------------------------------------------------------------------------------------- facts


def test_models_say_what_they_are(live, zoo):
    listed = live.ask("/v1/models").json()["models"]
    assert [model["name"] for model in listed] == list(MODELS)
    answer = live.ask("/v1/models/flights")
    facts, kept = answer.json(), zoo["flights"]
    assert answer.headers["x-vaekit-version"] == facts["version"] == listed[0]["version"]
    assert facts["contract"] == kept.onnx.contract.hash
    contract = kept.onnx.contract
    assert [field["name"] for field in facts["fields"]] == [*contract.names("model"), *contract.names("condition")]
    assert set(facts["queries"]) >= {"score", "detect", "embed", "reconstruct", "denoise", "impute", "sample"}
    figures = {key: value for key, value in kept.onnx.evaluation.items() if isinstance(value, int | float)}
    assert facts["evaluation"] == figures != {}


def test_every_question_is_in_the_openapi_document(live):
    document = live.ask("/openapi.json").json()
    for model in live.ask("/v1/models").json()["models"]:
        for query in model["queries"]:
            assert f"/v1/models/{model['name']}/{query}" in document["paths"]
    row = document["components"]["schemas"]["flights.score.row"]
    assert row["properties"]["carrier"]["enum"] == ["AA", "B6", "DL", "EV", "UA", "other", None]
    assert row["properties"]["distance"]["type"] == ["integer", "null"]
    assert set(row["required"]) == set(row["properties"])
    free = document["components"]["schemas"]["flights.impute.row"]
    assert set(free["required"]) == {"origin", "hour"}
    vector = document["components"]["schemas"]["digits.score.row"]["properties"]["grey"]
    assert (vector["minItems"], vector["maxItems"]) == (16, 16)
    references = set(_references(document))
    assert references
    for reference in references:
        at = document
        for part in reference.removeprefix("#/").split("/"):
            at = at[part]


def _references(value):
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from [inner] if key == "$ref" else _references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _references(inner)


def test_the_index_leads_to_what_there_is(live):
    for path in live.ask("/").json()["paths"]:
        assert httpx.options(live.url + path).status_code == 200, path


# ----------------------------------------------------------------------------------------------------------------- size


def test_the_front_stays_small():
    """It loads nothing of what only the workers need."""
    code = "import sys; import vaekit.serving.server, vaekit.cli.serve; print('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": str(ROOT / "src")}
    )
    heavy = {"numpy", "pyarrow", "onnxruntime", "scipy", "torch", "grpc", "narwhals", "starlette"}
    assert not heavy & set(done.stdout.split())


def test_json_of_the_document_is_plain(live):
    assert json.loads(live.ask("/openapi.json").text)["openapi"] == "3.1.0"
