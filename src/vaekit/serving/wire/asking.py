"""What the front and its workers tell each other: an `Ask` goes in, a `Told` comes back.

The front never looks into a body. It knows whom the rows are for, how they are written and until when an answer is of
use; the worker reads, asks the model and writes. So the front needs neither pyarrow nor a runtime, and no worker knows
of HTTP.
"""

from __future__ import annotations

import msgspec

__all__ = ["MAY", "Ask", "Fault", "Group", "Seen", "Told"]

MAY = "may-ask"  # among the headers of an `Ask` whose body says the query: those that its caller may ask, if not all


class Ask(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One request on its way to a model.

    Args:
        id: The request id, for logs, traces and feedback.
        model: Name of the model.
        query: Name of the query; ``infer`` where the body says which (Open Inference Protocol).
        takes: Media type of the body, a name of `vaekit.serving.worker.formats.READERS`.
        gives: Media type of the answer, a name of `vaekit.serving.worker.formats.WRITERS`.
        options: Options of the query that came outside the body (URL parameters, as text).
        headers: Other facts about the body that its reader needs, for example the length of the JSON part of a
            binary tensor request; lower-case names.
        body: The rows, as they came.
        number: Number of the request in this process: callers choose ids, and may choose one twice.
    """

    id: str
    model: str
    query: str
    takes: str
    gives: str
    options: dict[str, str] = {}
    headers: dict[str, str] = {}
    body: bytes = b""
    number: int = 0


class Fault(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a request has no answer.

    Args:
        status: HTTP status: 400 the body cannot be read or an option is wrong, 401 nobody knows who asks, 403 the
            caller may not ask this, 404 no such model or query, 413 too large, 415 unknown media type, 422 a row
            breaks the contract, 429 too many requests of this caller, 499 the caller has gone, 500 a defect, 503
            overloaded, draining or not ready, 504 the deadline has passed.
        kind: The reason as one word, bounded in number, for metrics: a name of the exception tree, ``deadline``,
            ``queue_full``, ``not_ready``, ``draining``, ``worker_lost``, ``worker_stuck``, ``rate_limit``, …
        message: What was expected, what came, where, and what to do. It may quote a value of the caller's own rows, so
            it goes to the caller and into no log.
        field: Name of the field, if one is to blame.
        row: Zero-based row of the request, if one is to blame.
        retry_after: Seconds after which another try makes sense, if it does.
    """

    status: int
    kind: str
    message: str
    field: str | None = None
    row: int | None = None
    retry_after: float | None = None


class Told(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer to one `Ask`: a body, or a fault.

    Args:
        body: The answer, written in the media type that was asked for; of a fault, empty: the host words it.
        headers: Facts about the body that the protocol puts beside it (content type, length of its JSON part).
        rows: Rows that were asked about.
        fault: Why there is no answer.
        query: The query that was answered, where the body said which.
    """

    body: bytes = b""
    headers: dict[str, str] = {}
    rows: int = 0
    fault: Fault | None = None
    query: str = ""


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Requests of a batch that were put to a model together.

    Args:
        query: The query.
        requests: How many.
        rows: Their rows.
        infer: Seconds spent on the query.
        write: Seconds spent on writing answers.
    """

    query: str
    requests: int
    rows: int
    infer: float
    write: float


class Seen(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a worker noticed while it answered one batch, for metrics, traces and the cost model.

    Args:
        parse: Seconds spent on reading bodies.
        groups: What was asked together.
    """

    parse: float = 0.0
    groups: list[Group] = []

    @property
    def rows(self) -> int:
        """Rows of the batch."""
        return sum(group.rows for group in self.groups)

    @property
    def infer(self) -> float:
        """Seconds spent on queries."""
        return sum(group.infer for group in self.groups)

    @property
    def write(self) -> float:
        """Seconds spent on writing answers."""
        return sum(group.write for group in self.groups)
