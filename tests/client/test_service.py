"""The clients and the examples against a real service that wants a key."""

import asyncio
import json
import os
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import vaekit as vk
from tests.client.crooked import Crooked, fault, late, told
from tests.notorch.alike import arguments, differences
from tests.serving.live import ROOT, Live
from tests.support import MODELS as SPECS
from vaekit.client import request_ids
from vaekit.client.load import Plan, load

EXAMPLES = ROOT / "examples" / "clients"
MODELS = ("flights", "digits")
ASKED = {
    "score": {"attribution": True},
    "detect": {"alpha": 0.1},
    "embed": {},
    "reconstruct": {},
    "denoise": {"samples": 16, "seed": 3},
    "impute": {"draws": 3, "samples": 16},
    "interpolate": {"steps": 3},
    "traverse": {"steps": 3},
    "sample": {"seed": 5},
}


def run(*line, **env):
    """Run a command with the repository on its path."""
    env = {**os.environ, "PYTHONPATH": str(ROOT / "src"), **env}
    return subprocess.run([str(word) for word in line], capture_output=True, text=True, timeout=300, env=env)


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    """A file of keys and its one key, which this process has in its environment."""
    folder = tmp_path_factory.mktemp("keys")
    scopes = ["--models", "*", "--queries", "*", "--scope", "feedback"]
    made = run(sys.executable, "-m", "vaekit.cli", "keys", "new", "--id", "tests", *scopes, "--out", folder / "key")
    assert made.returncode == 0, made.stderr
    (folder / "keys.toml").write_text(made.stdout)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VAEKIT_API_KEY", (folder / "key").read_text().strip())
        yield folder / "keys.toml"


@pytest.fixture(scope="module")
def live(zoo, key):
    with Live(*(f"{name}={zoo[name].bundle}" for name in MODELS), "--keys", key) as live:
        assert live.url, live.log
        yield live


@pytest.fixture(scope="module")
def rows(zoo, tmp_path_factory):
    """Twenty flights as a table, as JSON and as Parquet."""
    folder, table = tmp_path_factory.mktemp("rows"), zoo["flights"].rows.slice(0, 20)
    (folder / "rows.json").write_text(json.dumps({"rows": table.to_pylist()}))
    pq.write_table(table, folder / "rows.parquet")
    return folder


# ---------------------------------------------------------------------------------------------------------- the clients


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("query", list(ASKED))
def test_a_service_answers_as_the_model_does(live, zoo, name, query):
    kept = zoo[name]
    options = dict(ASKED[query])
    if query == "sample":
        options["given"] = SPECS[name].given
    args, named = arguments(query, 20, kept.rows.slice(0, 20))
    with vk.Client(live.url, name) as client:
        found = getattr(client, query)(*args, **named, **options)
    expected = getattr(kept.onnx, query)(*args, **named, **options)
    assert differences(found.replace_schema_metadata(None), expected.replace_schema_metadata(None)) == []


@pytest.mark.parametrize("query", ["score", "denoise", "impute"])
def test_a_table_in_parts_is_answered_as_the_whole(live, zoo, query):
    some = zoo["flights"].rows.slice(0, 50)
    with vk.Client(live.url, "flights", rows=20) as client:
        found = getattr(client, query)(some, **ASKED[query])
    assert [rows for _, rows in request_ids(found)] == [20, 20, 10]
    expected = getattr(zoo["flights"].onnx, query)(some, **ASKED[query])
    assert differences(found.replace_schema_metadata(None), expected) == []


def test_an_imputed_table_keeps_columns_that_the_model_does_not_read(live, zoo):
    some = zoo["flights"].rows.slice(0, 5)
    some = some.add_column(0, "id", pa.array([f"n{i}" for i in range(5)])).append_column("note", pa.nulls(5))
    with vk.Client(live.url, "flights", rows=2) as client:
        for options in ({}, {"draws": 2}, {"interval": 0.9}):
            found, expected = client.impute(some, **options), zoo["flights"].onnx.impute(some, **options)
            assert found["id"].to_pylist() == expected["id"].to_pylist()
            assert found.column_names == expected.column_names


def test_an_edit_learns_an_attribute_that_is_no_field(live, zoo):
    some = zoo["flights"].rows.slice(0, 60)
    examples = some.append_column("mood", pa.array(["calm", "wild", None] * 20))
    with vk.Client(live.url, "flights") as client:
        found = client.edit(some.slice(0, 5), examples, set={"mood": "wild"})
        with pytest.raises(vk.QueryError, match="no attribute 'colour'; they have: .*mood"):
            client.edit(some.slice(0, 5), examples, set={"colour": "red"})
    expected = zoo["flights"].onnx.edit(some.slice(0, 5), examples, set={"mood": "wild"})
    assert differences(found.replace_schema_metadata(None), expected) == []


def test_asyncio_asks_at_once(live, zoo):
    some = zoo["flights"].rows.slice(0, 10)

    async def main():
        async with vk.AsyncClient(live.url, "flights") as client:
            names = [model["name"] for model in await client.models()]
            return await client.ready(), names, await asyncio.gather(*(client.score(some) for _ in range(8)))

    ready, names, answers = asyncio.run(main())
    assert ready
    assert names == list(MODELS)
    assert all(answer["score"].equals(answers[0]["score"]) for answer in answers)
    assert len({request_ids(answer)[0] for answer in answers}) == 8


