"""Load runs against servers whose speed and faults are known."""

import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import vaekit as vk
from tests.client.crooked import Crooked, fault, late, reset, table, told
from vaekit.cli import main
from vaekit.client.load import Plan, load

ROWS = pa.table({"x": np.arange(100.0)})
GOOD = told(200, b"{}")


def run(server, data=ROWS, **options):
    return load(Plan(url=server.url, model="m", **{"seconds": 1.0, "warmup": 0.0, "clients": 4, **options}), data)


def test_rate_and_latency_of_a_service_of_known_speed():
    with Crooked(late(0.1, GOOD)) as server:
        found = run(server, rows=5, clients=4)
        assert 95 < found.p50_ms <= found.p95_ms <= found.p99_ms <= found.max_ms
        assert found.failed == {}
        assert found.requests_per_second == pytest.approx(found.requests / 1.0)
        assert found.requests <= 4 * 11  # each of four clients waits a tenth of a second for each answer
        assert found.rows_per_second == pytest.approx(5 * found.requests_per_second)
        assert server.most == 4
        assert len(json.loads(server.requests[0].body)["rows"]) == 5


def test_failures_are_told_apart_and_are_not_answers():
    async def in_turn(request, writer):
        turn = len(server.requests) % 4
        await (GOOD, fault(503, "queue_full", retry_after=1), reset, late(30, GOOD))[turn](request, writer)

    with Crooked(in_turn) as server:
        found = run(server, timeout=0.3, clients=8)
    assert set(found.failed) == {"503 queue_full", "connection", "timeout"}
    failed = sum(found.failed.values())
    assert found.failed_rate == pytest.approx(failed / found.requests)
    assert found.later == found.failed["503 queue_full"]
    assert found.requests_per_second == pytest.approx(found.requests - failed)
    assert found.max_ms < 300


def test_without_a_good_answer_there_are_no_percentiles():
    with Crooked(told(500, b"oh")) as server:
        found = run(server, seconds=0.3)
    assert (found.p50_ms, found.max_ms, found.requests_per_second) == (None, None, 0)
    assert list(found.failed) == ["500"]
    assert found.failed_rate == 1


def test_in_an_open_loop_the_rate_is_kept_and_waiting_counts():
    with Crooked(late(0.2, GOOD)) as server:
        found = run(server, rate=50.0, clients=2, seconds=1.5, timeout=2.0)
    assert 40 < found.requests < 110  # arrivals at random, 75 on average, though ten a second are answered
    assert found.p95_ms > 1000  # of a service that needs 200
    assert found.failed["timeout"] > 10


def test_rows_travel_as_asked():
    with Crooked(table(ROWS)) as server:
        run(server, format="arrow", rows=3, options={"samples": 1}, seconds=0.3, clients=1)
        assert {request.path for request in server.requests} == {"/v1/models/m/score?samples=1"}
        sent = [pa.ipc.open_stream(request.body).read_all()["x"].to_pylist() for request in server.requests]
        assert sent[:2] == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]


def test_other_machines_are_left_alone():
    for url in ("http://192.0.2.1:80", "http://0.0.0.0:80"):
        with pytest.raises(vk.ConfigError, match="not this machine"):
            load(Plan(url=url, model="m"), ROWS)


def test_wrong_plans_are_refused():
    for wrong in ({"rows": 0}, {"clients": 0}, {"rate": 0.0}, {"seconds": 0.0}, {"timeout": 0.0}, {"seconds": 1e9}):
        with pytest.raises(vk.ConfigError):
            Plan(url="http://127.0.0.1:9", model="m", **wrong)
    with pytest.raises(vk.ConfigError, match="asks about rows"):
        Plan(url="http://127.0.0.1:9", model="m", query="sample")
    with pytest.raises(vk.ConfigError, match="at least 200 rows"):
        load(Plan(url="http://127.0.0.1:9", model="m", rows=200), ROWS)
    with pytest.raises(vk.ServingError, match="nobody answers"):
        load(Plan(url="http://127.0.0.1:9", model="m"), ROWS)


# ---------------------------------------------------------------------------------------------------------- the command


@pytest.fixture
def vae(capsys, tmp_path):
    """Run ``vae load`` on a file of rows; returns exit code, stdout and stderr."""
    pq.write_table(ROWS, tmp_path / "rows.parquet")

    def run(url, *flags):
        with pytest.raises(SystemExit) as stop:
            main(["load", url, str(tmp_path / "rows.parquet"), "-m", "m", "--seconds", "0.3", "--warmup", "0", *flags])
        told = capsys.readouterr()
        return stop.value.code or 0, told.out, told.err

    return run


def test_the_command_prints_for_people_and_for_programs(vae):
    with Crooked(GOOD) as server:
        code, out, _ = vae(server.url, "--option", "samples=1")
        assert code == 0
        assert re.search(r"answered +[\d,.]+ requests/s, [\d,.]+ rows/s\nlatency +P50 [\d.]+ ms, P95", out)
        assert "failed     0.000%" in out
        code, out, _ = vae(server.url, "--json")
        measured = json.loads(out)["measured"]
        assert code == 0
        assert measured["requests"] > 0
        assert measured["plan"]["query"] == "score"


@pytest.mark.parametrize(
    ("behaviour", "limits", "code", "told"),
    [
        (late(0.02, GOOD), ["--max-p95", "1"], 1, "P95"),
        (late(0.02, GOOD), ["--max-p95", "60000", "--max-failed", "0"], 0, ""),
        (fault(503, "queue_full"), ["--max-failed", "0.5"], 1, "failed 100"),
        (fault(503, "queue_full"), ["--max-p95", "60000"], 1, "P95 – is above"),
        (fault(503, "queue_full"), [], 0, ""),
    ],
)
def test_limits_decide_the_exit_code(vae, behaviour, limits, code, told):
    with Crooked(behaviour) as server:
        found, _, err = vae(server.url, *limits)
        assert found == code
        assert told in err


def test_nobody_there_is_wrong_use(vae):
    code, _, err = vae("http://127.0.0.1:9")
    assert code == 2
    assert "nobody answers" in err
