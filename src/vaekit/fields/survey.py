"""What a decision about a column needs to know of its values, part by part: for categories and vectors.

Numbers have their `Profile`. The surveys of the parts of a table add up, as tallies do.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from vaekit.fields.base import Column, Float
from vaekit.fields.category import Level, Levels, levels_of, missing_count, plain
from vaekit.fields.profile import HUGE
from vaekit.fields.vector import Moments, Vector, constant_length, element_matrix

__all__ = ["ElementSurvey", "LevelSurvey"]

KEPT = 2**16  # distinct values of a column that are told apart, when it is read in parts


@dataclass(frozen=True)
class LevelSurvey:
    """The levels of a column of text, booleans or dictionaries.

    Args:
        levels: All levels, those that are declared and not used included, in order.
        used: The levels that occur.
        rows: Rows of the column.
        nulls: Rows that hold null.
        observed: Rows that hold a level.
        ordered: Whether the column declares an order of its levels.
        more: Whether there are more levels than are told apart; `levels` and `used` are then a part of them.

    Example:
        >>> one = LevelSurvey.of(pa.chunked_array([["b", None]]))
        >>> one.merged(LevelSurvey.of(pa.chunked_array([["a"]]))).levels
        ('a', 'b')
    """

    levels: tuple[Level, ...]
    used: tuple[Level, ...]
    rows: int
    nulls: int
    observed: int
    ordered: bool
    more: bool = False

    @classmethod
    def of(cls, column: Column) -> LevelSurvey:
        """The levels of a column."""
        ordered = bool(pa.types.is_dictionary(column.type) and column.type.ordered)
        levels = tuple(levels_of(column))
        used = tuple(levels_of(plain(column))) if ordered else levels
        observed = len(column) - missing_count(column)
        return cls(levels, used, len(column), column.null_count, observed, ordered)

    def merged(self, other: LevelSurvey) -> LevelSurvey:
        """The levels of both: sorted, unless their order is declared."""
        both = replace(
            self,
            rows=self.rows + other.rows,
            nulls=self.nulls + other.nulls,
            observed=self.observed + other.observed,
            more=self.more or other.more,
        )
        if both.more or (other.levels == self.levels and other.used == self.used):
            return both
        order: Any = list if self.ordered else sorted
        levels = tuple(order(dict.fromkeys(self.levels + other.levels)))
        used = tuple(sorted({*self.used, *other.used})) if self.ordered else levels
        return replace(both, levels=levels, used=used, more=len(levels) > KEPT)

    @property
    def tally(self) -> Levels:
        """What fitting a category needs."""
        return Levels(self.levels, self.rows, self.observed)


@dataclass(frozen=True)
class ElementSurvey:
    """The lists of a column.

    Args:
        length: The length that all lists share; 0 if there is none.
        moments: Moments of the elements; None as long as there is no common length.
        low: Smallest finite element; infinity if there is none.
        high: Largest finite element.
        bits: Whether all finite elements are 0 or 1.
        infinite: Number of infinite elements.
        lists: Rows that hold a list.
        rows: Rows of the column.
    """

    length: int
    moments: Moments | None
    low: float
    high: float
    bits: bool
    infinite: int
    lists: int
    rows: int

    @classmethod
    def of(cls, column: Column) -> ElementSurvey:
        """The lists of a column."""
        length, rows, lists = constant_length(column), len(column), len(column) - column.null_count
        if not length:
            return cls(0, None, np.inf, -np.inf, True, 0, lists, rows)
        field = Vector.blank("", column.type, "model")
        values = element_matrix(field, column, length)
        size = np.abs(values)
        seen: Float = values[size < HUGE]
        bits = bool(np.all((seen == 0) | (seen == 1)))
        moments = field.tally(column, strict=False)
        low, high = float(seen.min(initial=np.inf)), float(seen.max(initial=-np.inf))
        return cls(length, moments, low, high, bits, int((size >= HUGE).sum()), lists, rows)

    def merged(self, other: ElementSurvey) -> ElementSurvey:
        """The lists of both; rows without a list have any length."""
        rows, lists = self.rows + other.rows, self.lists + other.lists
        if not (self.lists and other.lists):
            return self._longer(other) if self.lists else other._longer(self)
        if self.moments is None or other.moments is None or self.length != other.length:
            return ElementSurvey(0, None, np.inf, -np.inf, True, 0, lists, rows)
        return ElementSurvey(
            self.length,
            self.moments.merged(other.moments),
            min(self.low, other.low),
            max(self.high, other.high),
            self.bits and other.bits,
            self.infinite + other.infinite,
            lists,
            rows,
        )

    def _longer(self, empty: ElementSurvey) -> ElementSurvey:
        """The same with the rows of a part that holds no list."""
        moments = self.moments and replace(self.moments, rows=self.moments.rows + empty.rows)
        return replace(self, moments=moments, rows=self.rows + empty.rows)
