"""A tracker that hangs, fails or is too slow costs a run nothing, and what was lost is told."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from vaekit.errors import ConfigError
from vaekit.tracking import End, Lane, Look, Run, Tracker, make_trackers

RUN = Run("r1", None, {"seed": 0}, {"data": "ab"}, "{}")
LOOK = Look({"z": np.zeros((3, 2))}, {"z": np.ones((3, 2))}, {"x": b"png"}, {"a": [1]}, ["u", "v", "w"])


class Kept(Tracker):
    """Remembers what it was told."""

    name, needs = "kept", "sys"

    def __init__(self, hosted=False):
        self.calls, self._hosted = [], hosted

    @property
    def hosted(self):
        return self._hosted

    def start(self, run):
        self.calls.append(("start", run))

    def scalars(self, step, values):
        self.calls.append(("scalars", step))

    def look(self, step, look):
        self.calls.append(("look", look))

    def finish(self, end):
        self.calls.append(("finish", end))


def whole_run(lane, scalars=5):
    lane.start(RUN)
    for step in range(scalars):
        lane.scalars(step, {"a": 1.0})
    lane.look(scalars, LOOK)
    return lane.close(End("finished"))


def test_calls_arrive_whole_and_in_order():
    lane = Lane(Kept())
    told = whole_run(lane)
    assert told == {"state": "ok", "sent": 8, "dropped": 0, "error": None, "address": ""}
    assert [name for name, _ in lane.tracker.calls] == ["start", *["scalars"] * 5, "look", "finish"]


def test_a_tracker_that_hangs_neither_slows_nor_stops_a_run():
    entered, never = threading.Event(), threading.Event()

    class Hangs(Kept):
        def scalars(self, step, values):
            entered.set()
            never.wait(60)

    lane = Lane(Hangs(), queue=4, timeout=0.2, finish=0.6)
    lane.start(RUN)
    lane.scalars(0, {})
    assert entered.wait(10)
    before = time.process_time(), time.monotonic()
    for step in range(10_000):
        lane.scalars(step, {})
    assert time.monotonic() - before[1] < 5.0  # 10,000 waits would be 2,000 s
    told = lane.close(End("finished"))
    never.set()
    assert time.monotonic() - before[1] < 10.0
    assert told["state"] == "hanging"
    assert told["sent"] == 1
    assert told["dropped"] == 10_002  # the call that hangs and the end included
    assert told["error"] == "scalars: no answer in time"


def test_a_tracker_that_fails_is_given_up_after_three_times_in_a_row():
    class Fails(Kept):
        def scalars(self, step, values):
            super().scalars(step, values)
            raise ConnectionError("no route\nto host")

    lane = Lane(Fails())
    told = whole_run(lane, scalars=9)
    assert told["state"] == "gave up"
    assert (told["sent"], told["dropped"]) == (1, 11)
    assert told["error"] == "scalars: ConnectionError: no route to host"
    assert len(lane.tracker.calls) == 4


def test_an_error_is_told_without_the_password_in_an_address():
    class Refused(Kept):
        def start(self, run):
            raise ConnectionError("cannot reach https://me:s3cret@host:5000/api")

    assert whole_run(Lane(Refused()))["error"] == "start: ConnectionError: cannot reach https://host:5000/api"


def test_a_tracker_that_fails_now_and_then_is_not_given_up():
    class Flaky(Kept):
        def scalars(self, step, values):
            super().scalars(step, values)
            if step % 3:
                raise TimeoutError("busy")

    told = whole_run(Lane(Flaky()), scalars=6)
    assert (told["state"], told["sent"], told["dropped"]) == ("failing", 5, 4)


def test_a_tracker_that_does_not_start_is_given_up_at_once():
    class Absent(Kept):
        def start(self, run):
            raise SystemExit(1)  # some libraries do

    told = whole_run(Lane(Absent()))
    assert (told["state"], told["sent"]) == ("gave up", 0)


@pytest.mark.parametrize(
    ("hosted", "allowed", "shown"), [(True, False, False), (True, True, True), (False, False, True)]
)
def test_rows_are_shown_only_where_they_may_be(tmp_path, hosted, allowed, shown):
    page = tmp_path / "report.html"
    page.write_text("rows")
    lane = Lane(Kept(hosted), allow_rows=allowed)
    lane.start(RUN)
    lane.look(1, LOOK)
    lane.close(End("finished", report=page))
    told = dict(lane.tracker.calls)
    assert bool(told["look"].pictures) is bool(told["look"].sampled) is bool(told["look"].labels) is shown
    assert (told["finish"].report is not None) is shown
    assert told["look"].means["z"].shape == (3, 2)


def test_what_is_asked_for_is_checked_before_a_run():
    for asked, message in (
        ({"mlflw": {}}, "unknown tracker 'mlflw'; known: mlflow, tensorboard, wandb"),
        ({"wandb": {"token": "s3cret"}}, "no option token; it has: project, entity, allow_rows"),
        ({"tensorboard": {"queue": 0}}, "queue cannot be 0; expected a number above 0"),
        ({"tensorboard": {"allow_rows": 1}}, "allow_rows cannot be 1; expected true or false"),
    ):
        with pytest.raises(ConfigError, match=message):
            make_trackers(asked)
    (lane,) = make_trackers({"wandb": {"project": "p", "allow_rows": True}})
    assert lane.sees_rows
    assert not make_trackers({"wandb": {}})[0].sees_rows
