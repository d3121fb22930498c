"""What a batch job works on, and what it tells: tasks, progress, and a summary."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple, Protocol

import msgspec
import pyarrow as pa

from vaekit.batch.asking import Answered

__all__ = ["Progress", "State", "Summary", "Task", "Work"]

State = Literal["done", "stopped", "too_many_bad_rows"]


class Task(NamedTuple):
    """Rows to answer in one call.

    Args:
        first: Number of the first.
        rows: How many.
        table: The rows themselves, where there are some.
    """

    first: int
    rows: int
    table: pa.Table | None = None


class Work(Protocol):
    """What a job does: tasks, and how one is answered."""

    @property
    def schema(self) -> pa.Schema:
        """Schema of all answers."""
        ...

    @property
    def total(self) -> int | None:
        """Rows in all, if known."""
        ...

    def tasks(self, first: int, rows: int, part: int) -> Iterator[Task]:
        """All tasks from a row on, of so many rows each; none goes beyond a multiple of `part` rows."""
        ...

    def answer(self, task: Task) -> Answered:
        """Answer one task; called in several threads."""
        ...

    def trial(self, most: int) -> Callable[[int], int] | None:
        """A call about so many rows, which returns bytes of rows and answer; None if nothing can be tried."""
        ...


class Progress(NamedTuple):
    """How far a job is.

    Args:
        rows: Rows that are answered or in quarantine, those of earlier runs included.
        before: How many of them earlier runs did.
        total: Rows in all, if known.
        quarantined: Rows in quarantine.
        seconds: Since this run began.
    """

    rows: int
    before: int
    total: int | None
    quarantined: int
    seconds: float


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What a run of a job did.

    Args:
        state: ``done``; ``stopped`` by a signal, to be gone on with; or ``too_many_bad_rows``.
        query: Name of the query.
        options: Its options.
        keep: Columns that are carried along.
        rows: Rows of the input that are done.
        quarantined: How many of them are in quarantine.
        parts: Files of answers.
        before: Rows that earlier runs did; all of them if there was nothing left to do.
        seconds: Seconds of this run.
        rows_per_second: Of this run.
        batch_rows: Rows of one call.
        part_rows: Rows of the input that a part is about.
        threads: Calls that were answered at a time.
        backend: What ran the model.
        bundle: Version of the bundle.
        contract: Hash of its contract.
        input: What the rows came from.
        vaekit: The release.
    """

    state: State
    query: str
    options: dict[str, Any]
    keep: tuple[str, ...]
    rows: int
    quarantined: int
    parts: int
    before: int
    seconds: float
    rows_per_second: float
    batch_rows: int
    part_rows: int
    threads: int
    backend: str
    bundle: str
    contract: str
    input: dict[str, Any]
    vaekit: str
