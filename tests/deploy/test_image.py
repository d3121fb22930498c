"""The container file: what can be held to without a container engine."""

import http.server
import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from dockerfile_parse import DockerfileParser

ROOT = Path(__file__).parents[2]
FILE = ROOT / "deploy" / "Dockerfile"


@pytest.fixture(scope="module")
def steps():
    """Instructions of the last stage: name and value."""
    parsed = DockerfileParser(fileobj=FILE.open("rb")).structure
    last = max(index for index, step in enumerate(parsed) if step["instruction"] == "FROM")
    return [(step["instruction"], step["value"]) for step in parsed[last:]]


def value(steps, instruction):
    """The one value of an instruction."""
    (found,) = [value for name, value in steps if name == instruction]
    return found


def test_hadolint_finds_nothing():
    done = subprocess.run([Path(sys.executable).parent / "hadolint", FILE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_service_is_its_first_process_and_not_root(steps):
    assert int(value(steps, "USER").partition(":")[0]) > 0
    assert json.loads(value(steps, "ENTRYPOINT"))[:2] == ["vae", "serve"]  # no shell that keeps signals to itself
    assert value(steps, "STOPSIGNAL") == "SIGTERM"


def test_all_that_is_copied_is_in_the_context():
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    kept = {line[1:] for line in ignored if line.startswith("!")}
    for step in DockerfileParser(fileobj=FILE.open("rb")).structure:
        if step["instruction"] == "COPY" and not step["value"].startswith("--from"):
            *sources, _ = step["value"].split()
            assert set(sources) <= kept
            assert all((ROOT / source).exists() for source in sources)


def test_its_command_wants_keys_before_it_listens_to_everybody(steps, tmp_path):
    _, *words = json.loads(value(steps, "ENTRYPOINT"))
    line = [sys.executable, "-m", "vaekit.cli", *words, f"m={tmp_path}"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert "--keys" in done.stderr
    assert "--insecure-public" in done.stderr


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False), (None, False)])
def test_the_health_check_tells_alive_from_dead(steps, status, healthy):
    asked = []

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_):
            pass

    options, _, command = value(steps, "HEALTHCHECK").partition("CMD ")
    assert "--start-period" in options
    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        port = server.server_port if status else 9
        code = json.loads(command)[2].replace(":8000", f":{port}")
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=120, check=False)
        server.shutdown()
    assert (done.returncode == 0) is healthy
    assert asked == (["/livez"] if status else [])
