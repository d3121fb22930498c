"""A real Prometheus scrapes a server under load; the expressions of the documentation are put to it."""

import concurrent.futures
import contextlib
import json
import math
import re
import socket
import subprocess
import urllib.parse
import urllib.request
from bisect import bisect_left
from pathlib import Path

import pytest

from tests.serving.threaded import running, until
from vaekit.monitoring.metrics import LATENCIES

DOCUMENT = Path(__file__).parents[3] / "docs" / "observability.md"
ROW = {"dep_delay": 3.0, "distance": 200, "origin": "JFK", "carrier": None, "hour": 9.0}
ROW |= {"arr_delay": 1.0, "air_time": 30.0, "evening": True}


class Prometheus:
    """A Prometheus that scrapes every half second."""

    def __init__(self, port):
        self.url = f"http://127.0.0.1:{port}"

    def ask(self, expression):
        """Values by labels."""
        query = urllib.parse.urlencode({"query": expression})
        with urllib.request.urlopen(f"{self.url}/api/v1/query?{query}", timeout=20) as response:
            found = json.load(response)
        assert found["status"] == "success"
        return {
            tuple(value for name, value in sorted(one["metric"].items()) if name not in ("instance", "job")): float(
                one["value"][1]
            )
            for one in found["data"]["result"]
        }

    def ready(self):
        """Whether it answers."""
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.url}/-/ready", timeout=5) as response:
            return response.status == 200
        return False


@contextlib.contextmanager
def scraping(folder, target):
    """Run a Prometheus until the block ends."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = {
        "global": {"scrape_interval": "500ms", "scrape_timeout": "400ms"},
        "scrape_configs": [{"job_name": "vaekit", "static_configs": [{"targets": [f"127.0.0.1:{target}"]}]}],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config))  # JSON is YAML
    command = [
        "prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=error",
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        found = Prometheus(port)
        until(lambda: found.ready() or process.poll() is not None)
        yield found
    finally:
        process.terminate()
        process.wait(30)


def expressions():
    """The expressions of the documentation."""
    return re.findall(r"```promql\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def loaded(zoo, tmp_path_factory):
    """A Prometheus that saw a server before and after a load, and what the log says of the load."""
    folder = tmp_path_factory.mktemp("scraped")
    with (
        running(folder, bundles={"flights": str(zoo["flights"].bundle)}) as server,
        scraping(folder, server.port()) as prometheus,
    ):
        assert _failed(server, "first-failure") >= 500
        server.ask("score", [ROW] * 2)
        counted = 'vaekit_requests_total{model="flights",query="score",status="%s"}'
        scored = 'vaekit_row_score_nats_bucket{le="+Inf"}'
        until(lambda: prometheus.ask(counted % "2xx") and prometheus.ask(counted % "5xx") and prometheus.ask(scored))
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            sizes = {f"load-{number}": 4 ** (number % 5) for number in range(60)}  # quick ones and slow ones
            list(pool.map(lambda item: server.ask("score", [ROW] * item[1], x_request_id=item[0]), sizes.items()))
            list(pool.map(lambda number: _failed(server, f"failed-{number}"), range(15)))
        rows = 2 + sum(sizes.values())
        until(
            lambda: sum(prometheus.ask(counted % "5xx").values()) == 16 and sum(prometheus.ask(scored).values()) == rows
        )
        lines = [line for line in server.lines("request") if line["request_id"].startswith(("load-", "failed-"))]
        yield prometheus, lines, server


def _failed(server, request_id):
    """The status of a request that cannot be answered in its time."""
    return server.ask("score", [ROW], x_request_id=request_id, x_request_timeout="0.000001")[0]


def test_quantiles_of_latency_are_right_within_a_bucket(loaded):
    prometheus, lines, _ = loaded
    exact = sorted(line["total_ms"] / 1e3 for line in lines)
    assert len(exact) == 75
    latencies = [one for one in expressions() if "request_duration_seconds" in one]
    assert [one[:24] for one in latencies] == [f"histogram_quantile({q}," for q in ("0.50", "0.95", "0.99")]
    for share, expression in zip((0.50, 0.95, 0.99), latencies, strict=True):
        found = prometheus.ask(expression)["flights", "score"]
        ranks = (share * len(exact) - 1, share * len(exact) + 1)  # rate() extrapolates each bucket a bit
        first, last = (bisect_left(LATENCIES, exact[min(len(exact), max(1, math.ceil(rank))) - 1]) for rank in ranks)
        low, high = (0.0, *LATENCIES)[first], LATENCIES[last]
        assert low <= found <= high, (share, exact)


def test_the_failed_share_is_right(loaded):
    prometheus, lines, _ = loaded
    (expression,) = (one for one in expressions() if 'status="5xx"' in one)
    expected = sum(line["status"] >= 500 for line in lines) / len(lines)
    assert expected == 15 / 75
    assert prometheus.ask(expression) == {("flights",): pytest.approx(expected, rel=0.1)}  # rate() extrapolates a bit


def test_mean_and_median_of_rows_are_those_of_the_answers(loaded):
    prometheus, _, server = loaded
    score = server.ask("score", [ROW])[1]["rows"][0]["score"]  # every row was this one
    (median,) = (one for one in expressions() if "row_score_nats_bucket" in one)
    edges = server.server.observing.metrics.seen.spreads["score"].of("flights", edges=_edges(server)).edges
    place = bisect_left(edges, score)
    assert edges[place - 1] <= prometheus.ask(median)["flights",] <= edges[place]
    (mean,) = (one for one in expressions() if 'signal="reconstruction"' in one)
    divergence = prometheus.ask(mean.replace("reconstruction", "kl"))["flights",]
    assert prometheus.ask(mean)["flights",] + divergence == pytest.approx(score, abs=3.0)  # the ELBO bounds the score
    assert prometheus.ask(mean)["flights",] + divergence >= score - 1e-3


def _edges(server):
    (found,) = server.server.observing.metrics.seen.spreads["score"].found.values()
    return found.edges


def test_every_expression_of_the_documentation_has_data(loaded):
    prometheus, _, _ = loaded
    assert len(expressions()) >= 8
    for expression in expressions():
        found = prometheus.ask(expression)
        assert found, expression
        assert all(value == value for value in found.values()), (expression, found)
    missing = prometheus.ask(next(one for one in expressions() if "missing_cells" in one))
    assert missing["carrier", "flights"] == pytest.approx(1.0)  # it is missing in every row


def test_every_metric_is_documented_with_its_type_and_labels(loaded):
    *_, server = loaded
    text = DOCUMENT.read_text()
    rows = re.findall(r"^\| `(vaekit_\w+)` \| (\w+) \|([^|]*)\|", text, re.MULTILINE)
    documented = {name: (kind, tuple(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}
    exposed = {}
    for family in server.server.observing.metrics.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        exposed[name] = family.type
    assert {name: kind for name, (kind, _) in documented.items()} == exposed | {"vaekit_spans_lost_total": "counter"}
    for name, *labels in server.metrics():
        stem = re.sub(r"_(bucket|sum|count)$", "", name)
        if name.startswith("vaekit_"):
            assert len(labels) - name.endswith("_bucket") == len(documented[stem][1]), name
