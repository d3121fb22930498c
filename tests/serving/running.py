"""`vae serve` as a process of its own, for tests that ask it over real sockets."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

__all__ = ["Service", "refusal"]

SECONDS = 60  # that a busy machine may take
ROOT = Path(__file__).parents[2]


def command(*arguments: object) -> tuple[list[str], dict[str, str]]:
    """The command line and the environment of a service."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONUNBUFFERED": "1"}
    return [sys.executable, "-m", "vaekit.cli", "serve", *map(str, arguments)], environment


def refusal(*arguments: object) -> tuple[int, str]:
    """Exit code and stderr of a service that does not start."""
    line, environment = command(*arguments, "--port", 0)
    done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False)
    return done.returncode, done.stderr


class Service:
    """A service that runs, on free ports of this machine.

    Args:
        arguments: Arguments of `vae serve`, beside ports.
        log: File for all that it writes.
    """

    def __init__(self, *arguments: object, log: Path) -> None:
        self.log = log
        line, environment = command(*arguments, "--port", 0, "--grpc-port", 0, "--set", "drain_delay=0")
        with log.open("wb") as file:
            self.process = subprocess.Popen(line, env=environment, stdout=file, stderr=subprocess.STDOUT)
        try:
            self.http, self.grpc = self._addresses()
        except BaseException:
            self.process.kill()
            self.process.wait()
            raise

    def _addresses(self) -> tuple[str, str]:
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            found = re.search(r"listening on (https?://\S+), grpcs?://(\S+);", self.written())
            if found:
                return found[1].replace("0.0.0.0", "127.0.0.1"), found[2].replace("0.0.0.0", "127.0.0.1")
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise AssertionError(f"the service did not start:\n{self.written()}")

    def written(self) -> str:
        """All that it has written so far."""
        return self.log.read_text(errors="replace")

    def client(self, **options: Any) -> httpx.Client:
        """An HTTP client that takes nothing from the environment."""
        return httpx.Client(base_url=self.http, timeout=SECONDS, trust_env=False, **options)

    def stop(self) -> int:
        """Ask it to stop, and wait; returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()
