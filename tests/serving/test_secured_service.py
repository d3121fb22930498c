"""A service with keys, tokens, limits and TLS, asked over real sockets; and all that it wrote, searched for secrets."""

import contextlib
import shutil
import time

import grpc
import httpx
import pytest

from tests.serving.access.test_keys import write
from tests.serving.certificates import Authority
from tests.serving.issuer import Issuer
from tests.serving.live import PATIENCE, Live
from tests.serving.receiver import receiving
from vaekit.bundle.manifest import manifest_bytes
from vaekit.bundle.signature import new_signing_key, sign
from vaekit.serving.access.keys import make_key
from vaekit.serving.rpc.messages import message
from vaekit.serving.wire.inference import SERVICE

SCOPES = {
    "score": ("score:flights",),
    "all": ("*:flights",),
    "elsewhere": ("score:other",),
    "metrics": ("metrics",),
    "feedback": ("feedback",),
}
ROW = {"dep_delay": 3.0, "arr_delay": None, "distance": 500, "air_time": 80.0, "carrier": "UA", "origin": "JFK"}
ROW |= {"hour": 9.0, "evening": False}
PLANTED = "PLANTED-CELL-7291"  # a value of a cell
NUMBER = 73219041.5  # the same


def client_of(service, **options):
    """An HTTP client that takes nothing from the environment."""
    return httpx.Client(base_url=service.url, timeout=PATIENCE, trust_env=False, **options)


class Secured:
    """A secured service, and what its callers need."""

    def __init__(self, folder, bundle):
        authority, self.issuer = Authority(folder), Issuer()
        self.issuer.add("first")
        self.ca = authority.path
        cert, tls_key = authority.issue("server")
        self.file = folder / "keys.toml"
        made = {name: make_key(name, scopes) for name, scopes in SCOPES.items()}
        made["slow"] = make_key("slow", ("*:flights",), rate=1.0)
        self.keys = {name: key for name, (key, _) in made.items()}
        self.entries = [entry for _, entry in made.values()]
        write(self.file, *self.entries)
        settings = ["--keys", self.file, "--tls-cert", cert, "--tls-key", tls_key, "--state", folder / "state"]
        tokens = ["--jwt-issuer", self.issuer.url, "--jwt-audience", "vaekit"]
        self.closing = contextlib.ExitStack()
        self.traces = self.closing.enter_context(receiving())
        seen = [f"trace_endpoint={self.traces.url}", "log_level=debug", "log_samples=1.0"]
        settings += [part for one in seen for part in ("--set", one)]
        more = ["--grpc-port", 0, "--set", "max_body=300000", "--set", "max_rows=50", "--set", "drain_delay=0"]
        self.folder = folder
        self.service = Live(f"flights={bundle}", *settings, *tokens, *more, authority=str(self.ca))
        assert self.service.url, self.service.log
        self.http = client_of(self.service, verify=str(self.ca))
        target = self.service.grpc.replace("127.0.0.1", "localhost")
        self.channel = grpc.secure_channel(target, grpc.ssl_channel_credentials(self.ca.read_bytes()))

    def close(self):
        self.channel.close()
        self.http.close()
        self.service.__exit__()
        self.issuer.close()
        self.closing.close()

    def ask(self, path, body=None, *, key=None, token=None, **headers):
        """Status and body of an answer; a body is sent with POST."""
        if key or token:
            headers["Authorization"] = f"Bearer {self.keys[key] if key else token}"
        answer = self.http.request("POST" if body is not None else "GET", path, json=body, headers=headers)
        return answer.status_code, answer

    def call(self, method, request, key=None, token=None):
        """Code and body, or details, of a call."""
        metadata = [("authorization", f"Bearer {self.keys[key] if key else token}")] if key or token else []
        try:
            body = self.channel.unary_unary(f"/{SERVICE}/{method}")(
                request.SerializeToString(), metadata=metadata, timeout=60
            )
            return "OK", body
        except grpc.RpcError as error:
            return error.code().name, error.details()


