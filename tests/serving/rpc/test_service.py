"""The gRPC host over real sockets: how calls become requests, and how answers and faults are worded.

What stands behind the host is a stand-in here, so that each fault can be had; `tests/conformance` asks real models.
"""

import asyncio

import grpc
import pytest
import uvloop
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.serving.certificates import Authority
from vaekit.errors import ConfigError
from vaekit.serving.request import Refused, chained
from vaekit.serving.rpc.call import Call
from vaekit.serving.rpc.host import GrpcHost
from vaekit.serving.rpc.messages import POOL, message
from vaekit.serving.rpc.service import Service
from vaekit.serving.settings import Settings
from vaekit.serving.wire.asking import Fault, Told
from vaekit.serving.wire.facts import ColumnFacts, Facts, FieldFacts, QueryFacts
from vaekit.serving.wire.inference import GRPC, SERVICE

Infer = message("inference.ModelInferRequest")
LOOPS = {"asyncio": asyncio.run, "uvloop": uvloop.run}


class Front:
    """Answers with what the test says, and remembers what it was asked."""

    def __init__(self, answer):
        self.ready = True
        self.answer, self.requests, self.gone = answer, [], asyncio.Event()
        self.handle = chained([], self.handled)

    async def handled(self, request):
        self.requests.append(request)
        try:
            return await request.handler(request)
        except Refused as refusal:
            return Told(fault=refusal.fault)

    def require_ready(self):
        if not self.ready:
            raise Refused(Fault(status=503, kind="not_ready", message="wait"))

    async def ask(self, request, named):
        assert not named
        request.body_seen, request.answered = await request.read(), FACTS
        try:
            return await self.answer(request)
        except asyncio.CancelledError:
            self.gone.set()
            raise

    def model(self, request):
        if request.model != "m":
            raise Refused(Fault(status=404, kind="no_model", message=f"no model {request.model}"))
        return FACTS


FIELD = FieldFacts(name="x", type="double", item="double", json="number", kind="number", role="model")
SCORE = QueryFacts(
    name="score", doc="", rows=True, columns=(ColumnFacts(name="score", type="double", item="double", json="number"),)
)
FACTS = Facts(
    name="m",
    version="1",
    contract="c",
    data="d",
    vaekit="0",
    created="",
    backend="onnx",
    fields=(FIELD,),
    queries={"score": SCORE},
)


def settings_of(**settings):
    return Settings(bundles={"m": "nowhere"}, **{"grpc_port": 0} | settings)


class Running:
    """A host that runs, and a channel to it."""

    def __init__(self, answer=None, credentials=None, **settings):
        self.front = Front(answer or answered(Told(body=b"")))
        self.host = GrpcHost(Service(self.front), settings_of(**settings))
        self.credentials = credentials

    async def __aenter__(self):
        self.url = await self.host.start()
        target = self.url.partition("//")[2].replace("127.0.0.1", "localhost" if self.credentials else "127.0.0.1")
        options = [("grpc.max_send_message_length", -1)]
        self.channel = (
            grpc.aio.secure_channel(target, self.credentials, options)
            if self.credentials
            else grpc.aio.insecure_channel(target, options)
        )
        return self

    async def __aexit__(self, *_):
        await self.channel.close()
        await self.host.close(0)

    def call(self, method, request=b"", **options):
        body = request if isinstance(request, bytes) else request.SerializeToString()
        return self.channel.unary_unary(f"/{SERVICE}/{method}")(body, **{"timeout": 10} | options)

    async def failure(self, method, request=b"", **options):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.call(method, request, **options)
        return caught.value


def answered(told):
    async def answer(request):
        return told

    return answer


