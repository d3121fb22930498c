"""A batch job: rows in, a folder of parts out, in bounded memory; what is killed goes on where it was."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from pathlib import Path

import msgspec

from vaekit.batch.asking import Answered
from vaekit.batch.flow import cores, in_order
from vaekit.batch.output import Folder
from vaekit.batch.pace import LEAST, MOST, USUAL, best, measured
from vaekit.batch.plan import Plan
from vaekit.batch.work import Progress, State, Summary, Task, Work
from vaekit.errors import ConfigError, VaekitError
from vaekit.fields.batches import empty

__all__ = ["PART_ROWS", "carried_out"]

PART_ROWS = 2**17
SMALL = 2 * 10**5  # inputs of fewer rows are done before a measurement pays


def carried_out(
    work: Work,
    plan: Callable[[int], Plan],
    out: Path,
    *,
    threads: int | None,
    part_rows: int,
    batch_rows: int | None,
    max_bad: float,
    overwrite: bool,
    told: Callable[[Progress], None] | None,
    stop: threading.Event | None,
) -> Summary:
    """Do what is left of a job.

    Args:
        work: What it does.
        plan: The job, given rows of one call.
        out: Folder of the output.
        threads: Calls that are answered at a time; one for each core if not given.
        part_rows: Rows of the input that a part is about.
        batch_rows: Rows of one call; measured if not given.
        max_bad: Share of rows that may go to quarantine.
        overwrite: Begin again where another job was begun.
        told: Is told how far the job is, after each call.
        stop: Ends the run as soon as it is set.

    Raises:
        ConfigError: An option makes no sense, the folder holds something else, or the job that was begun there is
            another one; the differences are named.
        ContractError: The input cannot be read. What was done stays.
    """
    for name, value in (("threads", threads), ("part_rows", part_rows), ("batch_rows", batch_rows)):
        if value is not None and value < 1:
            raise ConfigError(f"{name} must be at least 1, got {value}")
    if not 0.0 <= max_bad <= 1.0:
        raise ConfigError(f"max_bad is a share between 0 and 1, got {max_bad}")
    began, folder = time.perf_counter(), Folder(out)
    with folder.held():
        stored = folder.plan()
        if stored is not None and overwrite:
            folder.clear()
            stored = None
        agreed = plan(batch_rows or (stored.batch_rows if stored else _rows_of_call(work, part_rows)))
        if stored is not None and (differences := stored.differences(agreed)):
            raise ConfigError(
                f"{out} holds a job that was begun with other settings: {differences}. Give those, choose another "
                "folder, or begin again with overwrite (--overwrite)"
            )
        if (written := folder.finished()) is not None:
            found = msgspec.json.decode(written, type=Summary)
            return msgspec.structs.replace(found, before=found.rows, seconds=0.0, rows_per_second=0.0)
        if stored is None:
            folder.begin(agreed)
        folder.tidy()
        run = _Run(work, agreed, folder, threads or (cores() if agreed.backend == "onnx" else 1), began, told, stop)
        state = run.done(max_bad)
        summary = run.summary(state)
        if state == "done":
            folder.finish(msgspec.json.format(msgspec.json.encode(summary), indent=1) + b"\n")
        return summary


class _Stopped(VaekitError):
    """Ends the tasks of a run; a part that is not whole by then is left, so that nothing of it stays."""


class _Run:
    """One run of a job.

    Args:
        work: What the job does.
        plan: The job.
        folder: Its output.
        threads: Calls that are answered at a time.
        began: When the run began.
        told: Is told how far it is.
        stop: Ends it.
    """

    def __init__(
        self,
        work: Work,
        plan: Plan,
        folder: Folder,
        threads: int,
        began: float,
        told: Callable[[Progress], None] | None,
        stop: threading.Event | None,
    ) -> None:
        self.work, self.plan, self.folder, self.threads = work, plan, folder, threads
        self.began, self.told, self.stop = began, told, stop
        self.parts = folder.parts()
        self.rows = self.before = sum(part.rows for part in self.parts.values())
        self.quarantined = sum(part.quarantined for part in self.parts.values())

    def done(self, max_bad: float) -> State:
        """Write the parts that are missing."""
        try:
            with closing(self._answers()) as found:
                for first in found:
                    number = first.first // self.plan.part_rows
                    self.parts[number] = self.folder.write(number, self._part(first, found), self.work.schema)
                    if self._spoilt(max_bad):
                        break  # with this part, so that its rows in quarantine can be looked at
        except _Stopped:
            return "stopped"
        return "too_many_bad_rows" if self._spoilt(max_bad) else "done"

    def summary(self, state: State) -> Summary:
        """What the run did."""
        seconds = time.perf_counter() - self.began
        rows = sum(part.rows for part in self.parts.values())
        plan = msgspec.structs.asdict(self.plan)
        return Summary(
            state=state,
            rows=rows,
            quarantined=sum(part.quarantined for part in self.parts.values()),
            parts=len(self.parts),
            before=self.before,
            seconds=round(seconds, 3),
            rows_per_second=round((rows - self.before) / seconds, 1),
            threads=self.threads,
            **plan,
        )

    def _part(self, first: Answered, found: Iterator[Answered]) -> Iterator[Answered]:
        """The answers of one part, of which the first has come."""
        yield first
        at, end = first.first + first.rows, (first.first // self.plan.part_rows + 1) * self.plan.part_rows
        while at < end and (answer := next(found, None)) is not None:
            yield answer
            at += answer.rows

    def _answers(self) -> Generator[Answered, None, None]:
        """Answers to the tasks of the parts that are missing, in order."""
        size = self.plan.part_rows
        first = next(number for number in range(len(self.parts) + 1) if number not in self.parts)
        found = 0
        with closing(in_order(self.work.answer, self._tasks(first * size), self.threads)) as answers:
            for answer in answers:
                found += 1
                self.rows, self.quarantined = self.rows + answer.rows, self.quarantined + len(answer.faults)
                if self.told is not None:
                    seconds = time.perf_counter() - self.began
                    self.told(Progress(self.rows, self.before, self.work.total, self.quarantined, seconds))
                yield answer
        if not found and not self.parts:  # a folder without rows has columns all the same
            yield Answered(0, 0, empty(self.work.schema))

    def _tasks(self, first: int) -> Iterator[Task]:
        for task in self.work.tasks(first, self.plan.batch_rows, self.plan.part_rows):
            if self.stop is not None and self.stop.is_set():
                raise _Stopped("the job was stopped; the same call goes on")
            if task.first // self.plan.part_rows not in self.parts:
                yield task

    def _spoilt(self, max_bad: float) -> bool:
        """Whether more rows are bad than may be: of all, or of those so far where their number is not known."""
        bad = sum(part.quarantined for part in self.parts.values())
        return bad > max_bad * (self.work.total or sum(part.rows for part in self.parts.values()))


def _rows_of_call(work: Work, part_rows: int) -> int:
    """Rows of one call, measured where that pays."""
    if work.total is not None and work.total < SMALL:
        return USUAL
    most = min(MOST, max(part_rows, LEAST))
    call = work.trial(most)
    return USUAL if call is None else best(list(measured(call, most))).rows
