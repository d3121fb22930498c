"""A real server in a thread of the test process, and what tests ask of it."""

import asyncio
import contextlib
import http.client
import threading
import time
from dataclasses import dataclass
from typing import Any

import msgspec
import uvloop

from vaekit.serving.server import Server
from vaekit.serving.settings import Settings


def until(condition, seconds=60.0, pause=0.02):
    """Wait until something is so; what it says."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"it was not so within {seconds} s"
        time.sleep(pause)
    return found


@dataclass
class Running:
    """A server that runs.

    Args:
        server: The server.
        log: Path of its log.
    """

    server: Server
    log: Any

    def port(self, scheme="http"):
        """The port that it listens on."""
        addresses = self.lines("listening")[0]["facts"]["addresses"]
        return next(int(one.rpartition(":")[2]) for one in addresses if one.startswith(scheme))

    def request(self, method, path, body=None, headers=None):
        """Status, headers and body of one request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port(), timeout=60)
        with contextlib.closing(connection):
            sent = body if body is None or isinstance(body, bytes) else msgspec.json.encode(body)
            kind = {"content-type": "application/json"} if body is not None else {}
            connection.request(method, path, sent, kind | (headers or {}))
            response = connection.getresponse()
            return response.status, dict(response.getheaders()), response.read()

    def ask(self, query, rows, model="flights", options="", **headers):
        """Status and answer to a question in JSON."""
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        status, _, body = self.request("POST", f"/v1/models/{model}/{query}{options}", {"rows": rows}, names)
        return status, msgspec.json.decode(body)

    def lines(self, event=None):
        """Lines of the log so far, of one event if given."""
        content = self.log.read_bytes() if self.log.exists() else b""
        found = [msgspec.json.decode(line) for line in content[: content.rfind(b"\n") + 1].splitlines()]
        return [line for line in found if event in (None, line["event"])]

    def line(self, request_id):
        """The line of a request."""
        return until(lambda: next((one for one in self.lines("request") if one["request_id"] == request_id), None))

    def metrics(self):
        """Samples by name and labels."""
        from prometheus_client.parser import text_string_to_metric_families

        text = self.request("GET", "/metrics")[2].decode()
        return {
            (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }


@contextlib.contextmanager
def running(folder, **settings):
    """Run a server until the block ends."""
    log = folder / "serve.log"
    wanted = {"port": 0, "drain_delay": 0.0, "threads": 1, "log_file": str(log)} | settings
    made, results = [], []

    async def main():
        server = Server(Settings(**wanted))
        made.append((server, asyncio.get_running_loop()))
        results.append(await server.run())

    thread = threading.Thread(target=lambda: uvloop.run(main()))
    thread.start()
    try:
        until(lambda: made or not thread.is_alive())
        found = Running(made[0][0], log)
        until(lambda: found.lines("ready") or not thread.is_alive())
        assert thread.is_alive(), log.read_text()
        yield found
    finally:
        if thread.is_alive():
            server, loop = made[0]
            loop.call_soon_threadsafe(server.stop)
        thread.join(60)
    assert results == [0]
