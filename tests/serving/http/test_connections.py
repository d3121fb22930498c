"""Connections over raw sockets: what is too long, too slow, too much or no HTTP, and callers who leave."""

import asyncio
import json
import re
import socket
import threading
import time

import httpx
import pytest

from tests.serving.live import received
from tests.serving.stage import Stage
from tests.serving.threaded import until
from vaekit.serving.wire.asking import Told

HEAD = b"POST /v1/models/m/score HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
ASK = HEAD + b"Content-Length: 2\r\n\r\n{}"


def response(raw):
    """Status, headers and body of one response."""
    head, _, body = raw.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    return int(status.split()[1]), headers, body


def refusal(raw):
    """Status and kind of a response that ends its connection with a fault."""
    status, headers, body = response(raw)
    assert headers["connection"] == "close"
    error = json.loads(body)["error"]
    assert headers["x-request-id"] == error["request_id"]
    return status, error["kind"]


@pytest.fixture(scope="module")
def stage():
    with Stage() as stage:
        yield stage


@pytest.fixture(scope="module")
def hasty():
    """One that waits for nobody."""
    limits = {"head_timeout": 0.2, "body_timeout": 0.2, "idle_timeout": 0.2, "write_timeout": 0.2}
    with Stage(**limits, max_head=1000, max_connections=3) as stage:
        yield stage


# ------------------------------------------------------------------------------------------------------------- too long


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /" + b"a" * 2000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 2000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: bbbbbbbb\r\n" * 200 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 2000, 431),  # which does not end
        (b"GET /" + b"a" * 2000, 414),
    ],
)
def test_heads_are_bounded(hasty, head, status):
    with hasty.raw(head) as connection:
        assert refusal(received(connection)) == (status, "head_too_large")


def test_a_body_is_no_part_of_the_head_that_follows_it():
    first = HEAD + b"Content-Length: 3000\r\n\r\n" + b"x" * 3000
    with Stage(max_head=1000, idle_timeout=1) as stage, stage.raw(first[:-2500]) as connection:
        time.sleep(0.1)  # what comes now begins with the end of a body
        connection.sendall(first[-2500:] + HEAD)
        time.sleep(0.1)
        connection.sendall(b"Content-Length: 2\r\n\r\n{}")
        assert received(connection).count(b"HTTP/1.1 200") == 2


@pytest.mark.parametrize(
    "head", [b"nonsense\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET \xff\xfe HTTP/1.1\r\n\r\n", b"\x16\x03\x01"]
)
def test_what_is_no_http_is_refused(stage, head):
    with stage.raw(head + b"\r\n\r\n") as connection:
        assert refusal(received(connection)) == (400, "bad_request")


def test_a_body_that_says_it_is_too_large_is_refused_unread():
    with Stage(max_body=1000) as stage, stage.raw(HEAD + b"Content-Length: 5000000000\r\n\r\n") as connection:
        assert refusal(received_response(connection)) == (413, "too_large")
        assert not stage.asks


def test_a_body_that_grows_too_large_is_refused_when_it_does():
    with Stage(max_body=1000) as stage, stage.raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\n") as connection:
        connection.sendall(b"1f4\r\n" + b"a" * 500 + b"\r\n")
        connection.sendall(b"1f5\r\n" + b"a" * 501 + b"\r\n")
        assert refusal(received_response(connection)) == (413, "too_large")
        assert not stage.asks


def test_who_sends_too_much_gets_to_read_why():
    with Stage(max_body=1000) as stage:
        for _ in range(20):
            answer = httpx.post(
                f"{stage.url}/v1/models/m/score", content=b"a" * 5_000_000, headers={"content-type": "text/csv"}
            )
            assert answer.status_code == 413
            assert answer.headers["connection"] == "close"


def received_response(connection):
    """A response whose connection may stay open."""
    raw = b""
    while b"\r\n\r\n" not in raw:
        raw += connection.recv(65536)
    size = int(re.search(rb"content-length: (\d+)", raw)[1])
    while len(raw.partition(b"\r\n\r\n")[2]) < size:
        raw += connection.recv(65536)
    return raw


# ------------------------------------------------------------------------------------------------------------- too slow


def test_a_head_that_does_not_come_is_not_waited_for(hasty):
    with hasty.raw(b"GET / HTTP/1.1\r\nHost") as connection:
        assert refusal(received(connection)) == (408, "slow_client")


def test_a_head_that_trickles_is_not_waited_for(hasty):
    with hasty.raw() as connection:
        start = time.monotonic()
        try:
            for byte in b"GET / HTTP/1.1\r\nA: " + b"a" * 500:
                connection.sendall(bytes([byte]))
                time.sleep(0.02)
        except OSError:
            pass
        assert time.monotonic() - start < 9


def test_a_body_that_does_not_come_is_not_waited_for(hasty):
    with hasty.raw(HEAD + b"Content-Length: 10\r\n\r\n{}") as connection:
        assert refusal(received(connection)) == (408, "slow_client")
    assert not hasty.asks