@pytest.fixture(scope="module")
def secured(zoo, tmp_path_factory):
    made = Secured(tmp_path_factory.mktemp("secured"), zoo["flights"].bundle)
    yield made
    made.close()


def test_health_is_open_and_everything_else_is_not(secured):
    for path in ("/livez", "/readyz", "/startupz", "/v2/health/live", "/v2/health/ready"):
        assert secured.ask(path)[0] == 200, path
    for path in ("/", "/openapi.json", "/v1/models", "/v1/models/flights", "/v2", "/v2/models/flights", "/nowhere"):
        status, answer = secured.ask(path)
        assert status == 401, path
        assert answer.headers["www-authenticate"].startswith("Bearer")
    assert secured.ask("/v1/models/flights/score", {"rows": [ROW]})[0] == 401
    assert secured.ask("/v1/feedback", {})[0] == 401
    empty = message("inference.ServerLiveRequest")()
    assert secured.call("ServerLive", empty)[0] == "OK"
    assert secured.call("ServerReady", empty)[0] == "OK"
    assert secured.call("ServerMetadata", empty)[0] == "UNAUTHENTICATED"
    named = message("inference.ModelReadyRequest")(name="flights")
    assert secured.call("ModelReady", named)[0] == "UNAUTHENTICATED"
    assert (
        secured.call("ModelInfer", message("inference.ModelInferRequest")(model_name="flights"))[0] == "UNAUTHENTICATED"
    )


@pytest.mark.parametrize(("key", "score", "impute"), [("score", 200, 403), ("all", 200, 200), ("elsewhere", 403, 403)])
def test_a_key_allows_its_queries_of_its_models(secured, key, score, impute):
    assert secured.ask("/v1/models/flights/score", {"rows": [ROW]}, key=key)[0] == score
    assert secured.ask("/v1/models/flights/impute", {"rows": [ROW]}, key=key)[0] == impute


def test_a_model_that_is_not_allowed_looks_like_one_that_is_not_there(secured):
    answers = [
        secured.ask(f"/v1/models/{name}{rest}", body, key="elsewhere")
        for name in ("flights", "absent1")
        for rest, body in (("/score", {"rows": [ROW]}), ("", None))
    ]
    assert {status for status, _ in answers} == {403}
    first, *_ = {answer.text.replace("absent1", "flights") for _, answer in answers}
    assert "score:flights" in first or "*:flights" in first
    assert secured.ask("/v1/models", key="elsewhere")[1].json() == {"models": []}
    assert "flights" in secured.ask("/v1/models", key="score")[1].text


def test_words_are_scopes_of_their_own(secured):
    assert secured.ask("/v1/feedback/summary", key="feedback")[0] == 200
    assert secured.ask("/v1/feedback/summary", key="all")[0] == 403


def test_tokens_of_the_issuer_are_taken(secured):
    good = secured.issuer.token("first", scope="openid score:flights")
    assert secured.ask("/v1/models/flights/score", {"rows": [ROW]}, token=good)[0] == 200
    assert secured.ask("/v1/models/flights/impute", {"rows": [ROW]}, token=good)[0] == 403
    late = secured.issuer.token("first", scope="score:flights", exp=int(time.time()) - 100)
    status, answer = secured.ask("/v1/models/flights/score", {"rows": [ROW]}, token=late)
    assert status == 401
    assert "expired" in answer.text
    named = message("inference.ModelReadyRequest")(name="flights")
    assert secured.call("ModelReady", named, token=good)[0] == "OK"
    assert secured.call("ModelReady", named, token=late)[0] == "UNAUTHENTICATED"


