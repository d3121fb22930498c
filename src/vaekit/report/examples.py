"""Rows to look at: the strangest with the fields that make them so, some at the edge, some that are typical."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vaekit.arrays import Array
from vaekit.queries.base import query
from vaekit.queries.conformal import p_values as conformal
from vaekit.report.quality import hidden

if TYPE_CHECKING:
    import pyarrow as pa

    from vaekit.runtime.engine import Engine

__all__ = ["Example", "Ranked", "Reason", "examples", "ranked"]

EDGE = 0.05
_STRANGEST, _TYPICAL, _REASONS = 8, 3, 3
_INTERVAL = 0.9


@dataclass(frozen=True)
class Ranked:
    """How strange each row is, and through which fields.

    Args:
        score: Larger is stranger, in nats, shape (B,).
        p_value: Conformal p-values, NaN without calibration rows, shape (B,).
        excess: Nats by which each field is stranger than it usually is, shape (B, F).
        fields: The model fields, F of them.
    """

    score: Array
    p_value: Array
    excess: Array
    fields: tuple[str, ...]


@dataclass(frozen=True)
class Reason:
    """Why a row is strange: one field, and what the model expects from all other fields of the row.

    Args:
        field: Name of the field.
        excess: Nats by which it is stranger than usual.
        value: What is there.
        expected: What the model would have put there; None where it cannot say.
        low: Lower end of the 90 % interval, for numbers.
        high: Upper end.
    """

    field: str
    excess: float
    value: Any
    expected: Any = None
    low: Any = None
    high: Any = None


@dataclass(frozen=True)
class Example:
    """One row.

    Args:
        sort: ``strange``, ``edge`` or ``typical``.
        row: Position in the table.
        p_value: Its p-value, NaN without calibration rows.
        score: Its anomaly score in nats.
        values: The row.
        reasons: What makes it strange, most first; for strange rows.
    """

    sort: str
    row: int
    p_value: float
    score: float
    values: dict[str, Any]
    reasons: tuple[Reason, ...] = ()


def ranked(engine: Engine, table: pa.Table) -> Ranked:
    """Score rows with attribution: by `detect` where there are calibration rows, else by `score`."""
    fields = engine.contract.names("model")
    calibrated = len(engine.calibration.get("anomaly", ()))
    if calibrated:
        found = query(engine, "detect", table, alpha=max(EDGE, 1.0 / (calibrated + 1)), attribution=True)
        excess = np.stack([found[f"excess.{name}"].to_numpy() for name in fields], 1)
        score = found["anomaly_score"].to_numpy()
        return Ranked(score, conformal(engine, "anomaly", score), excess, fields)
    found = query(engine, "score", table, attribution=True)
    nats = np.stack([found[f"score.{name}"].to_numpy() for name in fields], 1)
    return Ranked(found["score"].to_numpy(), np.full(table.num_rows, np.nan), nats - nats.mean(0), fields)


def examples(engine: Engine, table: pa.Table, order: Ranked, numbers: Sequence[int] | None = None) -> list[Example]:
    """The strangest rows with reasons, then rows at the edge (p near 5 %), then typical ones (p near one half).

    Args:
        engine: The model.
        table: Real rows.
        order: How strange they are.
        numbers: Numbers to call the rows by; their positions if not given.
    """
    most = min(_STRANGEST, max(_TYPICAL, table.num_rows // 50))
    strangest = np.argsort(-order.score, kind="stable")[:most].tolist()
    chosen = [("strange", row) for row in strangest]
    taken = set(strangest)
    places = order.p_value
    if not np.isfinite(places).all():  # without calibration rows by their place among themselves
        places = 1.0 - np.argsort(np.argsort(order.score)) / max(len(order.score), 1)
    for sort, level in (("edge", EDGE), ("typical", 0.5)):
        near = [row for row in np.argsort(np.abs(places - level), kind="stable").tolist() if row not in taken][
            :_TYPICAL
        ]
        chosen += [(sort, row) for row in near]
        taken |= set(near)
    used = [name for name in table.column_names if name in engine.contract.names()]
    rows = table.select(used).take([row for _, row in chosen]).to_pylist()
    reasons = _reasons(engine, table, strangest, order)
    return [
        Example(
            sort,
            int(row if numbers is None else numbers[row]),
            float(order.p_value[row]),
            float(order.score[row]),
            values,
            reasons.get(row, ()),
        )
        for (sort, row), values in zip(chosen, rows, strict=True)
    ]


def _reasons(engine: Engine, table: pa.Table, rows: list[int], order: Ranked) -> dict[int, tuple[Reason, ...]]:
    """The fields with the largest excess of some rows, each predicted from the rest of its row."""
    asked = [
        (row, int(field))
        for row in rows
        for field in np.argsort(-order.excess[row], kind="stable")[:_REASONS]
        if order.excess[row, field] > 0 and table[order.fields[field]][row].is_valid
    ]
    if not asked:
        return {}
    where = np.array([field for _, field in asked])
    part = table.take([row for row, _ in asked])
    masks = {order.fields[field]: where == field for field in np.unique(where).tolist()}
    used = [*engine.contract.names("model"), *engine.contract.names("condition")]
    filled = query(engine, "impute", hidden(part.select(used), masks), interval=_INTERVAL)
    found: dict[int, tuple[Reason, ...]] = {}
    for at, (row, field) in enumerate(asked):
        name = order.fields[field]
        ends = [
            filled[f"{name}.{e}"][at].as_py() if f"{name}.{e}" in filled.column_names else None for e in ("low", "high")
        ]
        one = Reason(
            name, float(order.excess[row, field]), part[name][at].as_py(), filled[name][at].as_py(), ends[0], ends[1]
        )
        found[row] = (*found.get(row, ()), one)
    return found
