"""What a worker tells of the rows that it saw: counts that add up, of a size that does not grow with the rows."""

from __future__ import annotations

import msgspec

__all__ = ["Masked", "Spread", "Tally"]


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """How some numbers spread over buckets; spreads over the same edges add up.

    Args:
        edges: Upper ends of the buckets, ascending.
        counts: Numbers in each bucket; one more than there are edges, the last for what lies beyond.
        gained: Sum of those above zero.
        lost: Minus the sum of those below zero. Two sums, since one that falls at times is no counter.
    """

    edges: tuple[float, ...]
    counts: list[int]
    gained: float
    lost: float


class Tally(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was noticed about the rows of one model.

    Args:
        rows: Rows that were encoded.
        nats: How ``score``, ``kl`` and ``reconstruction`` of the rows that were scored spread, in nats.
        missing: Missing cells by field; a vector counts by the share of its elements. Fields beyond the first so many
            are under ``other``, fields without any are left out.
        unknown: Values that are no known category and were read as missing, by field; they are not in `missing`.
    """

    rows: int = 0
    nats: dict[str, Spread] = {}
    missing: dict[str, float] = {}
    unknown: dict[str, int] = {}


class Masked(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A row described without its values.

    Args:
        row: Number of the row in its table.
        fields: Field to ``missing``, ``known`` or ``unknown`` (categories), or ``decile 1`` to ``decile 10`` of the
            training rows (numbers, counts, points in time). Vectors are not described.
        score: Bound on -log p of the row in nats, if it was scored.
        p_value: Share of calibration rows that are at least as strange, where it can be told.
        strangest: The fields that are stranger than they usually are, strangest first.
    """

    row: int
    fields: dict[str, str]
    score: float | None = None
    p_value: float | None = None
    strangest: list[str] = []
