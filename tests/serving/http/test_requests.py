"""Requests over HTTP in front of a stand-in for the workers: ids, deadlines, formats, methods, and how faults look."""

import tracemalloc

import httpx
import pytest

from tests.serving.stage import FACTS, Stage
from vaekit.serving.http.media import ARROW, ARROW_FILE, COLUMNS, CSV, JSON
from vaekit.serving.http.routes import Route, Routes
from vaekit.serving.http.v1 import GIVES, TAKES
from vaekit.serving.request import Refused
from vaekit.serving.wire.asking import Fault, Told
from vaekit.serving.wire.inference import TENSORS

SCORE = "/v1/models/m/score"


@pytest.fixture(scope="module")
def stage():
    with Stage() as stage:
        yield stage


@pytest.fixture
def ask(stage):
    """Ask, and return the response and what the workers were asked."""
    stage.asks.clear()
    stage.deadlines.clear()

    def ask(path=SCORE, content=b"{}", method="POST", **headers):
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        kinds = {"content-type": JSON} if method == "POST" else {}
        answer = httpx.request(method, stage.url + path, content=content, headers={**kinds, **named})
        return answer, stage.asks[-1] if stage.asks else None

    return ask


def fault(answer):
    """Status and kind of a fault, worded as it must be."""
    error = answer.json()["error"]
    assert set(error) == {"kind", "message", "field", "row", "request_id"}
    assert error["request_id"] == answer.headers["x-request-id"]
    assert answer.headers["content-type"] == JSON
    return answer.status_code, error["kind"]


# ------------------------------------------------------------------------------------------------------------------ ids


@pytest.mark.parametrize("sent", ["order-7", "a" * 128, "~!@#$%^&*()"])
def test_the_id_of_a_caller_is_kept(ask, sent):
    answer, asked = ask(x_request_id=sent)
    assert answer.headers["x-request-id"] == asked.id == sent


@pytest.mark.parametrize("sent", ["", "a" * 129, "two words", "tab\tbed", "é"])
def test_an_id_that_could_spoil_a_log_is_replaced(ask, sent):
    answer, asked = ask(x_request_id=sent.encode("latin-1"))
    assert answer.headers["x-request-id"] == asked.id != sent
    assert len(asked.id) == 24


def test_fresh_ids_differ(ask):
    assert len({ask()[1].id for _ in range(5)}) == 5


def test_an_answer_says_who_gave_it(ask):
    headers = ask()[0].headers
    told = {name: headers[f"x-vaekit-{name}"] for name in ("model", "version", "contract", "data")}
    assert told == {"model": "m", "version": "1234", "contract": "c0", "data": "d0"}


# ------------------------------------------------------------------------------------------------------------ deadlines


@pytest.mark.parametrize(("sent", "meant"), [("1.5", 1.5), ("2s", 2.0), ("250ms", 0.25), ("99999", 300.0)])
def test_a_caller_sets_a_deadline(ask, stage, sent, meant):
    ask(x_request_timeout=sent)
    assert meant / 2 - 0.25 < stage.deadlines[-1] <= meant + 0.05


def test_without_one_the_default_holds(ask, stage):
    ask()
    assert 20 < stage.deadlines[-1] <= 30.05


@pytest.mark.parametrize("sent", ["0", "-1", "soon", "1m", "nan", "inf", "1e3", "0ms"])
def test_a_deadline_that_makes_no_sense_is_refused(ask, sent):
    answer, asked = ask(x_request_timeout=sent)
    assert (fault(answer), asked) == ((400, "header"), None)


# -------------------------------------------------------------------------------------------------------------- formats


@pytest.mark.parametrize("kind", TAKES)
def test_the_body_goes_to_the_worker_as_it_came(ask, kind):
    answer, asked = ask(content=b"\0anything\xff", content_type=f"{kind.upper()}; a=b")
    assert (asked.takes, asked.body, answer.content) == (kind, b"\0anything\xff", b"\0anything\xff")


def test_a_body_in_pieces_arrives_whole(ask):
    content = bytes(range(256)) * 4000
    answer, asked = ask(content=iter([content[at : at + 70_001] for at in range(0, len(content), 70_001)]))
    assert asked.body == content == answer.content


