"""The clients against servers that misbehave: both do the same, and only what is safe."""

import asyncio
import inspect
import json
import sys
import time

import numpy as np
import pyarrow as pa
import pytest

import vaekit as vk
from tests.client.crooked import Crooked, drip, fault, half, html, late, reset, rows_back, table, told
from vaekit.client import Retry, request_ids

ROWS = pa.table({"x": np.arange(10)})
SCORES = pa.table({"score": [1.5]})
FAST = Retry(base=0.001)


class Threads:
    """Calls a `Client`."""

    def __init__(self, server, model="m", **options):
        self.client = vk.Client(server.url, model, **{"retry": FAST, "timeout": 20.0, **options})

    def __call__(self, word, *args, **options):
        return getattr(self.client, word)(*args, **options)


class Asyncio:
    """Calls an `AsyncClient`, each time in an event loop of its own."""

    def __init__(self, server, model="m", **options):
        self.make = lambda: vk.AsyncClient(server.url, model, **{"retry": FAST, "timeout": 20.0, **options})

    def __call__(self, word, *args, **options):
        async def main():
            async with self.make() as client:
                return await getattr(client, word)(*args, **options)

        return asyncio.run(main())


@pytest.fixture(params=[Threads, Asyncio])
def client(request):
    """Makes a client that is called like ``ask("score", rows)``."""
    return request.param


# -------------------------------------------------------------------------------------------------------------- repeats


@pytest.mark.parametrize("trouble", [reset, half, fault(503, "worker_lost"), fault(429, "rate_limit")])
def test_trouble_that_passes_is_not_seen(client, trouble):
    with Crooked(trouble, trouble, table(SCORES)) as server:
        assert client(server)("score", ROWS)["score"].to_pylist() == [1.5]
        assert len(server.requests) == 3
        assert len({request.body for request in server.requests}) == 1


@pytest.mark.parametrize("status", [400, 401, 404, 413, 500, 502, 504])
def test_what_another_try_does_not_mend_is_not_tried_again(client, status):
    with Crooked(fault(status, "some_kind", "because")) as server:
        with pytest.raises(vk.ServingError, match="because") as caught:
            client(server)("score", ROWS)
        assert (caught.value.status, caught.value.kind, caught.value.request_id) == (status, "some_kind", "4f1c")
        assert len(server.requests) == 1


def test_a_pause_is_as_long_as_the_service_asks(client):
    with Crooked(fault(503, "queue_full", retry_after=1), table(SCORES)) as server:
        client(server)("score", ROWS)
        first, second = server.requests
        assert second.at - first.at >= 1.0


def test_a_pause_that_is_too_long_is_not_made(client):
    with Crooked(fault(503, "draining", retry_after=60)) as server:
        began = time.monotonic()
        with pytest.raises(vk.ServingError, match="draining") as caught:
            client(server, timeout=20.0)("score", ROWS)
        assert caught.value.retry_after == 60
        assert time.monotonic() - began < 15
        assert len(server.requests) == 1


def test_tries_end(client):
    with Crooked(reset) as server:
        with pytest.raises(vk.ServingError, match="after 3 tries") as caught:
            client(server, retry=Retry(tries=3, base=0.001))("score", ROWS)
        assert caught.value.kind == "connection"
        assert caught.value.status is None
        assert len(server.requests) == 3


def test_repeats_are_a_bounded_share_of_all_requests():
    with Crooked(fault(503, "queue_full")) as server:
        ask = Threads(server, retry=Retry(base=0.0, share=0.5, reserve=4.0))
        for _ in range(20):
            with pytest.raises(vk.ServingError):
                ask("score", ROWS)
        assert 20 + 4 < len(server.requests) <= 20 + 4 + 10  # at once up to 3 of each would be 80


# --------------------------------------------------------------------------------------------------------------- limits


@pytest.mark.parametrize("behaviour", [late(60, table(SCORES)), drip])
def test_no_answer_takes_longer_than_it_may(client, behaviour):
    with Crooked(behaviour) as server:
        began = time.monotonic()
        with pytest.raises(vk.ServingError, match="in time") as caught:
            client(server, timeout=0.5)("score", ROWS)
        assert caught.value.kind == "timeout"
        assert time.monotonic() - began < 15
        assert len(server.requests) == 1


