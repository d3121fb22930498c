"""`GET /v1/feedback/summary`: counts, rates and mean KPIs of each version of each model, side by side."""

from __future__ import annotations

import math
import sqlite3
from datetime import UTC, datetime
from typing import Any

from vaekit.serving.feedback.ledger import Source

__all__ = ["summary"]

VALUES = 50  # different outcomes or labels that are counted one by one
_ANSWERS = """
SELECT source, count(*), total(rows), min(at), max(at) FROM answered
WHERE :query = '' OR query = :query GROUP BY source
"""
_REMARKED = """
SELECT remarks.source, count(DISTINCT remarks.request), count(DISTINCT answered.request)
FROM remarks LEFT JOIN answered ON answered.request = remarks.request
WHERE :query = '' OR remarks.query = :query GROUP BY remarks.source
"""
_FIGURES = """
WITH said AS (
    SELECT source, kind, name, measure FROM remarks WHERE measure IS NOT NULL AND (:query = '' OR query = :query)
), means AS (SELECT source, kind, name, count(*) AS times, avg(measure) AS mean FROM said GROUP BY source, kind, name)
SELECT source, kind, name, times, mean, avg((measure - mean) * (measure - mean))
FROM said JOIN means USING (source, kind, name) GROUP BY source, kind, name
"""
_VALUES = """
SELECT source, kind, value, count(*) AS times FROM remarks
WHERE kind IN ('outcome', 'label') AND (:query = '' OR query = :query)
GROUP BY source, kind, value ORDER BY times DESC, value
"""


def summary(database: sqlite3.Connection, model: str = "", query: str = "") -> list[dict[str, Any]]:
    """Feedback by model and version.

    Args:
        database: The ledger's database.
        model: Only this model.
        query: Only answers to this query.

    Returns:
        One entry per model and version: ``answers`` and ``rows`` in the ledger, ``remarked`` answers, ``feedback_rate``
        (the share of answers in the ledger that were remarked on), how often each outcome and label was given,
        ``outcome_mean`` (the rate of true outcomes where they are true or false), and count, mean and standard
        deviation of each KPI.
    """
    told: dict[int, dict[str, Any]] = {}
    for number, *source in database.execute("SELECT number, model, version, contract, data FROM sources"):
        if model in ("", source[0]):
            names = dict(zip(Source.__struct_fields__, source, strict=True))
            empty = {"answers": 0, "rows": 0, "remarked": 0, "feedback_rate": 0.0, "first": None, "last": None}
            told[number] = {**names, **empty, "outcomes": {}, "outcome_mean": None, "labels": {}, "kpis": {}}
    asked = {"query": query}
    for number, answers, rows, first, last in database.execute(_ANSWERS, asked):
        if number in told:
            told[number] |= {"answers": answers, "rows": int(rows), "first": _date(first), "last": _date(last)}
    for number, remarked, known in database.execute(_REMARKED, asked):
        if number in told:
            answers = told[number]["answers"]
            told[number] |= {"remarked": remarked, "feedback_rate": known / answers if answers else None}
    for number, kind, name, count, mean, variance in database.execute(_FIGURES, asked):
        if number in told and kind == "outcome":
            told[number]["outcome_mean"] = mean
        elif number in told and kind == "kpi":
            told[number]["kpis"][name] = {"count": count, "mean": mean, "deviation": _root(variance)}
    for number, kind, value, times in database.execute(_VALUES, asked):
        if number in told and len(counts := told[number][f"{kind}s"]) < VALUES:
            counts[value] = times
    return [entry for entry in told.values() if entry["answers"] or entry["remarked"]]


def _root(variance: float | None) -> float | None:
    """The deviation; of figures so large that their squares are no numbers any more, there is none."""
    return None if variance is None else math.sqrt(variance)


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
