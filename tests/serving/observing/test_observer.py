"""A server that is asked: what its metrics count, what its log says, and what neither ever holds."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading

import msgspec
import pytest

import vaekit as vk
from tests.serving.receiver import receiving
from tests.serving.threaded import Running, running, until
from tests.support import lenient
from vaekit.queries import QUERIES
from vaekit.serving.access.keys import make_key

ROW = {
    "dep_delay": 3.0,
    "arr_delay": 1.0,
    "distance": 200,
    "air_time": 30.0,
    "origin": "JFK",
    "carrier": "UA",
    "evening": True,
    "hour": 9.0,
}
PLANTED = 313373133731.25


@pytest.fixture(scope="module")
def bundle(zoo, tmp_path_factory):
    """Flights, whose carriers that are not known are read as missing."""
    return lenient(zoo, "carrier").bundle.save(tmp_path_factory.mktemp("bundles") / "flights")


@pytest.fixture(scope="module")
def server(bundle, tmp_path_factory):
    with running(tmp_path_factory.mktemp("served"), bundles={"flights": str(bundle)}, log_samples=1.0) as found:
        yield found


def grown(server, work):
    """What was added to the metrics by some work."""
    before = server.metrics()
    work()
    return {name: value - before.get(name, 0.0) for name, value in server.metrics().items()}


def test_requests_are_counted_by_model_query_and_outcome(server):
    def work():
        for _ in range(3):
            assert server.ask("score", [ROW, ROW])[0] == 200
        assert server.ask("score", [ROW | {"origin": "LHR"}])[0] == 422
        assert server.ask("score", [ROW], options="?samples=none")[0] == 400

    found = grown(server, work)
    assert found["vaekit_requests_total", "flights", "http", "score", "2xx"] == 3
    assert found["vaekit_requests_total", "flights", "http", "score", "4xx"] == 2
    assert found["vaekit_request_failures_total", "flights", "score", "ContractError"] == 1
    assert found["vaekit_request_duration_seconds_count", "flights", "score"] == 5
    assert found["vaekit_request_duration_seconds_sum", "flights", "score"] > 0
    assert found["vaekit_rows_total", "flights", "score"] == 6
    body = len(msgspec.json.encode({"rows": [ROW, ROW]}))
    assert found["vaekit_request_body_bytes_total", "flights", "score"] > 3 * body
    assert found["vaekit_response_body_bytes_total", "flights", "score"] > 3 * 50
    assert found["vaekit_invocations_total", "flights", "score"] == 4
    assert found[("vaekit_batch_requests_sum",)] == 5
    assert found[("vaekit_batch_rows_sum",)] == 7
    assert found["vaekit_queue_delay_seconds_count", "flights", "score"] == 5
    assert sum(value for name, value in found.items() if name[0] == "vaekit_batches_total") == 5
    spent = found["vaekit_device_seconds_total", "flights", "score"]
    assert spent >= found["vaekit_inference_duration_seconds_sum", "flights", "score"] > 0


def test_rows_are_counted_by_what_they_are(server):
    rows = [ROW, ROW | {"carrier": "??"}, ROW | {"carrier": None}, ROW | {"distance": None, "carrier": "!!"}]
    before = server.metrics()
    assert server.ask("score", rows)[0] == 200
    encoded = ("vaekit_encoded_rows_total", "flights")
    until(lambda: server.metrics().get(encoded, 0) == before.get(encoded, 0) + 4)  # told beside the answers
    after = server.metrics()

    def added(*name):
        return after[name] - before.get(name, 0)

    assert added("vaekit_unknown_categories_total", "carrier", "flights") == 2
    assert added("vaekit_missing_cells_total", "carrier", "flights") == 1
    assert added("vaekit_missing_cells_total", "distance", "flights") == 1
    for signal_ in ("score", "kl", "reconstruction"):
        assert added(f"vaekit_row_{signal_}_nats_bucket", "+Inf", "flights") == 4


def test_what_is_served_is_told(server, bundle):
    found = server.metrics()
    manifest = msgspec.json.decode((bundle / "manifest.json").read_bytes())
    expected = (manifest["contract"], manifest["data"], "flights", manifest["seal"][:12])
    assert [name[1:] for name in found if name[0] == "vaekit_model_info"] == [expected]
    assert found["vaekit_build_info", ".".join(map(str, sys.version_info[:3])), vk.__version__] == 1
    assert found[("vaekit_ready",)] == found[("vaekit_workers",)] == found[("vaekit_workers_configured",)] == 1
    assert found[("vaekit_cold_starts_total",)] >= 1
    assert found["vaekit_worker_resident_memory_bytes", "0"] > 30e6
    assert found["vaekit_worker_cpu_seconds_total", "0"] > 0
    assert found[("process_resident_memory_bytes",)] > 30e6
    assert found[("vaekit_requests_in_flight",)] == 1  # the scrape itself


def test_promtool_finds_nothing(server):
    server.ask("score", [ROW])
    text = server.request("GET", "/metrics")[2]
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_callers_cannot_make_series(server):
    """Ten thousand paths, models, queries and methods: the number of series stays what it was."""
    names = (f"{number:x}{'x' * (number % 7)}" for number in range(10_000))
    paths = ["/v1/models/{}/score", "/v1/models/flights/{}", "/v2/models/{}/infer", "/{}", "/v1/models/{}"]
    methods = ["POST", "GET", "PUT", "DELETE", "PATCH"]

    def throw(count):
        mark = b"HTTP/1.1 "
        with socket.create_connection(("127.0.0.1", server.port())) as connection:
            for start in range(0, count, 50):
                connection.sendall(b"".join(wanted(number) for number in range(start, start + 50)))
                answers, rest = 0, b""
                while answers < 50:
                    piece = connection.recv(1 << 16)
                    assert piece, f"closed after {start + answers} of {count} answers"
                    rest += piece
                    answers += rest.count(mark)
                    rest = rest[1 - len(mark) :]

    def wanted(number):
        path, method = paths[number % 5].format(next(names)), methods[number // 5 % 5]
        return f"{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n{{}}".encode()

    throw(250)
    before = server.metrics()
    throw(9_750)
    after = server.metrics()
    assert set(before) == set(after)
    labels = {label for name in after for label in name[1:]}
    assert len(after) < 1500
    assert {"other", "none", "flights"} <= labels
    assert not any(re.fullmatch(r"[0-9a-f]{3,}x*", label) for label in labels - {"none"} if len(label) < 12)


def test_what_is_no_request_is_counted_too(server):
    before = server.metrics()
    with socket.create_connection(("127.0.0.1", server.port())) as idle:
        assert server.metrics()[("vaekit_http_connections",)] >= 2  # this one, and that of the scrape
        idle.sendall(b"this is no HTTP\r\n\r\n")
        assert b"400" in idle.recv(1000)
    name = ("vaekit_http_refusals_total", "bad_request")
    assert server.metrics()[name] == before.get(name, 0) + 1


def test_a_request_has_a_line(server):
    status, headers, body = server.request("POST", "/v1/models/flights/score", {"rows": [ROW]}, {"x-request-id": "one"})
    line = server.line("one")
    sent = len(msgspec.json.encode({"rows": [ROW]}))
    expected = {
        "level": "info",
        "event": "request",
        "model": "flights",
        "version": headers["x-vaekit-version"],
        "contract": headers["x-vaekit-contract"][:12],
        "data": headers["x-vaekit-data"][:12],
        "query": "score",
        "protocol": "http",
        "route": "/v1/models/{model}/{query}",
        "status": status,
        "rows": 1,
        "bytes_in": sent,
        "bytes_out": len(body),
    }
    assert expected.items() <= line.items()
    assert 0 <= line["queue_ms"] < line["total_ms"]
    assert 0 < line["infer_ms"] < line["total_ms"]
    assert line["batch"] >= 1
    assert "kind" not in line


def test_requests_of_one_id_at_a_time_have_a_line_each(server):
    busy = threading.Thread(target=server.ask, args=("impute", [ROW] * 20), kwargs={"options": "?samples=1024"})
    same = [
        threading.Thread(target=server.ask, args=("score", [ROW] * rows), kwargs={"x_request_id": "same"})
        for rows in (1, 2)
    ]
    for thread in (busy, *same):
        thread.start()
    for thread in (busy, *same):
        thread.join()
    found = until(
        lambda: two if len(two := [x for x in server.lines("request") if x["request_id"] == "same"]) > 1 else 0
    )
    assert sorted(line["rows"] for line in found) == [1, 2]
    assert all(line["batch"] >= 1 and 0 <= line["queue_ms"] < line["total_ms"] for line in found)


def _lines(server, request_id):
    return [line for line in server.lines("request") if line["request_id"] == request_id]


def test_a_failure_has_a_line_that_says_where_and_not_what(server):
    for name, row in (("category", {"origin": "PLANTED"}), ("number", {"dep_delay": "PLANTED"})):
        status, _ = server.ask("score", [ROW, ROW | row], x_request_id=f"bad-{name}")
        assert status == 422
        line = server.line(f"bad-{name}")
        assert (line["level"], line["status"], line["kind"], line["row"]) == ("warning", 422, "ContractError", 1)
        assert line["field"] == next(iter(row))
    status, _, _ = server.request("POST", "/v1/models/PLANTED/PLANTED", {"rows": []}, {"x-request-id": "nowhere"})
    assert status == 404
    assert server.line("nowhere")["model"] == server.line("nowhere")["query"] == "other"
    assert b"PLANTED" not in server.log.read_bytes()


def test_probes_and_scrapes_are_counted_and_not_logged(server):
    found = grown(server, lambda: [server.request("GET", path) for path in ("/livez", "/readyz", "/v2/health/ready")])
    assert found["vaekit_requests_total", "none", "http", "none", "2xx"] >= 2
    server.ask("score", [ROW], x_request_id="after-probes")
    assert server.line("after-probes")
    logged = {line.get("route") for line in server.lines("request")}
    assert not logged & {"/livez", "/readyz", "/metrics", "/v2/health/ready"}


def test_rows_are_described_without_their_values(server):
    """What is planted in answered rows is nowhere in the log, though every row is described there."""
    row = ROW | {"dep_delay": PLANTED, "carrier": "PLANTED", "origin": "EWR", "distance": 1977777779}
    assert server.ask("score", [ROW, row], x_request_id="sampled")[0] == 200
    found = until(lambda: [one for one in server.lines("sample") if one["request_id"] == "sampled"])
    assert [one["sample"]["row"] for one in found] == [0, 1]
    told = found[1]["sample"]
    assert told["fields"]["dep_delay"] == "decile 10"
    assert told["fields"]["carrier"] == "unknown"
    assert told["fields"]["origin"] == "known"
    assert told["score"] > found[0]["sample"]["score"]
    assert "dep_delay" in told["strangest"]
    log = server.log.read_bytes()
    assert not any(value in log for value in (b"3133731337", b"PLANTED", b"1977777779", b"EWR", b"JFK"))


def test_rows_of_requests_that_were_asked_together_are_told_apart(server):
    """Each description goes to the request that its row came with."""
    together = False
    for attempt in range(30):  # until the machine had time to put some together; descriptions are right in any case
        rows = {f"part-{attempt}-{number}": number % 3 + 1 for number in range(6)}
        asked = [threading.Thread(target=server.ask, args=("impute", [ROW] * 20), kwargs={"options": "?samples=1024"})]
        for name, count in rows.items():
            strange = [ROW] * (count - 1) + [ROW | {"carrier": None}]
            asked.append(threading.Thread(target=server.ask, args=("score", strange), kwargs={"x_request_id": name}))
        for thread in asked:
            thread.start()
        for thread in asked:
            thread.join()
        found = until(lambda rows=rows: _samples(server, rows))
        for name, count in rows.items():
            assert [one["row"] for one in found[name]] == list(range(count))
            assert [one["fields"]["carrier"] for one in found[name]] == ["known"] * (count - 1) + ["missing"]
        together = len({server.line(name)["batch"] for name in rows}) < len(rows)
        if together:
            break
    assert together


def _samples(server, rows):
    found = {name: [] for name in rows}
    for line in server.lines("sample"):
        if line["request_id"] in found:
            found[line["request_id"]].append(line["sample"])
    return found if all(len(found[name]) == count for name, count in rows.items()) else None


def test_feedback_is_counted_by_model(server):
    server.ask("score", [ROW], x_request_id="judged")
    body = {"request_id": "judged", "outcome": True}
    found = grown(server, lambda: until(lambda: server.request("POST", "/v1/feedback", body)[0] == 200))
    assert found["vaekit_feedback_total", "flights"] == 1


def test_a_worker_that_dies_is_counted_and_logged(server):
    pid = next(iter(server.server.batcher.workers.values())).pid
    before = server.metrics()
    os.kill(pid, signal.SIGKILL)
    until(lambda: server.metrics()[("vaekit_cold_starts_total",)] == before[("vaekit_cold_starts_total",)] + 1)
    after = server.metrics()
    assert after["vaekit_worker_restarts_total", "lost"] == before.get(("vaekit_worker_restarts_total", "lost"), 0) + 1
    assert after[("vaekit_workers",)] == 1
    assert [name[1:] for name in after if name[0] == "vaekit_worker_cpu_seconds_total"] == [("0",)]
    until(lambda: len(server.lines("worker_ready")) == 2)
    events = [line["event"] for line in server.lines() if line["event"].startswith("worker_")]
    assert events == ["worker_started", "worker_ready", "worker_lost", "worker_started", "worker_ready"]
    assert server.lines("worker_lost")[0]["level"] == "error"


def test_the_life_of_the_service_is_logged(bundle, tmp_path):
    address = "http://user:PASSWORD@127.0.0.1:9/jwks"
    settings = {"log_level": "debug", "jwt_issuer": "http://127.0.0.1:9", "jwt_audience": ("a",), "jwt_keys": address}
    with running(tmp_path, bundles={"flights": str(bundle)}, **settings) as server:
        told = server.lines("settings")[0]["facts"]
        assert {"log_level": "debug", "port": 0, "jwt_keys": "http://127.0.0.1:9/jwks"}.items() <= told.items()
        assert not {"host", "stuck_after_query", "queries"} & set(told)
        model = server.lines("model")[0]["facts"]
        assert set(model["queries"]) <= set(QUERIES)
        server.request("GET", "/livez", headers={"x-request-id": "probe"})
        assert server.line("probe")["level"] == "debug"
    assert b"PASSWORD" not in server.log.read_bytes()
    events = [line["event"] for line in server.lines() if line["event"] not in ("worker_stopped", "request")]
    born, end = ["settings", "listening", "worker_started", "worker_ready", "model"], ["ready", "draining", "stopped"]
    assert events == [*born, "state_in_memory", *end]


def test_flags_say_what_is_told(bundle, tmp_path):
    """`vae serve` with all flags for logs and traces, as a process of its own."""
    log = tmp_path / "log"
    flags = {"--log-file": log, "--access-log": "failures", "--log-samples": 1, "--log-level": "info"}
    with receiving() as receiver:
        flags |= {"--trace-endpoint": receiver.url, "--port": 0, "--set": "drain_delay=0"}
        command = [sys.executable, "-m", "vaekit.cli", "serve", f"flights={bundle}"]
        command += [str(word) for flag in flags.items() for word in flag]
        env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OTEL_BSP_SCHEDULE_DELAY": "50"}
        process = subprocess.Popen(command, env=env, stderr=subprocess.PIPE)
        try:
            server = Running(None, log)
            until(lambda: server.lines("ready") or process.poll() is not None)
            server.ask("score", [ROW], x_request_id="good")
            server.ask("score", [ROW | {"origin": "LHR"}], x_request_id="bad")
            until(lambda: server.lines("sample") and len({span.trace for span in receiver.spans}) == 2)
        finally:
            process.terminate()
            said = process.communicate(timeout=60)[1]
    assert (process.returncode, said) == (0, b"")  # all is in the file
    assert [line["request_id"] for line in server.lines("request")] == ["bad"]
    assert server.lines("request")[0]["trace_id"] in {span.trace for span in receiver.spans}


@pytest.mark.parametrize("access", ["failures", "none"])
def test_fewer_requests_are_logged_if_so_wished(bundle, tmp_path, access):
    with running(tmp_path, bundles={"flights": str(bundle)}, access_log=access) as server:
        server.ask("score", [ROW], x_request_id="good")
        server.ask("score", [ROW | {"origin": "LHR"}], x_request_id="bad")
    assert [line["request_id"] for line in server.lines("request")] == (["bad"] if access == "failures" else [])


def test_refusals_of_authorisation_are_counted_and_no_key_is_logged(bundle, tmp_path):
    key, entry = make_key("lab", ("embed:flights",))
    (tmp_path / "keys.toml").write_text("[[key]]\n" + msgspec.toml.encode(entry).decode())
    with running(tmp_path, bundles={"flights": str(bundle)}, keys=str(tmp_path / "keys.toml")) as server:
        assert server.ask("score", [ROW])[0] == 401
        assert server.ask("score", [ROW], authorization="Bearer nobody's")[0] == 401
        assert server.ask("score", [ROW], authorization=f"Bearer {key}")[0] == 403
        assert server.ask("embed", [ROW], authorization=f"Bearer {key}", x_request_id="allowed")[0] == 200
        assert server.line("allowed")["caller"] == "key:lab"
        found = server.metrics()
        assert sum(value for name, value in found.items() if name[0] == "vaekit_auth_rejections_total") == 3
    log = server.log.read_text()
    assert key not in log
    assert key.rpartition("_")[2] not in log
