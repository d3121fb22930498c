"""Work on a stream of tasks in several threads, with the results in order and few of them at a time in memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from vaekit.errors import VaekitError

__all__ = ["cores", "in_order"]

Task = TypeVar("Task")
Result = TypeVar("Result")


def in_order(work: Callable[[Task], Result], tasks: Iterable[Task], threads: int) -> Generator[Result, None, None]:
    """The results of tasks in their order, while the next ones are worked on.

    Tasks are taken, and results are given, in the thread of the caller: so reading and writing need no locks, and go on
    beside the work. If the tasks end with an error that is raised on purpose, it comes after the results of those
    before. Close it where it is left early: the tasks that are worked on are then waited for, and no other is begun.

    Args:
        work: Is called in one of the threads; it should spend its time where the interpreter lock is released.
        tasks: The tasks.
        threads: How many are worked on at a time; one more waits.

    Example:
        >>> list(in_order(abs, [-3, 2, -1], threads=2))
        [3, 2, 1]
    """
    waiting: deque[Future[Result]] = deque()
    coming, failed = iter(tasks), None
    pool = ThreadPoolExecutor(threads, thread_name_prefix="batch")
    try:
        while failed is None:
            try:
                waiting.append(pool.submit(work, next(coming)))
            except StopIteration:
                break
            except VaekitError as error:
                failed = error
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    if failed is not None:
        raise failed


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
