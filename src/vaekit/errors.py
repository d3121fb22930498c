"""The exception tree: everything vaekit raises on purpose is a `VaekitError`.

A message says what was expected, what came, where (row, field, file), and what to do about it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = [
    "BundleError",
    "ConfigError",
    "ContractError",
    "GraphError",
    "NotFiniteError",
    "QueryError",
    "ServingError",
    "TrainingError",
    "VaekitError",
    "differing",
]


class VaekitError(Exception):
    """Base class of every error that vaekit raises on purpose.

    Example:
        >>> issubclass(ContractError, VaekitError)
        True
    """


class ContractError(VaekitError):
    """Rows do not fit the contract, or no contract can be made from them.

    Args:
        message: One sentence: what is wrong and what to do.
        field: Name of the field, if one is to blame.
        row: Zero-based row of the first offence, if one is to blame.
        expected: What the contract asks for.
        got: What came instead.

    Example:
        >>> print(ContractError("value is not a known category", field="origin", row=3,
        ...                     expected="one of EWR, JFK, LGA", got="'XYZ'"))
        value is not a known category (field 'origin', row 3): expected one of EWR, JFK, LGA, got 'XYZ'
    """

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        row: int | None = None,
        expected: str | None = None,
        got: str | None = None,
    ) -> None:
        self.message, self.field, self.row, self.expected, self.got = message, field, row, expected, got
        place = [f"field {field!r}"] if field is not None else []
        place += [f"row {row}"] if row is not None else []
        detail = [f"expected {expected}"] if expected is not None else []
        detail += [f"got {got}"] if got is not None else []
        text = message
        text += f" ({', '.join(place)})" if place else ""
        text += f": {', '.join(detail)}" if detail else ""
        super().__init__(text)

    def after(self, rows: int) -> ContractError:
        """The same error in a table of which so many rows came earlier.

        Example:
            >>> print(ContractError("value is infinite", field="x", row=3).after(1000))
            value is infinite (field 'x', row 1003)
        """
        row = None if self.row is None else self.row + rows
        return ContractError(self.message, field=self.field, row=row, expected=self.expected, got=self.got)


class BundleError(VaekitError):
    """A bundle is damaged, incomplete, too new, or lacks what a query needs."""


class GraphError(BundleError):
    """A bundle lacks a graph that a query needs; it answers others."""


class ConfigError(VaekitError):
    """An option is unknown, out of range, or contradicts another one."""


class TrainingError(VaekitError):
    """Training cannot start or cannot go on; the message names term, field, step and what was kept."""


class NotFiniteError(TrainingError):
    """A loss, a gradient or a figure of validation is NaN or infinite."""


class QueryError(VaekitError):
    """A query was asked for something that it, or this bundle, cannot answer."""


class ServingError(VaekitError):
    """A service did not answer: it cannot be reached, refused the request, or failed.

    Args:
        message: What happened and what to do.
        status: HTTP status; None if there was no answer.
        kind: The reason as one word, as the service names it, for example ``queue_full``, ``deadline``,
            ``unauthorized``; ``connection`` if there was no answer.
        request_id: Id of the request, as the logs of the service have it.
        retry_after: Seconds after which another try makes sense, if the service said so.

    Example:
        >>> print(ServingError("the queue is full", status=503, kind="queue_full", request_id="4f1c"))
        the queue is full (status 503, queue_full, request 4f1c)
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        kind: str = "",
        request_id: str = "",
        retry_after: float | None = None,
    ) -> None:
        self.message, self.status, self.kind = message, status, kind
        self.request_id, self.retry_after = request_id, retry_after
        facts = [f"status {status}"] if status is not None else []
        facts += [kind] if kind else []
        facts += [f"request {request_id}"] if request_id else []
        super().__init__(message + (f" ({', '.join(facts)})" if facts else ""))


def differing(stored: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    """What differs between two sets of settings, for the message of an error; empty if nothing does.

    Args:
        stored: Settings that something was begun with, by name; a setting may be a mapping of settings.
        asked: Settings that are asked for now.

    Example:
        >>> differing({"seed": 0, "model": {"width": 64}}, {"seed": 0, "model": {"width": 128, "depth": 2}})
        'model.depth: None → 2; model.width: 64 → 128'
    """
    return "; ".join(_differences(stored, asked, ""))


def _differences(stored: Mapping[str, Any], asked: Mapping[str, Any], inside: str) -> Iterator[str]:
    for name in sorted(stored.keys() | asked.keys()):
        old, new = stored.get(name), asked.get(name)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from _differences(old, new, f"{inside}{name}.")
        elif old != new:
            yield f"{inside}{name}: {old} → {new}"
