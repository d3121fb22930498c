"""A real service, and what the command line says of the same rows."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from functools import cache
from pathlib import Path

import pytest

FIXTURES = Path(os.environ["VAEKIT_FIXTURES"])
SECONDS = 120  # that a busy machine may take
MODELS = ("flights", "digits", "numbers")


def vae(*arguments: object) -> list[str]:
    """A command line of vaekit, in its own environment."""
    return [os.environ["VAEKIT_PYTHON"], "-m", "vaekit.cli", *map(str, arguments)]


ENVIRONMENT = {**os.environ, "PYTHONPATH": os.environ["VAEKIT_SOURCE"]}


class Service:
    """Where the service listens, and what it should answer."""

    def __init__(self, http: str, grpc: str) -> None:
        self.http, self.grpc = http, grpc

    @staticmethod
    @cache
    def rows(model: str) -> list[dict]:
        """The rows of a model, as plain values."""
        return Service.expected("impute", model)  # rows without gaps come back as they are

    @staticmethod
    @cache
    def expected(query: str, model: str, *options: str) -> list[dict]:
        """What the command line answers."""
        line = vae(query, FIXTURES / model / "bundle", FIXTURES / model / "rows.parquet", "--json", *options)
        done = subprocess.run(line, env=ENVIRONMENT, capture_output=True, check=True, timeout=SECONDS)
        return json.loads(done.stdout)["data"]


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
            found = re.search(r'"event":"ready".*"addresses":\["(http://[^"]+)","grpc://([^"]+)"', log.read_text())
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
