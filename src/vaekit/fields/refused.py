"""Which rows of a table a check refuses, and why."""

from __future__ import annotations

from collections.abc import Callable

from vaekit.errors import ContractError

__all__ = ["refused"]


def refused(rows: int, check: Callable[[slice], object]) -> dict[int, ContractError]:
    """Every row that a check refuses, with the error of that row.

    A part that fails is cut at the row that the error names, or in the middle if it names none, and the rest is checked
    again in halves, so a few bad rows cost a few checks of the whole.

    Args:
        rows: Number of rows.
        check: Raises a `ContractError` if one of some rows is bad; its row, if it has one, is counted from the first of
            them.

    Returns:
        Row number to error, in order.

    Example:
        >>> def check(part):
        ...     if {3, 7} & set(range(part.start, part.stop)):
        ...         raise ContractError("no threes and sevens")
        >>> sorted(refused(10, check))
        [3, 7]
    """
    found: dict[int, ContractError] = {}
    waiting = [(0, rows)]
    while waiting:
        start, stop = waiting.pop()
        if start == stop:
            continue
        middle = (start + stop) // 2
        try:
            check(slice(start, stop))
        except ContractError as error:
            if error.row is None and stop - start > 1:
                waiting += [(start, middle), (middle, stop)]
                continue
            at = start + (error.row or 0)
            found[at] = ContractError(error.message, field=error.field, row=at, expected=error.expected, got=error.got)
            cut = max(at + 1, middle)
            waiting += [(start, at), (at + 1, cut), (cut, stop)]
    return dict(sorted(found.items()))