def test_the_service_is_told_what_is_left_of_the_time(client):
    with Crooked(fault(503, "queue_full", retry_after=1), table(SCORES)) as server:
        client(server, timeout=15.0)("score", ROWS)
        first, second = (float(request.headers["x-request-timeout"]) for request in server.requests)
        assert 10.0 < first <= 15.0
        assert second <= first - 1.0


# --------------------------------------------------------------------------------------------------------- large tables


def test_large_tables_go_in_parts_and_come_back_in_order(client):
    with Crooked(rows_back) as server:
        answer = client(server, rows=3, concurrency=2)("score", ROWS)
        assert answer["x"].to_pylist() == list(range(10))
        assert request_ids(answer) == [("id-0", 3), ("id-3", 3), ("id-6", 3), ("id-9", 1)]
        sent = sorted(pa.ipc.open_stream(request.body).read_all()["x"].to_pylist() for request in server.requests)
        assert sent == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]
        assert server.most == 2


def test_a_table_without_rows_is_one_request(client):
    with Crooked(table(SCORES.slice(0, 0))) as server:
        assert client(server)("score", ROWS.slice(0, 0)).num_rows == 0
        assert len(server.requests) == 1


def test_an_error_names_the_row_of_the_whole_table(client):
    message = "value is infinite (field 'x', row 1): expected a finite number"

    async def one_bad_row(request, writer):
        first = pa.ipc.open_stream(request.body).read_all()["x"][0].as_py()
        bad = fault(422, "ContractError", message, field='"x"', row=1)
        await (bad if first == 6 else table(SCORES))(request, writer)

    with Crooked(one_bad_row) as server:
        with pytest.raises(vk.ContractError) as caught:
            client(server, rows=3)("score", ROWS)
        assert (caught.value.field, caught.value.row) == ("x", 7)
        assert str(caught.value) == "value is infinite: expected a finite number (field 'x', row 7)"


def test_noise_of_a_part_belongs_to_the_place_of_its_rows(client):
    with Crooked(rows_back) as server:
        client(server, rows=4, concurrency=1)("denoise", ROWS, seed=3)
        assert [request.path.partition("?")[2] for request in server.requests] == [
            "seed=3",
            "seed=3&first=4",
            "seed=3&first=8",
        ]


# --------------------------------------------------------------------------------------------------------- what is sent


def test_options_are_parameters_and_those_not_given_are_left_to_the_service(client):
    with Crooked(table(SCORES)) as server:
        ask = client(server, "flights/new")
        ask("score", {"x": [1.0]}, attribution=True)
        ask("embed", np.zeros((2, 3)))
        assert [request.path for request in server.requests] == [
            "/v1/models/flights%2Fnew/score?attribution=true",
            "/v1/models/flights%2Fnew/embed",
        ]
        assert pa.ipc.open_stream(server.requests[1].body).read_all().column_names == ["x0", "x1", "x2"]


def test_questions_that_are_not_about_one_table_are_json(client):
    with Crooked(table(SCORES)) as server:
        ask = client(server)
        ask("sample", 5, given={"x": np.float64(2.5)}, seed=1)
        ask("interpolate", {"x": [1.0]}, {"x": [np.nan]}, steps=3)
        ask("traverse", 2, at={"x": [7]}, reach=1.0)
        assert [json.loads(request.body) for request in server.requests] == [
            {"n": 5, "options": {"given": {"x": 2.5}, "seed": 1}},
            {"a": [{"x": 1.0}], "b": [{"x": None}], "options": {"steps": 3}},
            {"dim": 2, "at": [{"x": 7}], "options": {"reach": 1.0}},
        ]


@pytest.mark.parametrize(
    ("given", "found", "sent"), [("k1", None, "k1"), (None, "k2", "k2"), ("k1", "k2", "k1"), (None, None, None)]
)
def test_the_key_is_given_or_found(client, monkeypatch, given, found, sent):
    monkeypatch.delenv("VAEKIT_API_KEY", raising=False)
    if found:
        monkeypatch.setenv("VAEKIT_API_KEY", found)
    with Crooked(table(SCORES)) as server:
        client(server, api_key=given)("score", ROWS)
        assert server.requests[0].headers.get("authorization") == (sent and f"Bearer {sent}")


