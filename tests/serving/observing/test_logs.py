"""The log: every record a line of JSON, nobody waits for it, and what is lost is counted."""

import os
import subprocess
import sys
import threading
import time

import msgspec
import pytest

from vaekit.errors import ConfigError
from vaekit.serving.observing.logs import Event, Log, RequestLine


def lines(path):
    return [msgspec.json.decode(line) for line in path.read_bytes().splitlines()]


def until(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.01)


def test_records_become_lines_in_order(tmp_path):
    with Log(tmp_path / "log") as log:
        log.event("ready", models=2)
        log.put(RequestLine, "warning", "request", "id-1")
        for number in range(5000):
            log.event("tick", number=number)
    found = lines(tmp_path / "log")
    assert found[0]["facts"] == {"models": 2}
    assert {"level": "warning", "event": "request", "request_id": "id-1"}.items() <= found[1].items()
    assert [line["facts"]["number"] for line in found[2:]] == list(range(5000))
    assert all(line["time"].endswith("Z") for line in found)
    assert found[0]["time"] <= found[-1]["time"]


def test_lines_come_without_waiting_for_the_end(tmp_path):
    with Log(tmp_path / "log") as log:
        log.event("first")
        until(lambda: (tmp_path / "log").read_bytes().endswith(b"\n"))


def test_levels_and_access(tmp_path):
    with Log(tmp_path / "log", level="warning", access="failures") as log:
        log.event("quiet")
        log.event("loud", "error")
        assert [log.wants(status) for status in (200, 400, 503)] == [False, True, True]
    assert [line["event"] for line in lines(tmp_path / "log")] == ["loud"]
    for access, wanted in (("all", True), ("none", False)):
        with Log(tmp_path / "log", access=access) as log:
            assert log.wants(500) is wanted


@pytest.mark.parametrize("wrong", [{"level": "loud"}, {"access": "some"}, {"path": "/no/such/folder/log"}])
def test_wrong_options_are_refused(wrong):
    with pytest.raises(ConfigError, match="--log-level|--log-file"):
        Log(**wrong)


@pytest.mark.parametrize("blocking", [True, False])
def test_nobody_waits_for_a_reader_that_has_stopped(monkeypatch, blocking):
    """A pipe that nobody reads: records are dropped and counted, and told when somebody reads again."""
    reading, writing = os.pipe()
    os.set_blocking(writing, blocking)
    with os.fdopen(writing, "w") as pipe:
        monkeypatch.setattr(sys, "stderr", pipe)
        log = Log(records=500)
        start = time.monotonic()
        for number in range(20_000):
            log.event("tick", number=number, padding="x" * 100)
        assert time.monotonic() - start < 10.0
        until(lambda: log.dropped > 0)
        content = []
        reader = threading.Thread(target=lambda: content.append(_all(reading)))
        reader.start()
        until(lambda: not log.waiting)
        log.event("after")
        log.close(timeout=20.0)
    reader.join()
    found = [msgspec.json.decode(line) for line in content[0].splitlines()]
    told = sum(line["facts"]["records"] for line in found if line["event"] == "log_dropped")
    assert told == log.dropped
    assert sum(line["event"] == "tick" for line in found) == 20_000 - log.dropped
    assert found[-1]["event"] == "after"


def test_a_record_that_cannot_be_written_costs_no_other(tmp_path):
    with Log(tmp_path / "log") as log:
        log.event("before")
        log.event("settings", state=os.fsdecode(b"/data/\xff"))  # a name of a file that is no Unicode
        log.event("odd", value=object())
        log.event("after")
        until(lambda: not log.waiting)
        log.event("later")
    assert {line["event"] for line in lines(tmp_path / "log")} == {"before", "after", "log_dropped", "later"}
    assert log.dropped == 2


def _all(descriptor):
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


def test_a_reader_that_has_gone_is_no_trouble(monkeypatch):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        monkeypatch.setattr(sys, "stderr", pipe)
        with Log() as log:
            log.event("lost")
            until(lambda: log.dropped == 1)


def test_a_file_that_was_moved_away_is_made_anew(tmp_path):
    with Log(tmp_path / "log") as log:
        log.event("before")
        until(lambda: (tmp_path / "log").stat().st_size)
        (tmp_path / "log").rename(tmp_path / "log.1")
        log.event("after")
        until((tmp_path / "log").exists)
    assert [line["event"] for line in lines(tmp_path / "log.1")] == ["before"]
    assert [line["event"] for line in lines(tmp_path / "log")] == ["after"]


def test_fields_that_say_nothing_are_left_out():
    from datetime import UTC, datetime

    line = msgspec.json.decode(msgspec.json.encode(RequestLine(datetime.now(UTC), "info", "request", "id")))
    assert set(line) == {"time", "level", "event", "request_id"}
    assert set(msgspec.json.decode(msgspec.json.encode(Event(datetime.now(UTC), "info", "ready")))) == {
        "time",
        "level",
        "event",
    }


def test_a_process_may_end_while_the_log_is_open():
    code = "from vaekit.serving.observing.logs import Log; log = Log(); log.event('ready'); log.close(); Log()"
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, env=env)
    assert done.returncode == 0
    assert msgspec.json.decode(done.stderr)["event"] == "ready"
