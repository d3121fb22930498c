"""The guard: what each route needs, for callers with keys, and for browsers where there are none."""

import asyncio

import pytest

from tests.serving.access.test_keys import write
from vaekit.serving.access.gate import Access, Gate
from vaekit.serving.access.guard import Guard
from vaekit.serving.access.keys import make_key
from vaekit.serving.request import Request
from vaekit.serving.wire.asking import MAY, Told

FREE, WORDS = frozenset({"/live"}), {"/metrics": "metrics", "/feedback": "feedback"}


class Asked(Request):
    async def read(self):
        raise AssertionError("the guard reads no body")


def ask(guard, route, protocol="http", peer="192.0.2.7", model="", query="", **headers):
    """Send a request through; returns the status (200: it went through) and the request."""
    made = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
    request = Asked("id", protocol, "POST", route, None, made, model=model, query=query, peer=peer)

    async def handle(request):
        return Told(rows=3)

    told = asyncio.run(guard(request, handle))
    return told.fault.status if told.fault else 200, request


@pytest.fixture
def keys(tmp_path):
    """Keys by name, and a guard that knows them."""
    scopes = {"score": ("score:a",), "all": ("*:a",), "feedback": ("feedback",), "metrics": ("metrics",)}
    made = {name: make_key(name, value) for name, value in (scopes | {"admin": ("admin",)}).items()}
    write(tmp_path / "keys.toml", *(entry for _, entry in made.values()))
    guard = Guard(Gate(Access(keys=str(tmp_path / "keys.toml"))), local=False, free=FREE, words=WORDS)
    return guard, {name: key for name, (key, _) in made.items()}


def test_each_route_needs_what_it_says(keys):
    guard, key = keys
    table = {
        ("/live", "", ""): {*key, None},
        ("/metrics", "", ""): {"metrics", "admin"},
        ("/feedback", "", ""): {"feedback", "admin"},
        ("/models", "", ""): {*key},
        ("/models/{m}", "a", ""): {"score", "all", "admin"},
        ("/models/{m}", "b", ""): {"admin"},
        ("/ask", "a", "score"): {"score", "all", "admin"},
        ("/ask", "a", "impute"): {"all", "admin"},
        ("/ask", "b", "score"): {"admin"},
        ("/infer", "a", "infer"): {"score", "all", "admin"},
        ("/infer", "b", "infer"): {"admin"},
    }
    for (route, model, query), allowed in table.items():
        for name in (None, *key):
            shown = {} if name is None else {"x_api_key": key[name]}
            status, _ = ask(guard, route, model=model, query=query, **shown)
            assert status == (200 if name in allowed else 401 if name is None else 403), (route, model, query, name)


def test_where_the_body_names_the_query_the_worker_is_told_what_is_allowed(keys):
    guard, key = keys
    told = {name: ask(guard, "/i", model="a", query="infer", x_api_key=key[name])[1].asks for name in ("score", "all")}
    assert told == {"score": {MAY: "score"}, "all": {}}


def test_later_parts_learn_who_asks_and_what_may_be_seen(keys):
    guard, key = keys
    _, request = ask(guard, "/models", authorization=f"Bearer {key['score']}")
    assert request.caller == "key:score"
    assert request.sees("a")
    assert not request.sees("b")


def test_metrics_are_open_to_this_machine_alone(keys):
    guard, _ = keys
    assert ask(guard, "/metrics", peer="127.0.0.1")[0] == 200
    assert ask(guard, "/metrics", peer="")[0] == 200  # a Unix socket
    assert ask(guard, "/metrics")[0] == 401
    assert ask(guard, "/metrics", peer="127.0.0.1", x_forwarded_for="192.0.2.7")[0] == 401
    assert ask(guard, "/metrics", peer="127.0.0.1", forwarded="for=192.0.2.7")[0] == 401
    assert ask(guard, "/models", peer="127.0.0.1")[0] == 401


def test_rows_count_against_the_quota(tmp_path):
    key, entry = make_key("ci", ("*:*",), rows=1.0)
    write(tmp_path / "keys.toml", entry)
    guard = Guard(Gate(Access(keys=str(tmp_path / "keys.toml"))), local=False, free=FREE, words=WORDS)
    assert ask(guard, "/ask", model="a", query="score", x_api_key=key)[0] == 200
    assert ask(guard, "/ask", model="a", query="score", x_api_key=key)[0] == 429


@pytest.mark.parametrize(
    ("local", "headers", "status"),
    [
        (True, {"host": "localhost:8000"}, 200),
        (True, {"host": "127.0.0.1:8000"}, 200),
        (True, {"host": "[::1]:8000"}, 200),
        (True, {"host": "rebound.example:8000"}, 403),
        (True, {"host": "LOCALHOST"}, 200),
        (True, {}, 403),
        (True, {"host": "["}, 403),
        (True, {"host": "localhost.evil.example"}, 403),
        (True, {"host": "evil.example#@localhost"}, 403),
        (True, {"host": "localhost:8000", "origin": "http://["}, 403),
        (True, {"host": "localhost:8000", "origin": "http://localhost:8000"}, 200),
        (True, {"host": "localhost:8000", "origin": "https://evil.example"}, 403),
        (True, {"host": "localhost:8000", "origin": "http://localhost:9999"}, 403),
        (True, {"host": "localhost:8000", "origin": "null"}, 403),
        (False, {"host": "models.example"}, 200),
        (False, {"host": "models.example", "origin": "https://evil.example"}, 403),
    ],
)
def test_pages_of_elsewhere_cannot_use_a_service_without_keys(local, headers, status):
    guard = Guard(Gate(Access()), local=local, free=FREE, words=WORDS)
    assert ask(guard, "/ask", model="a", query="score", peer="127.0.0.1", **headers)[0] == status
    assert ask(guard, "/live", peer="127.0.0.1", **headers)[0] == 200


def test_grpc_is_not_spoken_by_pages():
    assert (
        ask(Guard(Gate(Access()), local=True, free=FREE, words=WORDS), "/ask", protocol="grpc", peer="127.0.0.1")[0]
        == 200
    )