@pytest.mark.parametrize("loop", list(LOOPS))
def test_a_call_becomes_a_request_and_its_answer_comes_back(loop):
    async def story():
        async with Running(answered(Told(body=b"bytes", headers={"content-type": GRPC, "x-more": "1"}))) as running:
            body = Infer(model_name="m", model_version="7", id="mine", raw_input_contents=[b"\0" * 1000])
            metadata = (("authorization", "Bearer k"), ("x-request-id", "r-1"), ("x-bin", b"\xff"))
            metadata = tuple((name + ("-bin" if isinstance(v, bytes) else ""), v) for name, v in metadata)
            call = running.call("ModelInfer", body, metadata=metadata)
            assert await call == b"bytes"
            request = running.front.requests[0]
            assert isinstance(request, Call)
            assert (request.host, request.model, request.version, request.query) == ("grpc", "m", "7", "infer")
            assert request.route == f"/{SERVICE}/ModelInfer"
            assert (request.takes, request.gives) == (GRPC, GRPC)
            assert request.header("authorization") == "Bearer k"
            assert (request.id, request.peer) == ("r-1", "127.0.0.1")
            assert request.body_seen == body.SerializeToString()
            assert 8 < request.timeout < 10.1
            trailing = dict(await call.trailing_metadata())
            assert (trailing["x-request-id"], trailing["x-more"]) == ("r-1", "1")
            told = [trailing[f"x-vaekit-{name}"] for name in ("model", "version", "contract", "data")]
            assert told == ["m", "1", "c", "d"]
            assert "content-type" not in {name for name in trailing if trailing[name] == GRPC}

    LOOPS[loop](story())


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, "INVALID_ARGUMENT"),
        (401, "UNAUTHENTICATED"),
        (403, "PERMISSION_DENIED"),
        (404, "NOT_FOUND"),
        (413, "RESOURCE_EXHAUSTED"),
        (415, "INVALID_ARGUMENT"),
        (422, "INVALID_ARGUMENT"),
        (429, "RESOURCE_EXHAUSTED"),
        (499, "CANCELLED"),
        (500, "INTERNAL"),
        (503, "UNAVAILABLE"),
        (504, "DEADLINE_EXCEEDED"),
    ],
)
def test_each_fault_has_its_code(status, code):
    async def story():
        fault = Fault(status=status, kind="some_kind", message="what to do — ü", row=3)
        async with Running(answered(Told(fault=fault))) as running:
            error = await running.failure("ModelInfer", Infer(model_name="m"))
            assert error.code().name == code
            assert error.details() == "what to do — ü"
            trailing = dict(error.trailing_metadata())
            assert (trailing["x-error-kind"], trailing["x-error-row"]) == ("some_kind", "3")
            assert trailing["x-request-id"]
            assert "retry-after" not in trailing

    asyncio.run(story())


def test_a_caller_that_should_come_again_is_told_when():
    async def story():
        fault = Fault(status=503, kind="queue_full", message="full", retry_after=0.25)
        async with Running(answered(Told(fault=fault))) as running:
            trailing = dict((await running.failure("ModelInfer", Infer(model_name="m"))).trailing_metadata())
            assert (trailing["retry-after"], trailing["grpc-retry-pushback-ms"]) == ("1", "250")

    asyncio.run(story())


def test_a_client_with_a_retry_policy_obeys():
    """gRPC's own retries, which read the push-back: the second try is answered."""

    async def story():
        faults = [Told(fault=Fault(status=503, kind="queue_full", message="full", retry_after=0.01)), Told(body=b"ok")]

        async def answer(request):
            return faults.pop(0)

        policy = """{"methodConfig": [{"name": [{}], "retryPolicy": {"maxAttempts": 3, "initialBackoff": "60s",
                     "maxBackoff": "60s", "backoffMultiplier": 1, "retryableStatusCodes": ["UNAVAILABLE"]}}]}"""
        async with Running(answer) as running:
            options = [("grpc.service_config", policy)]
            async with grpc.aio.insecure_channel(running.url.partition("//")[2], options) as channel:
                body = Infer(model_name="m").SerializeToString()
                assert await channel.unary_unary(f"/{SERVICE}/ModelInfer")(body, timeout=20) == b"ok"

    asyncio.run(story())


def test_long_messages_fit_into_metadata():
    async def story():
        async with Running(answered(Told(fault=Fault(status=400, kind="k", message="ü" * 100_000)))) as running:
            error = await running.failure("ModelInfer", Infer(model_name="m"))
            assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert error.details().startswith("üü")

    asyncio.run(story())


def test_a_defect_says_nothing_of_itself_to_the_caller(caplog):
    async def story():
        async def answer(request):
            raise ValueError("a value of somebody: 4711")

        async with Running(answer) as running:
            error = await running.failure("ModelInfer", Infer(model_name="m"))
            assert error.code() is grpc.StatusCode.INTERNAL
            assert "4711" not in str(error)

    asyncio.run(story())
    assert "failed" in caplog.text


