"""A service in a process of its own, as `vae serve` starts it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import httpx

ROOT = Path(__file__).parents[2]
PATIENCE = 120.0  # seconds: other tests run beside this one


class Live:
    """A running service.

    Args:
        arguments: Those of ``vae serve``; it listens on a free port.
        ready: Wait until it is ready.
        authority: File of the authority that signed its certificate, if it has one.
    """

    def __init__(self, *arguments: object, ready: bool = True, authority: str | None = None) -> None:
        line = [sys.executable, "-m", "vaekit.cli", "serve", "--port", "0", *map(str, arguments)]
        env = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
        self.process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.wait(lambda: self._address() is not None or self.process.poll() is not None)
        self.url = self._address() or ""
        self.host, _, port = self.url.partition("//")[2].rpartition(":")
        self.port = int(port or 0)
        if ready and self.url:
            with httpx.Client(verify=authority or True) as client:
                probe = f"{self.url}/readyz"
                self.wait(lambda: self.process.poll() is not None or client.get(probe).status_code == 200)

    @property
    def log(self) -> str:
        """All that it has written so far."""
        return "\n".join(self.lines)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)

    def wait(self, condition: Callable[[], Any]) -> None:
        """Wait until something is so."""
        until = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < until, f"waited in vain; the service said:\n{self.log}"
            time.sleep(0.02)

    def stop(self) -> int:
        """Send SIGTERM; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        return code

    def ask(self, path: str, body: Any = None, **options: Any) -> httpx.Response:
        """One request on a connection of its own: POST with a body, else GET."""
        if body is None:
            return httpx.get(self.url + path, timeout=PATIENCE, **options)
        return httpx.post(self.url + path, timeout=PATIENCE, json=body, **options)

    def raw(self, content: bytes = b"") -> socket.socket:
        """A connection on which some bytes were sent."""
        connection = socket.create_connection((self.host, self.port), timeout=PATIENCE)
        connection.sendall(content)
        return connection

    @property
    def grpc(self) -> str:
        """Address of its gRPC host."""
        found = re.search(r'"grpcs?://([^"]+)"', self.log)
        assert found, self.log
        return found[1]

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def _address(self) -> str | None:
        found = re.search(r'"event":"listening".*"addresses":\["(http[^"]+)"', self.log)
        return found and found[1]


def received(connection: socket.socket) -> bytes:
    """All that comes until the other end closes."""
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)
