"""The ledger of answers and the feedback that is joined to it."""

import sqlite3
import time

import httpx
import pytest

from tests.serving.stage import Stage
from vaekit.errors import ConfigError
from vaekit.serving.feedback import ledger as module
from vaekit.serving.feedback.ledger import Answered, Ledger, Remark, Source
from vaekit.serving.feedback.summary import summary

NEW, OLD = Source("m", "v2", "c", "d"), Source("m", "v1", "c", "d")


@pytest.fixture
def ledger():
    ledger = Ledger(None, days=1, most=1000)
    yield ledger
    ledger.close()


def note(ledger, *requests, source=NEW, query="score", rows=3, at=None):
    for request in requests:
        ledger.answered(Answered(request, at or time.time(), source, query, rows))


def test_an_answer_is_found_as_soon_as_it_was_noted(ledger):
    note(ledger, "a", source=OLD)
    note(ledger, "b")
    assert ledger.find("a").result().source == OLD
    assert ledger.find("b").result().source == NEW
    assert ledger.find("c").result() is None


def test_the_last_answer_under_an_id_counts(ledger):
    note(ledger, "a", source=OLD)
    note(ledger, "a", source=NEW)
    assert ledger.find("a").result().source == NEW


def test_remarks_are_joined_once_and_corrected(ledger):
    note(ledger, "a")
    for value, measure in (("true", 1.0), ("true", 1.0), ("false", 0.0)):
        assert ledger.remark([Remark("a", "outcome", value, measure)]).result() == 1
    assert ledger.remark([Remark("unknown", "outcome", "true", 1.0)]).result() == 0
    kept = ledger.ask(lambda database: database.execute("SELECT value FROM remarks").fetchall()).result()
    assert kept == [("false",)]


def test_old_answers_are_forgotten(ledger, monkeypatch):
    monkeypatch.setattr(module, "_PRUNE", 0.0)
    note(ledger, "old", at=time.time() - 2 * 86400)
    note(ledger, "new")
    assert ledger.find("old").result() is None
    assert ledger.find("new").result() is not None


def test_answers_are_bounded_in_number(monkeypatch):
    monkeypatch.setattr(module, "_PRUNE", 0.0)
    ledger = Ledger(None, days=1, most=5)
    note(ledger, *map(str, range(20)))
    assert [str(number) for number in range(20) if ledger.find(str(number)).result()] == ["15", "16", "17", "18", "19"]
    ledger.close()


def test_in_memory_no_more_are_kept_than_a_service_has_room_for(monkeypatch):
    monkeypatch.setattr(module, "_PRUNE", 0.0)
    monkeypatch.setattr(module, "IN_MEMORY", 3)
    ledger = Ledger(None, days=1, most=1_000_000)
    note(ledger, *map(str, range(9)))
    assert [number for number in range(9) if ledger.find(str(number)).result()] == [6, 7, 8]
    ledger.close()


def test_answers_that_cannot_be_written_do_not_stop_the_service(tmp_path):
    ledger = Ledger(tmp_path, days=1, most=10)
    ledger.ask(lambda database: database.execute("DROP TABLE answered")).result()
    note(ledger, "a", "b")
    with pytest.raises(sqlite3.Error):
        ledger.find("a").result()
    assert ledger.lost == 2
    ledger.close()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigError, match="file"):
        Ledger(tmp_path / "file", days=1, most=1)
    (tmp_path / "feedback.sqlite").write_bytes(b"this is no database" * 100)
    with pytest.raises(ConfigError, match="feedback.sqlite"):
        Ledger(tmp_path, days=1, most=1)