@pytest.mark.parametrize("how", ["cancel", "deadline"])
def test_a_caller_who_leaves_ends_the_work(how):
    async def story():
        async def answer(request):
            await asyncio.sleep(60)

        async with Running(answer) as running:
            method = running.channel.unary_unary(f"/{SERVICE}/ModelInfer")
            call = method(Infer(model_name="m").SerializeToString(), timeout=0.3 if how == "deadline" else 30)
            while not running.front.requests:
                await asyncio.sleep(0.01)
            if how == "cancel":
                call.cancel()
            await asyncio.wait_for(running.front.gone.wait(), 10)

    asyncio.run(story())


def test_the_deadline_of_a_call_is_that_of_its_request():
    async def story():
        async with Running() as running:
            method = running.channel.unary_unary(f"/{SERVICE}/ModelInfer")
            await method(Infer(model_name="m").SerializeToString())
            await method(Infer(model_name="m").SerializeToString(), timeout=5)
            none, some = (request.timeout for request in running.front.requests)
            assert none is None
            assert 4 < some < 5.1

    asyncio.run(story())


@pytest.mark.parametrize("body", [b"\xff", b"\x0a\xff\xff\xff\xff\x0f", b"\x0a\x03\xff\xfe\xfd", b"\x0b"])
@pytest.mark.parametrize("method", ["ModelInfer", "ModelReady", "ModelMetadata"])
def test_what_is_no_message_is_refused_as_such(method, body):
    async def story():
        async with Running() as running:
            error = await running.failure(method, body)
            assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert dict(error.trailing_metadata())["x-error-kind"] == "bad_body"
            (request,) = running.front.requests  # which metrics count, and the log tells of
            assert (request.route, request.model) == (f"/{SERVICE}/{method}", "")
            assert not hasattr(request, "body_seen")

    asyncio.run(story())


def test_nobody_learns_without_a_key_whether_a_message_is_valid():
    async def shut(request, handle):
        return Told(fault=Fault(status=401, kind="unauthenticated", message="who asks?"))

    async def story():
        async with Running() as running:
            running.front.handle = chained([shut], running.front.handled)
            for body in (b"\xff", Infer(model_name="m")):
                assert (await running.failure("ModelInfer", body)).code() is grpc.StatusCode.UNAUTHENTICATED

    asyncio.run(story())


def test_messages_beyond_the_limit_are_refused_before_they_are_read():
    async def story():
        async with Running(max_body=1000) as running:
            error = await running.failure("ModelInfer", Infer(model_name="m", raw_input_contents=[bytes(200_000)]))
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert not running.front.requests

    asyncio.run(story())


def test_a_message_that_grows_when_it_is_unpacked_is_refused():
    async def story():
        async with Running(max_body=100_000) as running:
            bomb = Infer(model_name="m", raw_input_contents=[bytes(50_000_000)])  # 50 kB on the way
            error = await running.failure("ModelInfer", bomb, compression=grpc.Compression.Gzip)
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert not running.front.requests

    asyncio.run(story())


def test_health_metadata_and_readiness():
    async def story():
        async with Running() as running:

            async def ask(method, kind, **fields):
                body = message(f"inference.{method}Request")(**fields)
                return message(f"inference.{kind}Response").FromString(await running.call(method, body))

            assert (await ask("ServerLive", "ServerLive")).live
            assert (await ask("ServerReady", "ServerReady")).ready
            assert (await ask("ServerMetadata", "ServerMetadata")).name == "vaekit"
            assert (await ask("ModelReady", "ModelReady", name="m")).ready
            found = await ask("ModelMetadata", "ModelMetadata", name="m")
            assert (found.name, found.inputs[0].datatype, list(found.inputs[0].shape)) == ("m", "FP64", [-1])
            assert [output.name for output in found.outputs] == ["score"]
            for method in ("ModelReady", "ModelMetadata"):
                error = await running.failure(method, message("inference.ModelReadyRequest")(name="other"))
                assert error.code() is grpc.StatusCode.NOT_FOUND
            running.front.ready = False
            assert (await ask("ServerLive", "ServerLive")).live
            assert not (await ask("ServerReady", "ServerReady")).ready
            assert not (await ask("ModelReady", "ModelReady", name="m")).ready

    asyncio.run(story())