def infer(query, **cells):
    request = message("inference.ModelInferRequest")(model_name="flights")
    request.parameters["query"].string_param = query
    for name, value in (ROW | cells).items():
        kind, field = {
            str: ("BYTES", "bytes_contents"),
            bool: ("BOOL", "bool_contents"),
            int: ("INT64", "int64_contents"),
        }.get(type(value), ("FP64", "fp64_contents"))
        value = value.encode() if isinstance(value, str) else float("nan") if value is None else value
        getattr(request.inputs.add(name=name, datatype=kind, shape=[1]).contents, field).append(value)
    return request


def test_the_worker_holds_to_the_scopes_where_the_body_names_the_query(secured):
    assert secured.call("ModelInfer", infer("score"), key="score")[0] == "OK"
    code, told = secured.call("ModelInfer", infer("impute"), key="score")
    assert code == "PERMISSION_DENIED"
    assert "impute:flights" in told
    assert secured.call("ModelInfer", infer("impute"), key="all")[0] == "OK"
    assert secured.call("ModelInfer", infer("score"), key="elsewhere")[0] == "PERMISSION_DENIED"
    body = {
        "inputs": [{"name": "dep_delay", "datatype": "FP64", "shape": [1], "data": [3.0]}],
        "parameters": {"query": "impute"},
    }
    assert secured.ask("/v2/models/flights/infer", body, key="all")[0] == 200
    assert secured.ask("/v2/models/flights/infer", body, key="score")[0] == 403


def test_a_key_over_its_rate_is_told_when_to_come_again(secured):
    answers = [secured.ask("/v1/models", key="slow") for _ in range(3)]
    status, answer = answers[-1]
    assert status == 429
    assert int(answer.headers["retry-after"]) >= 1
    assert secured.ask("/v1/models", key="all")[0] == 200


def test_bodies_and_rows_beyond_the_limits_are_refused(secured):
    assert secured.ask("/v1/models/flights/score", {"rows": [ROW] * 60}, key="all")[0] == 413
    assert secured.ask("/v1/models/flights/score", {"rows": [ROW] * 20_000}, key="all")[0] == 413
    large = message("inference.ModelInferRequest")(model_name="flights", raw_input_contents=[bytes(400_000)])
    assert secured.call("ModelInfer", large, key="all")[0] == "RESOURCE_EXHAUSTED"


def test_keys_are_revoked_and_added_without_a_restart(secured):
    key, entry = make_key("fresh", ("score:flights",))
    secured.keys["fresh"] = key
    assert secured.ask("/v1/models", key="fresh")[0] == 401

    def until(status):
        end = time.monotonic() + 30
        while secured.ask("/v1/models", key="fresh")[0] != status:
            assert time.monotonic() < end
            time.sleep(0.1)

    write(secured.file, *secured.entries, entry)
    until(200)
    write(secured.file, *secured.entries)
    until(401)


def test_plain_text_and_strangers_certificates_are_refused(secured):
    plain = secured.service.url.replace("https://", "http://")
    with pytest.raises(httpx.TransportError):
        httpx.get(plain + "/livez", trust_env=False)
    with pytest.raises(httpx.ConnectError, match="certificate"):
        httpx.get(secured.service.url + "/livez", trust_env=False)