@pytest.mark.parametrize(
    ("accept", "takes", "gives"),
    [
        ("*/*", JSON, JSON),
        ("application/json", ARROW, JSON),
        (COLUMNS, JSON, COLUMNS),
        ("application/json;shape=columns;charset=utf-8", JSON, COLUMNS),
        (ARROW, JSON, ARROW),
        ("*/*", ARROW, ARROW),  # as one asks, so one is answered
        ("*/*", ARROW_FILE, ARROW),
        ("*/*", CSV, CSV),
        ("text/csv, application/json;q=0.9", JSON, CSV),
        ("image/png, text/*;q=0.1", JSON, CSV),
        ("application/json;q=0, */*", JSON, ARROW),
    ],
)
def test_accept_chooses_the_answer(ask, accept, takes, gives):
    assert ask(content_type=takes, accept=accept)[1].gives == gives


def test_formats_of_the_front_are_those_of_the_workers():
    from vaekit.serving.worker.formats import READERS, WRITERS

    assert set(READERS) >= {*TAKES, TENSORS}
    assert set(WRITERS) >= {*GIVES, TENSORS}


@pytest.mark.parametrize("kind", ["application/xml", "application/x-www-form-urlencoded", "text/plain"])
def test_a_body_that_nobody_reads_is_refused(ask, kind):
    answer, asked = ask(content_type=kind)
    assert (fault(answer), asked) == ((415, "media_type"), None)
    assert JSON in answer.json()["error"]["message"]


def test_a_compressed_body_is_refused(ask):
    assert fault(ask(content_encoding="gzip")[0]) == (415, "encoding")


def test_an_answer_that_nobody_writes_is_refused(ask):
    answer, asked = ask(accept="image/png")
    assert (fault(answer), asked) == ((406, "not_acceptable"), None)


def test_a_body_without_a_length_is_refused(stage):
    with stage.raw(b"POST " + SCORE.encode() + b" HTTP/1.1\r\nHost: localhost\r\n\r\n") as connection:
        assert connection.recv(100).startswith(b"HTTP/1.1 411 ")


# -------------------------------------------------------------------------------------------------------------- options


def test_parameters_of_the_url_are_options(ask):
    assert ask(f"{SCORE}?samples=3&note=a%20b&empty=")[1].options == {"samples": "3", "note": "a b", "empty": ""}


@pytest.mark.parametrize("text", ["a=1&a=2", "a", "a=%ff"])
def test_parameters_that_say_two_things_or_nothing_are_refused(ask, text):
    answer, asked = ask(f"{SCORE}?{text}")
    assert (fault(answer), asked) == ((400, "option"), None)


# ------------------------------------------------------------------------------------------------------ paths, methods


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/v1/models/other/score", "no_such_model"),
        ("/v1/models/m/other", "no_such_query"),
        ("/v1/models/m/infer", "no_such_query"),
        ("/v1/models/m/score/", "no_such_path"),
        ("/v1/models//score", "no_such_path"),
        ("/v1", "no_such_path"),
    ],
)
def test_what_is_not_there_is_404(ask, path, kind):
    answer, asked = ask(path)
    assert (fault(answer), asked) == ((404, kind), None)


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", SCORE, "OPTIONS, POST"),
        ("DELETE", "/v1/models/m", "GET, HEAD, OPTIONS"),
        ("POST", "/livez", "GET, HEAD, OPTIONS"),
    ],
)
def test_a_method_that_is_not_possible_is_405(ask, method, path, allow):
    answer, asked = ask(path, method=method)
    assert (fault(answer), asked) == ((405, "method"), None)
    assert answer.headers["allow"] == allow


def test_head_is_get_without_the_body(ask):
    get, head = (ask("/v1/models/m", method=method)[0] for method in ("GET", "HEAD"))
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(get.content))


def test_options_says_what_is_possible_and_lets_no_page_in(ask):
    answer = ask(SCORE, method="OPTIONS", origin="http://elsewhere.example")[0]
    assert (answer.status_code, answer.headers["allow"], answer.content) == (200, "OPTIONS, POST", b"")
    assert not [name for name in answer.headers if name.startswith("access-control")]


# --------------------------------------------------------------------------------------------------------------- faults


@pytest.mark.parametrize(
    ("told", "retry"),
    [
        (Fault(status=422, kind="contract", message="wrong", field="x", row=3), None),
        (Fault(status=503, kind="queue_full", message="full", retry_after=0.2), "1"),
        (Fault(status=429, kind="rate_limit", message="too many", retry_after=2.1), "3"),
        (Fault(status=504, kind="deadline", message="late"), None),
    ],
)
@pytest.mark.parametrize("path", [SCORE, "/v2/models/m/infer"])
def test_faults_are_worded(told, retry, path):
    async def answer(ask):
        return Told(fault=told)

    with Stage(answer) as stage:
        got = httpx.post(stage.url + path, json={})
    assert (got.status_code, got.headers.get("retry-after")) == (told.status, retry)
    if path == SCORE:
        assert fault(got) == (told.status, told.kind)
        assert (got.json()["error"]["field"], got.json()["error"]["row"]) == (told.field, told.row)
    else:
        assert got.json() == {"error": told.message}