def test_the_health_protocol_follows_readiness():
    async def story():
        async with Running() as running:
            health = health_pb2_grpc.HealthStub(running.channel)
            asked = health_pb2.HealthCheckRequest(service=SERVICE)
            assert (await health.Check(asked, timeout=10)).status == health_pb2.HealthCheckResponse.SERVING
            watch = health.Watch(health_pb2.HealthCheckRequest(), timeout=30)
            states = [(await watch.read()).status]
            for ready in (False, True):
                running.front.ready = ready
                states.append((await watch.read()).status)
            told = health_pb2.HealthCheckResponse
            assert states == [told.SERVING, told.NOT_SERVING, told.SERVING]
            watch.cancel()

    asyncio.run(story())


def test_reflection_lists_the_service_and_describes_it():
    async def story():
        async with Running() as running:
            stub = reflection_pb2_grpc.ServerReflectionStub(running.channel)
            ask = reflection_pb2.ServerReflectionRequest
            asked = [
                ask(list_services=""),
                *(ask(file_containing_symbol=name) for name in (SERVICE, "grpc.health.v1.Health")),
            ]
            listed, described, health = [answer async for answer in stub.ServerReflectionInfo(iter(asked), timeout=10)]
            names = {service.name for service in listed.list_services_response.service}
            assert {SERVICE, "grpc.health.v1.Health"} <= names
            assert POOL.FindFileContainingSymbol(SERVICE).serialized_pb in list(
                described.file_descriptor_response.file_descriptor_proto
            )
            assert health.file_descriptor_response.file_descriptor_proto

    asyncio.run(story())


def test_stopping_lets_calls_end_and_takes_no_more():
    async def story():
        begun, go = asyncio.Event(), asyncio.Event()

        async def answer(request):
            begun.set()
            await go.wait()
            return Told(body=b"late")

        async with Running(answer) as running:
            call = running.call("ModelInfer", Infer(model_name="m"))
            await begun.wait()
            closing = asyncio.ensure_future(running.host.close(20))
            code = None
            while code is not grpc.StatusCode.UNAVAILABLE:  # a call before it has stopped is taken, and waits
                code = (await running.failure("ModelInfer", Infer(model_name="m"), timeout=0.5)).code()
            go.set()
            assert await call == b"late"
            assert await closing == 0

    asyncio.run(story())


def test_calls_that_take_too_long_are_cut_off_and_counted():
    async def story():
        async def answer(request):
            await asyncio.sleep(60)

        async with Running(answer) as running:
            call = running.call("ModelInfer", Infer(model_name="m"))
            while not running.front.requests:
                await asyncio.sleep(0.01)
            assert await running.host.close(0.1) == 1
            with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
                await call

    asyncio.run(story())


def test_calls_beyond_the_limit_are_refused():
    async def story():
        go = asyncio.Event()

        async def answer(request):
            await go.wait()
            return Told(body=b"")

        async with Running(answer, max_connections=2) as running:
            calls = [
                asyncio.ensure_future(_awaited(running.call("ModelInfer", Infer(model_name="m")))) for _ in range(2)
            ]
            while len(running.front.requests) < 2:
                await asyncio.sleep(0.01)
            error = await running.failure("ModelInfer", Infer(model_name="m"))
            assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            go.set()
            await asyncio.gather(*calls)

    asyncio.run(story())


async def _awaited(call):
    return await call


def test_a_port_that_is_taken_is_refused():
    async def story():
        async with Running() as running:
            port = int(running.url.rpartition(":")[2])
            with pytest.raises(ConfigError, match="--grpc-port"):
                await GrpcHost(Service(running.front), settings_of(grpc_port=port)).start()

    asyncio.run(story())


def test_with_tls_plain_connections_are_refused(tmp_path):
    authority = Authority(tmp_path)
    cert, key = authority.issue("server")

    async def story():
        credentials = grpc.ssl_channel_credentials(authority.path.read_bytes())
        async with Running(tls_cert=cert, tls_key=key, credentials=credentials) as running:
            assert running.url.startswith("grpcs://")
            assert await running.call("ModelInfer", Infer(model_name="m")) == b""
            async with grpc.aio.insecure_channel(running.url.partition("//")[2]) as plain:
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await plain.unary_unary(f"/{SERVICE}/ServerLive")(b"", timeout=5)
                assert caught.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)

    asyncio.run(story())