def test_errors_are_those_of_the_model(live, zoo):
    some = zoo["flights"].rows.slice(0, 30)
    bad = some.set_column(
        some.column_names.index("hour"), "hour", pa.array([float(i) for i in range(29)] + [float("inf")])
    )
    with pytest.raises(vk.ContractError) as expected:
        zoo["flights"].onnx.score(bad)
    with vk.Client(live.url, "flights", rows=10) as client:
        with pytest.raises(vk.ContractError) as caught:
            client.score(bad)
        assert (caught.value.field, caught.value.row) == (expected.value.field, expected.value.row) == ("hour", 29)
        with pytest.raises(vk.ConfigError, match="samples"):
            client.score(some, samples=0)
        with pytest.raises(vk.ConfigError, match="no option 'colour'"):
            client.query("score", some, colour="red")
        with pytest.raises(vk.QueryError, match="'scores'"):
            client.query("scores", some)
        with pytest.raises(vk.ServingError, match="no model 'boats'") as caught:
            client.using("boats").score(some)
        assert caught.value.status == 404
    with vk.Client(live.url, "flights", api_key="wrong") as client:
        with pytest.raises(vk.ServingError) as caught:
            client.score(some)
        assert (caught.value.status, caught.value.kind) == (401, "unauthenticated")


def test_feedback_is_joined_to_the_answer(live, zoo):
    with vk.Client(live.url, "flights", rows=4) as client:
        answer = client.score(zoo["flights"].rows.slice(0, 10))
        kept = client.feedback(answer, row=9, label="late", kpi={"minutes": 12.5})
        assert kept["request_id"] == request_ids(answer)[2][0]
        assert kept["model"] == "flights"
        assert sorted(kept["kept"]) == ["kpi.minutes", "label"]
        with pytest.raises(vk.ServingError, match="no answer with request id"):
            client.feedback("never-asked", outcome=True)


@pytest.mark.parametrize("format", ["json", "arrow"])
def test_a_load_run_is_answered(live, zoo, format):
    plan = Plan(url=live.url, model="flights", format=format, rows=3, clients=4, seconds=1.0, warmup=0.0, timeout=60.0)
    found = load(plan, zoo["flights"].rows)
    assert found.failed == {}
    assert found.requests > 4
    assert found.rows_per_second == pytest.approx(3 * found.requests_per_second)


# --------------------------------------------------------------------------------------------------------- the examples


def test_curl(live, rows, zoo):
    done = run("sh", EXAMPLES / "curl.sh", live.url, "flights", rows / "rows.json")
    assert done.returncode == 0, done.stderr
    models, scores, _, feedback = (part for part in done.stdout.splitlines() if part[:1] == "{" or len(part) == 24)
    assert [model["name"] for model in json.loads(models)["models"]] == list(MODELS)
    expected = zoo["flights"].onnx.score(pq.read_table(rows / "rows.parquet"))["score"].to_pylist()
    assert [row["score"] for row in json.loads(scores)["rows"]] == pytest.approx(expected, rel=1e-4)
    assert json.loads(feedback)["kept"] == ["outcome"]
    assert len(json.loads(done.stderr)["rows"]) == 20


def test_python(live, rows):
    done = run(sys.executable, EXAMPLES / "score.py", live.url, "flights", rows / "rows.parquet")
    assert done.returncode == 0, done.stderr
    assert "strangest of 20 rows" in done.stdout
    assert "feedback kept: outcome" in done.stdout
    assert "embedding of 4 numbers" in done.stdout
    done = run(sys.executable, EXAMPLES / "score.py", live.url, "flights", rows / "rows.parquet", VAEKIT_API_KEY="x")
    assert done.returncode == 1
    assert "status 401" in done.stderr


def test_javascript(live, rows, zoo):
    done = run("node", EXAMPLES / "score.mjs", live.url, "flights", rows / "rows.json")
    assert done.returncode == 0, done.stderr
    scores, feedback = map(json.loads, done.stdout.splitlines())
    expected = zoo["flights"].onnx.score(pq.read_table(rows / "rows.parquet"), attribution=True)
    assert set(scores[0]) == set(expected.column_names)
    assert [row["score"] for row in scores] == pytest.approx(expected["score"].to_pylist(), rel=1e-4)
    assert feedback["kept"] == ["outcome"]
    done = run("node", EXAMPLES / "score.mjs", live.url, "boats", rows / "rows.json")
    assert done.returncode == 1
    assert "no model 'boats'" in done.stderr


def test_javascript_waits_as_long_as_it_is_asked_to(rows):
    good = told(200, b'{"rows": [{"score": 1.5}], "kept": []}', x_request_id="4f1c")
    with Crooked(fault(503, "queue_full", retry_after=1), good) as server:
        done = run("node", EXAMPLES / "score.mjs", server.url, "m", rows / "rows.json")
        assert done.returncode == 0, done.stderr
        first, second, feedback = server.requests
        assert second.at - first.at >= 1.0
        assert json.loads(feedback.body)["request_id"] == "4f1c"
    with Crooked(fault(500, "internal", "broken")) as server:
        done = run("node", EXAMPLES / "score.mjs", server.url, "m", rows / "rows.json")
        assert "broken (status 500" in done.stderr
        assert len(server.requests) == 1


def test_javascript_gives_up_in_time(rows, tmp_path):
    script = tmp_path / "short.mjs"
    script.write_text(
        f"import {{ Service }} from {json.dumps((EXAMPLES / 'score.mjs').as_uri())};\n"
        "const service = new Service(process.argv[2], { timeout: 0.5 });\n"
        "await service.ask('m', 'score', []).catch((error) => console.log(error.name));\n"
    )
    with Crooked(late(60, told(200, b"{}"))) as server:
        assert run("node", script, server.url).stdout.strip() == "TimeoutError"
        assert len(server.requests) == 1