def test_a_defect_is_500_and_tells_nothing_of_itself(caplog):
    async def answer(ask):
        raise ZeroDivisionError("secret")

    with Stage(answer) as stage:
        got = httpx.post(stage.url + SCORE, json={})
        assert fault(got) == (500, "defect")
        assert "secret" not in got.text
        assert httpx.get(stage.url + "/livez").status_code == 200
    assert any(record.exc_info and "secret" in str(record.exc_info[1]) for record in caplog.records)


def test_paths_of_the_other_protocol_are_worded_in_it(ask):
    assert set(ask("/v2/nothing")[0].json()) == {"error"}
    assert isinstance(ask("/v2/nothing")[0].json()["error"], str)


# ------------------------------------------------------------------------------------------------------- what is around


def test_what_is_around_sees_every_request_and_can_refuse_it():
    seen = []

    async def watch(request, handle):
        told = await handle(request)
        seen.append((request.route, request.method, told.fault and told.fault.status))
        return told

    async def guard(request, handle):
        if request.header("authorization") != "Bearer good":
            return Told(fault=Fault(status=401, kind="unauthenticated", message="who are you?"))
        request.replies["x-quota"] = "7"
        request.most = 4
        request.sees = lambda name: request.header("x-sees") != "nothing"
        return await handle(request)

    with Stage(arounds=(watch, guard)) as stage:

        def ask(path, method="GET", **more):
            return httpx.request(method, stage.url + path, headers={"authorization": "Bearer good", **more})

        refused = httpx.post(stage.url + SCORE, json={})
        assert fault(refused) == (401, "unauthenticated")
        assert refused.headers["www-authenticate"].startswith("Bearer")
        assert ask("/v1/models/m").headers["x-quota"] == "7"
        assert ask("/v1/models", **{"x-sees": "nothing"}).json() == {"models": []}
        assert ask("/v1/models/m", **{"x-sees": "nothing"}).status_code == 404
        good = {"authorization": "Bearer good", "content-type": JSON}
        assert httpx.post(stage.url + SCORE, content=b"12345", headers=good).status_code == 413
        assert httpx.post(stage.url + SCORE, content=b"1234", headers=good).status_code == 200
        ask("/nothing", "PUT")
    assert seen[0] == ("/v1/models/{model}/{query}", "POST", 401)
    assert [one[2] for one in seen] == [401, None, None, 404, 413, None, 404]
    assert seen[-1][:2] == ("", "PUT")


# --------------------------------------------------------------------------------------------------------------- health


def test_health_follows_workers_and_draining(stage):
    def status(path):
        answer = httpx.get(stage.url + path)
        return answer.status_code, answer.json().get("error", {})

    names = ("/startupz", "/livez", "/readyz", "/v2/health/live", "/v2/health/ready", "/v2/models/m/ready")
    assert [status(name)[0] for name in names] == [200] * 6
    try:
        stage.ready = False
        assert [status(name)[0] for name in names] == [200, 200, 503, 200, 503, 503]
        assert "worker" in status("/readyz")[1]["message"]
        stage.models = {}
        assert [status(name)[0] for name in names] == [503, 200, 503, 200, 503, 503]
        assert "loaded" in status("/readyz")[1]["message"]
        assert httpx.post(stage.url + SCORE, json={}).status_code == 503
        assert httpx.get(stage.url + "/v1/models").headers["retry-after"] == "1"
        stage.ready, stage.models, stage.front.draining = True, {"m": FACTS}, True
        assert [status(name)[0] for name in names] == [200, 200, 503, 200, 503, 503]
        assert status("/readyz")[1]["kind"] == "draining"
    finally:
        stage.ready, stage.models, stage.front.draining = True, {"m": FACTS}, False


def test_a_refusal_carries_its_fault():
    fault = Fault(status=404, kind="no_such_model", message="there is none")
    assert (Refused(fault).fault, str(Refused(fault))) == (fault, "there is none")


def test_long_paths_are_not_remembered():
    routes = Routes([Route("/v1/models/{model}", {"GET": print})])
    tracemalloc.start()
    try:
        for number in range(4000):
            assert routes.find(f"/v1/models/{number:020000}").model == f"{number:020000}"
        assert tracemalloc.get_traced_memory()[0] < 4_000_000
    finally:
        tracemalloc.stop()
