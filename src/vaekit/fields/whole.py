"""Whole numbers: identifiers, years, codes, ordered levels, counts, or plain numbers."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vaekit.fields.count import looks_like_count
from vaekit.fields.names import says_amount, says_code, says_cycle, says_identifier, says_order, says_year
from vaekit.fields.profile import HUGE, Profile

__all__ = ["CHECK", "MANY", "Reading", "even_steps", "read_whole", "recurs"]

CHECK = "check: "  # how notes begin that a user should look at

FEW = 10  # levels that whole numbers without a telling name may have to be codes
PER_LEVEL = 10  # rows per level that make levels worth learning
NAMED_PER_LEVEL = 3  # the same where the name says that there are only kinds
ROWS = 20
COUNTED = 4  # fewer different values are no counts: three levels say little of a law on all whole numbers
PEAKED = 4  # values from which the shape of a histogram tells amounts
YEARS = (1800.0, 2100.0)
MANY = 50  # rows from which numbers that never repeat are suspicious
DENSE = 3.0  # unique whole numbers that fill at least a third of their range number something
BACK = (100, 20)  # an identifier of at most so many values, each so often, is a code

Float = NDArray[np.float64]


class Reading(NamedTuple):
    """What whole numbers are, and why."""

    kind: Literal["identifier", "number", "count", "categorical", "ordinal"]
    note: str = ""


def read_whole(name: str, profile: Profile, *, even: bool = False, floats: bool = False) -> Reading:
    """What a column of whole numbers is.

    Levels are only those that the training rows hold, and any other value breaks the contract; so amounts must not be
    taken for levels. Few neighbouring values are levels if the name says so, in an order if the name says that. Without
    a telling name they are amounts if their histogram has one peak, as amounts and ratings have; else they are codes,
    without an order, since such levels can take any shape and ordered ones cannot. Floats without holes were meant as
    amounts.

    Args:
        name: Name of the column.
        profile: Its distinct values; three at least, all whole.
        even: Whether its values change by one equal step from row to row.
        floats: Whether they are floats, and none is missing (with holes, whole numbers become floats).
    """
    values, rows = profile.values, profile.count
    distinct, low, high = len(values), float(values[0]), float(values[-1])
    if says_year(name) or (YEARS[0] <= low and high <= YEARS[1] and not says_identifier(name) and not says_code(name)):
        axis = distinct == rows >= ROWS and even
        return Reading("number", f"{CHECK}one row per year: a time axis? role='time' splits by it" if axis else "")
    if found := _identifier(name, profile, even=even):
        return found
    cycle = says_cycle(name)
    if cycle and cycle[0] <= low and high <= cycle[1] and rows >= NAMED_PER_LEVEL * distinct:
        return Reading("categorical", "turns round like a clock, so taken as levels; kind='number' undoes it")
    few = distinct <= FEW and high - low < 2 * distinct and rows >= max(ROWS, PER_LEVEL * distinct)
    if few and says_order(name):
        return Reading("ordinal", "taken as ordered levels because of the name; kind='number' if they are amounts")
    if says_code(name) and rows >= max(ROWS, NAMED_PER_LEVEL * distinct):
        return Reading("categorical", "taken as codes because of the name; kind='number' if they are amounts")
    if (not few or distinct >= COUNTED) and looks_like_count(profile):
        return Reading("count")
    if not few or floats or says_amount(name) or (distinct >= PEAKED and _one_peak(profile)):
        return Reading("number")
    told = f"{distinct} neighbouring values: taken as codes; kind='number' if they are amounts"
    return Reading("categorical", told)


def recurs(distinct: int, rows: int) -> bool:
    """Whether an identifier comes back so often that it is as good as a code."""
    return distinct <= BACK[0] and rows >= BACK[1] * distinct


def even_steps(column: Float) -> bool:
    """Whether numbers (B,) change by one equal step from row to row, missing ones aside.

    Example:
        >>> even_steps(np.arange(60.0)), even_steps(np.arange(60.0) % 30)
        (True, False)
    """
    place = np.flatnonzero(np.abs(column) < HUGE)
    if len(place) < 3:
        return False
    steps = np.diff(column[place]) / np.diff(place)
    first = float(steps[0])
    return first != 0 and bool(np.all(np.abs(steps - first) <= 1e-6 * abs(first)))


def _identifier(name: str, profile: Profile, *, even: bool) -> Reading | None:
    values, rows, distinct = profile.values, profile.count, len(profile.values)
    named = says_identifier(name)
    if named and distinct < rows:
        if recurs(distinct, rows):
            return Reading("categorical", f"an identifier of {distinct} things that come back often, taken as codes")
        told = f"{CHECK}an identifier, by its name, that comes back: role='entity' keeps its rows together in splits"
        return Reading("identifier", told)
    if named:
        return Reading("identifier", f"{CHECK}an identifier: its name, and no value comes twice; role='model' keeps it")
    if even and rows >= MANY:
        return Reading("identifier", f"{CHECK}a row number or a time axis: equal steps; role='time' or role='model'")
    reach = values[-1] - values[0] + 1
    if distinct == rows >= MANY and reach == rows:
        return Reading("number", f"{CHECK}every whole number once: a rank? role='ignore' if it only numbers the rows")
    if distinct == rows >= MANY and reach <= DENSE * rows:
        return Reading(
            "identifier", f"{CHECK}an identifier? whole numbers close together, none twice; role='model' if not"
        )
    return None


def _one_peak(profile: Profile) -> bool:
    """Whether a histogram rises to one peak and falls, but for what chance explains; a flat one has no peak.

    Two standard errors excuse a dip; the peak must stand out from the lower end by four.
    """
    counts = np.zeros(int(profile.values[-1] - profile.values[0]) + 1)
    counts[(profile.values - profile.values[0]).astype(np.intp)] = profile.counts
    left, right = np.maximum.accumulate(counts), np.maximum.accumulate(counts[::-1])[::-1]
    lower = np.minimum(left, right)
    peak, end = counts.max(), min(counts[0], counts[-1])
    stands_out = peak - end > 4.0 * np.sqrt(peak + end)
    return bool(stands_out and np.all(lower - counts <= 2.0 * np.sqrt(lower + counts)))