def test_no_secret_and_no_cell_is_in_anything_that_the_service_wrote(secured):
    """Answers and refusals with planted keys, tokens and cells: log, state, metrics and traces hold none of them.

    The last test of this service: it is stopped.
    """
    bad = {**ROW, "carrier": PLANTED, "dep_delay": NUMBER}
    wrong = "vae_ci_WRONG-SECRET-4410"
    token = secured.issuer.token("first", scope="score:flights", sub="SUBJECT-5512", tenant="TENANT-6613")
    expired = secured.issuer.token("first", sub="SUBJECT-5512", exp=1)
    for path in ("/v1/models/flights/score", "/v1/models/flights/impute", f"/v1/models/{PLANTED}/score"):
        for rows in ([ROW], [bad], [{"dep_delay": PLANTED}], [{PLANTED: 1}], PLANTED):
            secured.ask(path, {"rows": rows}, key="all")
            secured.ask(path, {"rows": rows}, token=token)
    for shown in (wrong, expired, "a.b.c", token + "x"):
        secured.ask("/v1/models", token=shown)
        secured.http.get("/v1/models", headers={"X-Api-Key": shown})
    secured.ask(f"/v1/models/flights/score?seed={PLANTED}", {"rows": [ROW]}, key="all")
    secured.ask("/v1/models", key="all", **{"X-Request-Timeout": PLANTED, "Accept": PLANTED})
    secured.http.post("/v1/models/flights/score", content=PLANTED, headers={"Authorization": f"Bearer {token}"})
    for request in (infer("score", carrier=PLANTED), infer("score", dep_delay=NUMBER), infer(PLANTED)):
        secured.call("ModelInfer", request, key="all")
        secured.call("ModelInfer", request, token=wrong)
    broken = secured.file
    broken.write_text(broken.read_text() + f'\n[[key]]\nid = "{secured.keys["all"]}"\nhash = "{wrong}"\n')
    end = time.monotonic() + 30
    while "stay in force" not in secured.service.log:
        secured.ask("/v1/models", key="all")
        assert time.monotonic() < end
        time.sleep(0.2)
    metrics = secured.ask("/metrics")[1].text
    start = time.monotonic()
    assert secured.service.stop() == 0
    assert time.monotonic() - start < 20  # open connections, with TLS too, do not hold it
    written = {"log": secured.service.log.encode(), "metrics": metrics.encode(), "traces": secured.traces.content}
    written |= {path.name: path.read_bytes() for path in (secured.folder / "state").rglob("*") if path.is_file()}
    assert len(written["log"]) > 200
    assert all(b"flights" in written[name] for name in ("log", "metrics", "traces"))
    assert len(written) > 3  # and the state
    secrets = [*secured.keys.values(), wrong, token, expired, token.split(".")[2], "SUBJECT-5512", "TENANT-6613"]
    secrets += [key.split("_", 2)[2] for key in secured.keys.values()] + [PLANTED, str(NUMBER), f"{NUMBER:g}"]
    for name, content in written.items():
        for secret in secrets:
            assert secret.encode() not in content, (name, secret[:12])


def refusal(*arguments):
    """Exit code and words of a service that does not start."""
    with Live(*arguments, ready=False) as service:
        service.process.wait(PATIENCE)
    return service.process.returncode, service.log


def test_an_unsigned_an_altered_and_a_foreign_bundle_are_not_served(zoo, tmp_path):
    private, public = new_signing_key()
    (tmp_path / "public.pem").write_bytes(public)
    root = shutil.copytree(zoo["flights"].bundle, tmp_path / "bundle")
    options = [f"flights={root}", "--require-signature", tmp_path / "public.pem"]
    code, told = refusal(*options)
    assert code == 2
    assert "not signed" in told
    assert str(root) in told
    sign(root, manifest_bytes(root), new_signing_key()[0])
    assert "not trusted" in refusal(*options)[1]
    sign(root, manifest_bytes(root), private)
    with Live(*options) as service:
        assert service.url, service.log
    (root / "manifest.json").write_bytes(manifest_bytes(root) + b" ")
    assert "altered" in refusal(*options)[1]


def test_it_does_not_listen_to_other_machines_without_knowing_who_asks(zoo):
    bundle = f"flights={zoo['flights'].bundle}"
    code, told = refusal(bundle, "--host", "0.0.0.0")
    assert code == 2
    assert "--insecure-public" in told
    with Live(bundle, "--host", "0.0.0.0", "--insecure-public") as service:
        assert httpx.get(f"http://127.0.0.1:{service.port}/v1/models", trust_env=False).status_code == 200
        assert service.stop() == 0  # which also writes what is left of the log
    assert '"event":"insecure"' in service.log
