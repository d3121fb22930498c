"""What is cut from a queue for the next batch, and why no more."""

import math
import sys

import pytest

from vaekit.serving.batching.streams import Stream, Waiting
from vaekit.serving.config import ServeConfig
from vaekit.serving.wire.asking import Ask

NOW = 1000.0


class Future:
    """Stands in for an answer that nobody waits for."""

    def done(self):
        return True


def config(**options):
    return ServeConfig(bundles={"m": "nowhere"}, **options)


def stream(count, *, size=100, deadlines=None):
    """A queue of so many asks, whose bodies have 100 bytes per row."""
    queue = Stream("m", "score")
    queue.learn(Ask(id="", model="m", query="score", takes="t", gives="t", body=b"x" * 1000), 10)
    for index in range(count):
        body = b"x" * size
        ask = Ask(id=str(index), model="m", query="score", takes="t", gives="t", body=body)
        until = (deadlines or {}).get(index, math.inf)
        queue.add(Waiting(ask, queue, NOW, until, Future()))
    return queue


def ids(cut):
    return [one.ask.id for one in cut[0]]


def line(queue, a, b):
    """The cost of batches is known."""
    for rows in (1, 10, 100):
        queue.cost.learn(rows, a * rows + b)


def test_the_body_of_one_who_left_is_not_kept_though_others_wait_before_it():
    queue, body = stream(2), bytes(1000)
    free = sys.getrefcount(body)
    asks = [Ask(id=id, model="m", query="score", takes="t", gives="t", body=body) for id in ("left", "2")]
    both = [Waiting(ask, queue, NOW, math.inf, Future()) for ask in asks]
    for one in both:
        queue.add(one)
    queue.remove(both[0])
    del asks, both[0], one
    assert sys.getrefcount(body) == free + 1
    assert ids(queue.cut(NOW, config())) == ["0", "1", "2"]


def test_all_that_waits_goes_at_once():
    queue = stream(5)
    members, reason = queue.cut(NOW, config())
    assert [one.ask.id for one in members] == ["0", "1", "2", "3", "4"]
    assert (reason, queue.waiting, queue.rows) == ("idle", 0, 0.0)


@pytest.mark.parametrize(
    ("options", "reason", "count"),
    [({"max_batch_rows": 6}, "full_rows", 3), ({"max_batch_bytes": 500}, "full_bytes", 2)],
)
def test_batches_are_bounded_by_rows_and_bytes(options, reason, count):
    queue = stream(10, size=200)  # two rows each
    members, why = queue.cut(NOW, config(**options))
    assert (len(members), why) == (count, reason)
    assert queue.waiting == 10 - count


def test_a_request_that_is_larger_than_a_batch_goes_alone():
    queue = stream(3, size=2000)
    members, reason = queue.cut(NOW, config(max_batch_rows=10))
    assert (len(members), reason) == (1, "full_rows")


def test_the_cost_bounds_a_batch_by_half_of_the_latency_target():
    queue = stream(100)
    line(queue, a=0.001, b=0.005)
    members, reason = queue.cut(NOW, config(latency_target=0.05))
    assert (len(members), reason) == (20, "cost")


def test_a_fixed_cost_above_the_target_does_not_make_batches_of_one():
    queue = stream(200)
    line(queue, a=0.001, b=0.100)
    members, reason = queue.cut(NOW, config(latency_target=0.05))
    assert (len(members), reason) == (100, "cost")  # rows cost as much as the batch itself


def test_batches_grow_although_one_row_takes_longer_than_the_target():
    """With nothing but batches of one known, larger ones are tried, and then known."""
    queue, sizes = stream(200), []
    queue.cost.learn(1, 0.1)
    while queue.waiting:
        members, _ = queue.cut(NOW, config(latency_target=0.05))
        sizes.append(len(members))
        queue.cost.learn(len(members), 0.1 + 0.0001 * len(members))
    assert sizes[0] == 3
    assert max(sizes) > 50


def test_a_batch_is_small_enough_for_its_earliest_deadline():
    queue = stream(20, deadlines={2: NOW + 0.0105})
    line(queue, a=0.001, b=0.0)
    members, reason = queue.cut(NOW, config(latency_target=1.0))
    assert (len(members), reason) == (10, "deadline")


def test_a_late_request_with_an_early_deadline_does_not_join_a_batch_that_is_too_long_for_it():
    queue = stream(20, deadlines={12: NOW + 0.0055})
    line(queue, a=0.001, b=0.0)
    members, reason = queue.cut(NOW, config(latency_target=1.0))
    assert (len(members), reason) == (12, "deadline")
    assert ids(queue.cut(NOW, config(latency_target=1.0))) == ["12", "13", "14", "15", "16"]


def test_a_deadline_that_cannot_be_met_restricts_nobody():
    queue = stream(20, deadlines={0: NOW + 0.0005})
    line(queue, a=0.001, b=0.0)
    members, reason = queue.cut(NOW, config(latency_target=1.0))
    assert (len(members), reason) == (20, "idle")


def test_those_that_have_left_are_not_asked():
    queue = stream(5)
    for one in queue.all()[1:4]:
        queue.remove(one)
    assert queue.waiting == 2
    assert ids(queue.cut(NOW, config())) == ["0", "4"]
    assert queue.cut(NOW, config()) == ([], "idle")


def test_rows_are_estimated_from_the_size_of_earlier_bodies():
    queue = Stream("m", "score")
    one = Ask(id="", model="m", query="score", takes="json", gives="t", body=b"x" * 400)
    assert queue.rows_of(one) == 1.0  # nothing is known
    queue.learn(one, 4)
    assert queue.rows_of(one) == 4.0
    other = Ask(id="", model="m", query="score", takes="arrow", gives="t", body=b"x" * 400)
    assert queue.rows_of(other) == 1.0  # of this format nothing is known


def test_the_backlog_is_the_cost_of_what_waits():
    queue = stream(30)
    line(queue, a=0.001, b=0.010)
    assert queue.backlog(config(max_batch_rows=10)) == pytest.approx(30 * 0.001 + 3 * 0.010)
    assert stream(0).backlog(config()) == 0.0
