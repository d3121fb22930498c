"""The life of the service: start, drain, stop, and what survives a crash; with real processes and signals."""

import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from tests.serving.live import PATIENCE, ROOT, Live
from vaekit.serving.settings import Settings

BODY = {"n": 2, "options": {"given": {"origin": "JFK", "hour": 9}}}
SAMPLE = "/v1/models/flights/sample"


@pytest.fixture(scope="module")
def bundle(zoo):
    return f"flights={zoo['flights'].bundle}"


def sampling(bundle, *arguments, **options):
    """A service that answers one query alone, and so starts sooner."""
    return Live(bundle, "--query", "sample", *arguments, **options)


# ----------------------------------------------------------------------------------------------------------------- stop


class Caller(threading.Thread):
    """Asks again and again over connections that are kept, and counts what comes of it.

    Args:
        live: Whom it asks.
        stop: When to end.
    """

    def __init__(self, live, stop):
        super().__init__(daemon=True)
        self.live, self.stop = live, stop
        self.answered = self.lost = self.refused = self.unready = 0
        self.closing = False

    def run(self):
        with httpx.Client(base_url=self.live.url, timeout=PATIENCE) as client:
            while not self.stop.is_set() and not self.refused:
                try:
                    answer = client.post(SAMPLE, json=BODY)
                except httpx.ConnectError:
                    self.refused += 1  # nothing was sent
                except httpx.HTTPError:
                    self.lost += 1
                else:
                    assert len(answer.json()["rows"]) == 2
                    self.answered += 1
                    self.closing = answer.headers.get("connection") == "close"


def test_a_stop_loses_nothing_that_was_sent(bundle):
    with sampling(bundle, "--set", "drain_delay=1.5") as live:
        stop = threading.Event()
        callers = [Caller(live, stop) for _ in range(12)]
        for caller in callers:
            caller.start()
        live.wait(lambda: all(caller.answered > 2 for caller in callers))
        live.process.send_signal(signal.SIGTERM)
        live.wait(lambda: httpx.get(f"{live.url}/readyz").status_code == 503)
        before = [caller.answered for caller in callers]
        live.wait(lambda: all(caller.answered > count for caller, count in zip(callers, before, strict=True)))
        assert live.process.wait(PATIENCE) == 0
        for caller in callers:
            caller.join(PATIENCE)
    assert [caller.lost for caller in callers] == [0] * 12
    assert all(caller.refused and caller.closing for caller in callers)


def in_flight(live):
    """Requests that are being handled, beside this question."""
    return float(re.search(r"^vaekit_requests_in_flight (.+)$", live.ask("/metrics").text, re.MULTILINE)[1]) - 1


def test_a_request_that_is_slow_is_answered_before_the_end(bundle):
    with sampling(bundle, "--set", "drain_delay=0", "--set", f"heartbeat_timeout={PATIENCE}") as live:
        front = live.process.pid
        worker = int(Path(f"/proc/{front}/task/{front}/children").read_text())
        os.kill(worker, signal.SIGSTOP)
        found = []
        asking = threading.Thread(target=lambda: found.append(live.ask(SAMPLE, {**BODY, "n": 10_000})))
        asking.start()
        live.wait(lambda: in_flight(live) == 1)
        live.process.send_signal(signal.SIGTERM)
        live.wait(lambda: "draining" in live.log)
        os.kill(worker, signal.SIGCONT)
        assert live.process.wait(PATIENCE) == 0
        asking.join(PATIENCE)
        assert (found[0].status_code, len(found[0].json()["rows"])) == (200, 10_000)


def test_a_request_whose_body_is_on_its_way_is_answered_before_the_end(bundle):
    body = b'{"n": 1, "options": {"given": {"origin": "JFK", "hour": 9}}}'
    head = f"POST {SAMPLE} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(body)}\r\n\r\n"
    with sampling(bundle, "--set", "drain_delay=0") as live, live.raw(head.encode() + body[:10]) as connection:
        live.process.send_signal(signal.SIGTERM)
        live.wait(lambda: "draining" in live.log)
        time.sleep(0.5)
        connection.sendall(body[10:])
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")
        assert live.process.wait(PATIENCE) == 0


def test_a_second_signal_ends_it_at_once(bundle):
    with sampling(bundle, "--set", "drain_delay=1000") as live:
        live.process.send_signal(signal.SIGINT)
        live.wait(lambda: "draining" in live.log)
        live.process.send_signal(signal.SIGINT)
        assert live.process.wait(PATIENCE) == 1