def test_feedback_goes_to_the_request_of_its_row(client):
    reply = told(200, b'{"kept": ["label"]}')
    with Crooked(rows_back, rows_back, rows_back, rows_back, reply) as server:
        ask = client(server, rows=3)
        answer = ask("score", ROWS)
        assert ask("feedback", answer, row=7, label="odd") == {"kept": ["label"]}
        assert json.loads(server.requests[-1].body) == {"request_id": "id-6", "row": 1, "label": "odd"}
        ask("feedback", "own-id", outcome=False, kpi={"saved": 2.5})
        assert json.loads(server.requests[-1].body) == {"request_id": "own-id", "outcome": False, "kpi": {"saved": 2.5}}
        for row, what in ((None, "which row"), (10, "not one of the 10")):
            with pytest.raises(vk.ConfigError, match=what):
                ask("feedback", answer, row=row, label="odd")


def test_readiness_is_asked_once_and_never_raises(client):
    with Crooked(fault(503, "not_ready"), told(200, b"{}"), reset) as server:
        ask = client(server)
        assert [ask("ready") for _ in range(3)] == [False, True, False]


# ------------------------------------------------------------------------------------------------------------ wrong use


def test_other_servers_are_told_apart(client):
    with Crooked(html) as server:
        with pytest.raises(vk.ServingError, match=r"<html>bad gateway</html>.*is this the address") as caught:
            client(server)("score", ROWS)
        assert caught.value.status == 502
    with Crooked(told(200, b"hello")) as server:
        for word, args in (("score", [ROWS]), ("models", [])):
            with pytest.raises(vk.ServingError, match="'hello'"):
                client(server)(word, *args)


@pytest.mark.parametrize("kind", ["BundleError", "ConfigError", "QueryError"])
def test_errors_are_those_of_the_library(client, kind):
    told = pytest.raises(getattr(vk, kind), match="^as it was said there$")
    with Crooked(fault(400, kind, "as it was said there")) as server, told:
        client(server)("score", ROWS)


def test_wrong_use_is_refused_before_anything_is_sent(client):
    with Crooked(table(SCORES)) as server:
        with pytest.raises(vk.ConfigError, match="name a model"):
            client(server, None)("score", ROWS)
        with pytest.raises(vk.QueryError, match="takes one table, got 2"):
            client(server)("query", "score", ROWS, ROWS)
        with pytest.raises(vk.QueryError, match="takes n; got 2"):
            client(server)("query", "sample", 1, 2)
        assert not server.requests
    for wrong in ({"timeout": 0}, {"rows": 0}, {"concurrency": 0}):
        with pytest.raises(vk.ConfigError, match="at least 1"):
            vk.Client("http://127.0.0.1:9", **wrong)
    with pytest.raises(vk.ConfigError, match="address of a service"):
        vk.Client("127.0.0.1:8000")
    with pytest.raises(vk.ConfigError, match="tries"):
        Retry(tries=0)


def test_without_httpx_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(vk.ConfigError, match=r"vaekit\[client\]"):
        vk.Client("http://127.0.0.1:9")


def test_another_model_goes_over_the_same_connections():
    with Crooked(table(SCORES)) as server, vk.Client(server.url, "a", timeout=20.0) as client:
        other = client.using("b", timeout=10.0)
        client.score(ROWS)
        other.score(ROWS)
        assert [request.path for request in server.requests] == ["/v1/models/a/score", "/v1/models/b/score"]
        assert float(server.requests[1].headers["x-request-timeout"]) <= 10.0
        assert other._http is client._http


# ------------------------------------------------------------------------------------------------------------ the words

WORDS = ["score", "detect", "embed", "reconstruct", "denoise", "impute", "sample", "interpolate", "traverse", "query"]


@pytest.mark.parametrize("word", WORDS)
def test_the_words_are_those_of_a_model(word):
    for kind in (vk.Client, vk.AsyncClient):
        ours, model = (inspect.signature(getattr(one, word)).parameters for one in (kind, vk.Model))
        here = {name: p for name, p in model.items() if name != "where"}  # may draw for long, so no service does
        assert {n: p.kind for n, p in ours.items()} == {n: p.kind for n, p in here.items()}
        optional = {name for name, p in here.items() if p.kind is p.KEYWORD_ONLY}
        assert {name: ours[name].default for name in optional} == dict.fromkeys(optional)
