"""A real service."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

import pytest

FIXTURES = Path(os.environ["VAEKIT_FIXTURES"])
SECONDS = 120  # that a busy machine may take
MODELS = ("flights", "digits", "numbers")


def vae(*arguments: object) -> list[str]:
    """A command line of vaekit, in its own environment."""
    return [os.environ["VAEKIT_PYTHON"], "-m", "vaekit.cli", *map(str, arguments)]


ENVIRONMENT = {**os.environ, "PYTHONPATH": os.environ["VAEKIT_SOURCE"]}


class Service(NamedTuple):
    """Where the service listens."""

    http: str
    grpc: str


@pytest.fixture(scope="session")
def service(tmp_path_factory):
    """The service; it is stopped at the end."""
    log = tmp_path_factory.mktemp("service") / "log"
    bundles = [f"{name}={FIXTURES / name / 'bundle'}" for name in MODELS]
    line = vae("serve", *bundles, "--port", 0, "--grpc-port", 0, "--set", "drain_delay=0", "--set", "max_rows=100")
    with log.open("wb") as file:
        process = subprocess.Popen(line, env=ENVIRONMENT, stdout=file, stderr=subprocess.STDOUT)
    try:
        until, found = time.monotonic() + SECONDS, None
        while not found:
            listening = r'"addresses":\["(http://[^"]+)","grpc://([^"]+)".*"event":"ready"'
            found = re.search(listening, log.read_text(), re.S)
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.05)
        yield Service(found[1], found[2])
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