def test_a_connection_on_which_nothing_comes_is_closed(hasty):
    with hasty.raw() as connection:
        assert received(connection) == b""


def test_a_connection_that_is_not_used_again_is_closed(hasty):
    with hasty.raw(ASK) as connection:
        status, headers, body = response(received(connection))
        assert (status, body) == (200, b"{}")
        assert "connection" not in headers


def test_an_answer_that_nobody_takes_is_dropped():
    async def large(ask):
        return Told(body=bytes(30_000_000))

    with Stage(large, idle_timeout=0.2, write_timeout=0.2) as stage, stage.raw(ASK) as connection:
        while stage.http.connections or not stage.asks:
            time.sleep(0.02)
        assert len(received(connection)) < 30_000_000


def test_who_takes_nothing_in_is_cut_off_however_much_it_asks():
    async def large(ask):
        return Told(body=bytes(5_000_000))

    with Stage(large, write_timeout=0.2) as stage, stage.raw(ASK * 3) as connection:
        until(lambda: stage.asks)
        until(lambda: not stage.http.connections)
        assert len(received(connection)) < 15_000_000


@pytest.mark.parametrize("content", [HEAD + b"Content-Length: 5000\r\n\r\n{", ASK * 3], ids=["sending", "reading"])
def test_who_leaves_in_the_middle_of_an_answer_is_no_defect(content, caplog):
    async def large(ask):
        return Told(body=bytes(5_000_000))

    with Stage(large, max_body=1000) as stage:
        with stage.raw(content) as connection:
            connection.recv(1)
        until(lambda: not stage.http.connections and not stage.http.state.tasks)
    assert not caplog.records


def test_who_is_answered_slowly_is_not_cut_off():
    async def late(ask):
        await asyncio.sleep(2.5)
        return Told(body=b"late")

    with Stage(late, head_timeout=0.2, body_timeout=0.2, idle_timeout=5) as stage, stage.raw(ASK) as connection:
        assert response(received_response(connection))[2] == b"late"


# ------------------------------------------------------------------------------------------------------------- too many


def test_connections_are_bounded(hasty):
    held = [hasty.raw() for _ in range(3)]
    while len(hasty.http.connections) < 3:
        time.sleep(0.01)
    with hasty.raw() as connection:
        raw = received(connection)
        assert refusal(raw) == (503, "connections")
        assert response(raw)[1]["retry-after"] == "1"
    for connection in held:
        connection.close()


def test_thousands_of_idle_connections_leave_room_for_an_answer(stage):
    idle = [stage.raw() for _ in range(2000)]
    with stage.raw(ASK) as connection:
        assert response(received_response(connection))[2] == b"{}"
    for connection in idle:
        connection.close()


# ---------------------------------------------------------------------------------------------- one after the other


def test_requests_that_come_at_once_are_answered_in_order():
    async def slower_first(ask):
        await asyncio.sleep(0.3 if ask.body == b"[1]" else 0)
        return Told(body=ask.body)

    pieces = b"".join(HEAD + b"Content-Length: 3\r\n\r\n[%d]" % number for number in (1, 2, 3))
    with Stage(slower_first, idle_timeout=1) as stage, stage.raw(pieces) as connection:
        assert re.findall(rb"\[\d\]", received(connection)) == [b"[1]", b"[2]", b"[3]"]


def test_a_caller_who_waits_to_be_told_to_continue_is_told(stage):
    with stage.raw(HEAD + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n") as connection:
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"{}")
        assert response(received_response(connection))[2] == b"{}"


def test_a_caller_of_the_old_protocol_is_answered(stage):
    with stage.raw(ASK.replace(b"HTTP/1.1", b"HTTP/1.0")) as connection:
        status, headers, body = response(received(connection))
    assert (status, headers["connection"], body) == (200, "close", b"{}")


def test_an_upgrade_that_is_not_known_is_passed_over(stage):
    head = b"GET /livez HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    with stage.raw(head) as connection:
        assert response(received_response(connection))[0] == 200


# ------------------------------------------------------------------------------------------------------- callers leave


@pytest.mark.parametrize("leave", ["close", "reset", "half"])
def test_a_caller_who_leaves_ends_the_work(leave):
    async def never(ask):
        await asyncio.Event().wait()

    with Stage(never) as stage, stage.raw(ASK) as connection:
        while not stage.asks:
            time.sleep(0.01)
        assert not stage.cancelled.is_set()
        if leave == "half":
            connection.shutdown(socket.SHUT_WR)
        elif leave == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        if leave != "half":
            connection.close()
        assert stage.cancelled.wait(30)


def test_one_who_leaves_does_not_touch_another():
    entered, go = threading.Semaphore(0), asyncio.Event()

    async def together(ask):
        entered.release()
        await go.wait()
        return Told(body=b"here")

    with Stage(together) as stage, stage.raw(ASK) as one, stage.raw(ASK) as other:
        entered.acquire()
        entered.acquire()
        one.close()
        assert stage.cancelled.wait(30)
        stage._loop.call_soon_threadsafe(go.set)
        assert response(received_response(other))[2] == b"here"