def test_what_does_not_end_is_cut_off(bundle):
    head = f"POST {SAMPLE} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 5\r\n\r\n"
    limits = ("--set", "drain_delay=0", "--set", "drain_timeout=0.5")
    with sampling(bundle, *limits) as live, live.raw(head.encode()):
        live.wait(lambda: in_flight(live) == 1)
        assert live.stop() == 1
        assert '"cut":1' in live.log


# ---------------------------------------------------------------------------------------------------------------- start


def refused(*arguments):
    """What is said by a service that does not start."""
    line = [sys.executable, "-m", "vaekit.cli", "serve", *map(str, arguments)]
    env = {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    done = subprocess.run(line, capture_output=True, text=True, timeout=PATIENCE, check=False, env=env)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_damaged_bundle_is_not_served(zoo, tmp_path):
    damaged = shutil.copytree(zoo["flights"].bundle, tmp_path / "damaged")
    graph = next((damaged / "graphs").iterdir())
    content = bytearray(graph.read_bytes())
    content[len(content) // 2] ^= 1
    graph.write_bytes(content)
    assert graph.name in refused(damaged, "--port", 0)


def test_a_query_that_a_bundle_cannot_answer_is_not_served(bundle):
    assert "forecast" in refused(bundle, "--port", 0, "--query", "forecast")


def test_a_port_that_is_taken_is_named(bundle):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"127.0.0.1:{port}" in refused(bundle, "--port", port)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "which model"),
        (("nowhere",), "nowhere"),
        (("run", "--set", "prot=1"), "did you mean port"),
        (("run", "--set", "port=many"), "port"),
        (("a=run", "a=other"), "'a'"),
        (("run", "--set", "drain_delay=-1"), "drain_delay"),
        (("run", "--set", "max_connections=100000000"), "ulimit"),
    ],
)
def test_wrong_use_says_what_to_do(arguments, said):
    assert said in refused(*arguments)


def test_a_file_says_everything_and_flags_win(zoo, tmp_path):
    config = tmp_path / "serve.toml"
    config.write_text(
        f'port = 1\nqueries = ["sample"]\nmax_body = 100\n[bundles]\nplanes = "{zoo["flights"].bundle}"\n'
    )
    with Live("--config", config) as live:  # with --port 0
        facts = live.ask("/v1/models/planes").json()
        assert set(facts["queries"]) == {"sample"}
        assert live.ask("/v1/models/planes/sample", {"n": 1, "options": {"seed": 10**99}}).status_code == 413


def test_it_listens_while_models_are_loaded(bundle):
    with sampling(bundle, ready=False) as live:
        assert httpx.get(f"{live.url}/livez").status_code == 200
        first = httpx.get(f"{live.url}/startupz").status_code
        live.wait(lambda: httpx.get(f"{live.url}/startupz").status_code == 200)
        assert first in (200, 503)
        live.wait(lambda: '"event":"ready"' in live.log)


# ---------------------------------------------------------------------------------------------------------------- state


def answers_in(state):
    """Answers that are written down."""
    with closing(sqlite3.connect(f"file:{state / 'feedback.sqlite'}?mode=ro", uri=True)) as database:
        return database.execute("SELECT count(*) FROM answered").fetchone()[0]


def test_feedback_finds_its_answer_after_a_crash(bundle, tmp_path):
    state = tmp_path / "state"
    with sampling(bundle, "--state", state) as live:
        assert live.ask(SAMPLE, BODY, headers={"x-request-id": "before"}).status_code == 200
        live.wait(lambda: answers_in(state) == 1)  # which is written without being asked for
        live.process.kill()
        live.process.wait(PATIENCE)
    with sampling(bundle, "--state", state) as live:
        assert "state_in_memory" not in live.log
        told = live.ask("/v1/feedback", {"request_id": "before", "outcome": True})
        assert (told.status_code, told.json()["query"], told.json()["kept"]) == (200, "sample", ["outcome"])
        assert live.ask("/v1/feedback", {"request_id": "never", "outcome": True}).status_code == 404
        [version] = live.ask("/v1/feedback/summary").json()["versions"]
        assert (version["answers"], version["remarked"], version["outcome_mean"]) == (1, 1, 1.0)
        live.process.kill()
        live.process.wait(PATIENCE)
    with sampling(bundle, "--state", state) as live:
        [version] = live.ask("/v1/feedback/summary").json()["versions"]
        assert version["outcomes"] == {"true": 1}


def test_without_a_folder_it_says_that_feedback_will_be_lost(bundle):
    with sampling(bundle) as live:
        live.wait(lambda: '"event":"ready"' in live.log)
        assert "state_in_memory" in live.log


# ----------------------------------------------------------------------------------------------------------------- docs


def test_every_setting_is_in_the_docs():
    page = (ROOT / "docs" / "service.md").read_text()
    assert [name for name in Settings.__struct_fields__ if f"`{name}`" not in page] == []