def test_versions_are_compared(ledger):
    note(ledger, "a", "b", "c", "d", source=OLD)
    note(ledger, "e", "f", query="detect")
    said = [Remark(request, "outcome", "true", 1.0) for request in "ab"] + [Remark("c", "outcome", "false", 0.0)]
    said += [
        Remark(request, "kpi", "1", figure, "money") for request, figure in zip("abe", (1.0, 3.0, 7.0), strict=True)
    ]
    said += [Remark("e", "label", '"cat"', None, row=row) for row in (0, 1)]
    ledger.remark(said).result()
    old, new = ledger.ask(summary).result()
    assert (old["version"], old["answers"], old["rows"], old["remarked"], old["feedback_rate"]) == (
        "v1",
        4,
        12,
        3,
        0.75,
    )
    assert (old["outcomes"], old["outcome_mean"]) == ({"true": 2, "false": 1}, pytest.approx(2 / 3))
    assert old["kpis"] == {"money": {"count": 2, "mean": 2.0, "deviation": 1.0}}
    assert (new["version"], new["remarked"], new["labels"]) == ("v2", 1, {'"cat"': 2})
    assert new["kpis"]["money"]["mean"] == 7.0
    assert [one["version"] for one in ledger.ask(lambda database: summary(database, query="detect")).result()] == ["v2"]
    assert ledger.ask(lambda database: summary(database, model="other")).result() == []


@pytest.mark.parametrize("size", [1.7e9, 1e300, 1.7e308])
def test_figures_of_any_size_have_a_mean_and_a_deviation(size, ledger):
    figures = [size, size * (1 + 1e-9), size * (1 - 1e-9)]
    note(ledger, "0", "1", "2")
    ledger.remark([Remark(str(at), "kpi", "1", figure, "size") for at, figure in enumerate(figures)]).result()
    (told,) = ledger.ask(summary).result(timeout=30)
    found = told["kpis"]["size"]
    assert found["count"] == 3
    if size < 1e100:  # beyond, there is no number for the squares, and nothing breaks
        assert (found["mean"], found["deviation"]) == (pytest.approx(size), pytest.approx(size * 1e-9 * (2 / 3) ** 0.5))


def test_a_job_that_fails_costs_no_other_one(ledger):
    with pytest.raises(ZeroDivisionError):
        ledger.ask(lambda _: 1 / 0).result(timeout=30)
    note(ledger, "a")
    assert ledger.find("a").result(timeout=30).source == NEW


# ------------------------------------------------------------------------------------------------------------ over HTTP


@pytest.fixture(scope="module")
def stage():
    with Stage() as stage:
        yield stage


def post(stage, body, path="/v1/feedback"):
    return httpx.post(stage.url + path, json=body)


def test_feedback_over_http(stage):
    httpx.post(f"{stage.url}/v1/models/m/score", json={}, headers={"x-request-id": "seven"})
    told = post(stage, {"request_id": "seven", "outcome": True, "kpi": {"money": 2}, "row": 0, "note": "as it was"})
    assert told.status_code == 200
    assert told.json() == {
        "request_id": "seven",
        "model": "m",
        "version": "1234",
        "contract": "c0",
        "data": "d0",
        "query": "score",
        "kept": ["kpi.money", "outcome"],
    }
    versions = httpx.get(f"{stage.url}/v1/feedback/summary?model=m&query=score").json()["versions"]
    assert versions[0]["outcome_mean"] == 1.0
    assert httpx.get(f"{stage.url}/v1/feedback/summary?qery=score").status_code == 400


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"request_id": "nobody", "outcome": True}, 404),
        ({"request_id": "seven"}, 422),
        ({"request_id": "seven", "outcome": None}, 422),
        ({"request_id": "seven", "outcome": True, "row": 1}, 422),  # it had one row
        ({"request_id": "seven", "outcome": True, "row": -1}, 422),
        ({"request_id": "seven", "outcome": True, "row": 0.5}, 422),
        ({"request_id": "seven", "kpi": {"money": "much"}}, 422),
        ({"request_id": "seven", "kpi": {}}, 422),
        ({"request_id": "seven", "outcome": [1]}, 422),
        ({"request_id": "seven", "label": "a" * 300}, 422),
        ({"request_id": "seven", "outcome": True, "more": 1}, 422),
        ([], 422),
    ],
)
def test_feedback_that_makes_no_sense_is_refused(stage, body, status):
    post(stage, {}, "/v1/models/m/score")
    httpx.post(f"{stage.url}/v1/models/m/score", json={}, headers={"x-request-id": "seven"})
    told = post(stage, body)
    assert (told.status_code, bool(told.json()["error"]["message"])) == (status, True)


def test_failures_are_not_answers(stage):
    httpx.post(f"{stage.url}/v1/models/m/forecast", json={}, headers={"x-request-id": "failed"})
    assert post(stage, {"request_id": "failed", "outcome": True}).status_code == 404
