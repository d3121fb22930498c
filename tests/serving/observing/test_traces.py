"""Traces from the caller's span to the model, as an OTLP receiver gets them."""

import os
import subprocess
import sys
import threading

import grpc
import pytest

from tests.serving.receiver import receiving
from tests.serving.threaded import running, until
from vaekit.errors import ConfigError
from vaekit.serving.observing.traces import Traces
from vaekit.serving.rpc.messages import message
from vaekit.serving.wire.inference import SERVICE

ROW = {"dep_delay": 3.0, "distance": 200, "origin": "JFK", "carrier": None, "hour": 9.0}
ROWS = [ROW | {"arr_delay": 1.0, "air_time": 30.0, "evening": True}]
PARENT, INSIDE = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SERVER = 2  # SPAN_KIND_SERVER


@pytest.fixture(scope="module")
def receiver():
    with receiving() as found:
        yield found


@pytest.fixture(scope="module")
def server(zoo, receiver, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")  # milliseconds until spans are sent
        folder = tmp_path_factory.mktemp("traced")
        settings = {"bundles": {"flights": str(zoo["flights"].bundle)}, "grpc_port": 0}
        with running(folder, trace_endpoint=receiver.url, **settings) as found:
            yield found


def ask(server, request_id, parent=None, query="score", rows=ROWS, options=""):
    headers = {"x_request_id": request_id} | ({"traceparent": parent} if parent else {})
    return server.ask(query, rows, "flights", options, **headers)[0]


def trace_of(server, receiver, request_id):
    """Spans by name of the trace of a request, once its server span has come."""
    trace = server.line(request_id)["trace_id"]
    return until(lambda: (spans := receiver.of(trace)) and any(s.kind == SERVER for s in spans.values()) and spans)


def test_one_trace_from_the_callers_span_to_the_model(server, receiver):
    assert ask(server, "traced", f"00-{PARENT}-{INSIDE}-01") == 200
    assert server.line("traced")["trace_id"] == PARENT
    spans = trace_of(server, receiver, "traced")
    root = spans["POST /v1/models/{model}/{query}"]
    assert (root.parent, root.kind) == (INSIDE, SERVER)
    assert spans["queue"].parent == spans["batch"].parent == root.id
    assert {spans[name].parent for name in ("read", "infer", "write")} == {spans["batch"].id}
    assert root.start <= spans["queue"].start <= spans["queue"].end <= spans["batch"].start
    assert spans["batch"].start <= spans["read"].start <= spans["read"].end <= spans["infer"].end
    assert spans["infer"].end <= spans["write"].end <= spans["batch"].end <= root.end
    assert spans["infer"].end > spans["infer"].start


def test_spans_say_what_they_are_about_and_hold_no_values(server, receiver):
    assert ask(server, "described", rows=ROWS * 3) == 200
    assert ask(server, "refused", rows=[ROWS[0] | {"origin": "PLANTED"}]) == 422
    good = trace_of(server, receiver, "described")["POST /v1/models/{model}/{query}"]
    line = server.line("described")
    expected = {
        "http.request.method": "POST",
        "http.route": "/v1/models/{model}/{query}",
        "http.response.status_code": 200,
        "vaekit.model": "flights",
        "vaekit.version": line["version"],
        "vaekit.query": "score",
        "vaekit.rows": 3,
        "vaekit.request_id": "described",
    }
    assert expected.items() <= good.attributes.items()
    assert good.resource["service.name"] == "vaekit"
    bad = trace_of(server, receiver, "refused")["POST /v1/models/{model}/{query}"]
    assert bad.attributes["error.type"] == "ContractError"
    assert not bad.failed  # the caller is to blame
    assert b"PLANTED" not in receiver.content


def test_a_batch_is_linked_with_its_requests_in_both_directions(server, receiver):
    """Two requests that wait for the one worker are answered together."""
    slow = threading.Thread(target=ask, args=(server, "slow", None, "impute", ROWS * 2000, "?samples=200"))
    slow.start()
    until(lambda: server.server.batcher.running)
    names = ("first", "second")
    asked = [threading.Thread(target=ask, args=(server, name)) for name in names]
    for thread in asked:
        thread.start()
    for thread in [*asked, slow]:
        thread.join()
    assert server.line("first")["batch"] == server.line("second")["batch"]
    traces = [trace_of(server, receiver, name) for name in names]
    roots = [spans["POST /v1/models/{model}/{query}"] for spans in traces]
    assert roots[0].trace != roots[1].trace
    (batch,) = [spans["batch"] for spans in traces if "batch" in spans]
    assert batch.links == {root.id for root in roots}
    assert all(root.links == {batch.id} for root in roots)
    assert batch.parent in {root.id for root in roots}
    assert batch.attributes["vaekit.batch.requests"] == batch.attributes["vaekit.batch.rows"] == 2
    assert all(spans["queue"].end <= batch.start for spans in traces)


def test_calls_of_grpc_go_on_with_the_trace_of_their_metadata(server, receiver):
    trace = "1" * 32
    metadata = [("traceparent", f"00-{trace}-{INSIDE}-01")]
    with grpc.insecure_channel(f"127.0.0.1:{server.port('grpc')}") as channel:
        call = channel.unary_unary(f"/{SERVICE}/ModelMetadata")
        call(message("inference.ModelMetadataRequest")(name="flights").SerializeToString(), metadata=metadata)
        with pytest.raises(grpc.RpcError):
            call(message("inference.ModelMetadataRequest")(name="none").SerializeToString(), metadata=metadata)
    until(lambda: len([span for span in receiver.spans if span.trace == trace]) == 2)
    good, bad = sorted(
        (span for span in receiver.spans if span.trace == trace),
        key=lambda span: span.attributes["rpc.grpc.status_code"],
    )
    assert (good.parent, good.kind, good.name) == (INSIDE, SERVER, f"{SERVICE}/ModelMetadata")
    expected = {"rpc.system": "grpc", "rpc.service": SERVICE, "rpc.method": "ModelMetadata"}
    assert (expected | {"rpc.grpc.status_code": 0}).items() <= good.attributes.items()
    assert bad.attributes["rpc.grpc.status_code"] == grpc.StatusCode.NOT_FOUND.value[0]


def test_a_caller_who_does_not_sample_is_not_traced(server, receiver):
    trace = "2" * 32
    assert ask(server, "unsampled", f"00-{trace}-{INSIDE}-00") == 200
    assert server.line("unsampled")["trace_id"] == trace  # logs can be joined all the same
    assert ask(server, "sampled") == 200
    trace_of(server, receiver, "sampled")
    assert receiver.of(trace) == {}


@pytest.mark.parametrize("parent", ["nonsense", "00-" + "0" * 32 + "-" + "0" * 16 + "-01", "é" * 300])
def test_a_parent_that_is_none_starts_a_trace(server, receiver, parent):
    assert ask(server, f"odd-{len(parent)}", parent) == 200
    root = trace_of(server, receiver, f"odd-{len(parent)}")["POST /v1/models/{model}/{query}"]
    assert root.parent == ""


def test_a_receiver_that_does_not_answer_hurts_no_request(zoo, tmp_path, monkeypatch):
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    settings = {"bundles": {"flights": str(zoo["flights"].bundle)}}
    with running(tmp_path, trace_endpoint="http://127.0.0.1:9", **settings) as server:
        for _ in range(5):
            assert server.ask("score", ROWS)[0] == 200
        until(lambda: server.metrics()[("vaekit_spans_lost_total",)] > 0)
        assert server.ask("score", ROWS)[0] == 200
    said = [line["facts"] for line in server.lines("log")]
    assert said  # that spans cannot be sent is logged, as JSON
    assert all(facts["logger"].startswith("opentelemetry") for facts in said)


def test_traces_are_off_unless_they_are_asked_for(monkeypatch):
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_SDK_DISABLED"):
        monkeypatch.delenv(name, raising=False)
    assert Traces.asked() is None
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    asked = Traces.asked()
    assert asked is not None
    asked.close(0.0)
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert Traces.asked() is None


def test_the_standard_sampler_is_used(monkeypatch):
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    traces = Traces("http://127.0.0.1:9")
    assert not traces.request("POST /", 0.0, "", "", {}).is_recording()
    traces.close(0.0)


def test_opentelemetry_is_imported_only_where_it_is_used():
    code = "import sys, vaekit.serving.server; print([name for name in sys.modules if 'opentelemetry' in name])"
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env=env)
    assert done.stdout == "[]\n"


def test_traces_without_opentelemetry_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(ConfigError, match=r"vaekit\[trace\]"):
        Traces("http://127.0.0.1:9")
