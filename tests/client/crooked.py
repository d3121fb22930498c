"""A server that misbehaves as it is told, request by request, on a real socket."""

import asyncio
import contextlib
import threading
import time
from types import SimpleNamespace

import pyarrow as pa

__all__ = ["Crooked", "drip", "fault", "half", "html", "late", "reset", "rows_back", "table", "told"]


class Crooked:
    """A server on a free port of the loopback interface, in a thread.

    Args:
        behaviours: What to do with each request in turn; the last one is done with all that follow. Each is an async
            function of a request and a stream writer.
    """

    def __init__(self, *behaviours):
        self.behaviours, self.requests, self.at_once, self.most = behaviours, [], 0, 0

    def __enter__(self):
        self._loop, started = asyncio.new_event_loop(), threading.Event()
        self._thread = threading.Thread(target=self._run, args=[started], daemon=True)
        self._thread.start()
        assert started.wait(30)
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)

    def _run(self, started):
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        started.set()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                self._loop.run_until_complete(task)
        self._loop.close()

    async def _serve(self, reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                method, path, _ = head[0].split(" ")
                headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                request = SimpleNamespace(method=method, path=path, headers=headers, body=body, at=time.monotonic())
                self.requests.append(request)
                behaviour = self.behaviours[min(len(self.requests), len(self.behaviours)) - 1]
                self.at_once += 1
                self.most = max(self.most, self.at_once)
                try:
                    await behaviour(request, writer)
                finally:
                    self.at_once -= 1
                if writer.is_closing():
                    return


def answer(status, body, **headers):
    lines = [f"HTTP/1.1 {status} Told", f"content-length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def stream(rows):
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as out:
        out.write_table(rows)
    return sink.getvalue().to_pybytes()


def table(rows):
    """Answers with a table."""
    return told(200, stream(rows), x_request_id="4f1c")


def told(status, body, **headers):
    """Answers with a status and a body."""

    async def behave(request, writer):
        writer.write(answer(status, body, **headers))

    return behave


def fault(status, kind, message="no", **headers):
    """Answers with an error as the service words it."""
    field, row = headers.pop("field", "null"), headers.pop("row", "null")
    body = f'{{"error": {{"kind": "{kind}", "message": "{message}", "field": {field}, "row": {row}}}}}'
    return told(status, body.encode(), x_request_id="4f1c", **headers)


def late(seconds, then):
    """Waits before it behaves otherwise."""

    async def behave(request, writer):
        await asyncio.sleep(seconds)
        await then(request, writer)

    return behave


async def reset(request, writer):
    """Resets the connection."""
    writer.transport.abort()


async def half(request, writer):
    """Closes the connection in the middle of an answer."""
    writer.write(answer(200, b"x" * 100)[:-50])
    writer.close()


async def drip(request, writer):
    """Sends an answer that never ends, byte by byte."""
    writer.write(answer(200, b"x" * 10_000)[:-10_000])
    for _ in range(10_000):
        writer.write(b"x")
        await asyncio.sleep(0.02)


async def html(request, writer):
    """Answers as a proxy does."""
    writer.write(answer(502, b"<html>bad gateway</html>"))


async def rows_back(request, writer):
    """Answers with the rows that it got, under an id that says how many there were; the first part is the slowest."""
    rows = pa.ipc.open_stream(request.body).read_all()
    await asyncio.sleep(0.4 if rows["x"][0].as_py() == 0 else 0.05)
    writer.write(answer(200, request.body, x_request_id=f"id-{rows['x'][0].as_py()}"))
