"""Timing on a machine that others use too: everything interleaved, medians of rounds."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

__all__ = ["Clock", "clock_of", "interleaved", "medians", "ratio", "timed"]

Clock = Callable[[], float]


def clock_of(cores: int) -> Clock:
    """The clock for work on so many cores.

    One core: the processor time of this process, which equals wall time on an idle machine and does not grow when
    others take the core away. More cores: wall time, because waiting for each other is part of the cost.
    """
    return time.process_time if cores == 1 else time.perf_counter


def timed(job: Callable[[], object], clock: Clock) -> float:
    """Seconds that a job takes."""
    began = clock()
    job()
    return clock() - began


def interleaved(contenders: Mapping[str, Callable[[], float]], rounds: int, budget: float) -> dict[str, list[float]]:
    """Let every contender run once per round, so that a busy minute hits all of them; the order turns with the round.

    Args:
        contenders: Name to a function that does its work once and returns the seconds that count. Each is called once
            before the first round, to warm up.
        rounds: Most rounds.
        budget: Seconds after which no further round begins; three are run in any case.

    Returns:
        Seconds per round, by name.
    """
    for run in contenders.values():
        run()
    names, seconds, began = list(contenders), {name: list[float]() for name in contenders}, time.monotonic()
    for index in range(rounds):
        if index >= 3 and time.monotonic() - began > budget:
            break
        turn = index % len(names)
        for name in names[turn:] + names[:turn]:
            seconds[name].append(contenders[name]())
    return seconds


def medians(seconds: Mapping[str, list[float]]) -> dict[str, float]:
    """The median of each contender's rounds."""
    return {name: statistics.median(values) for name, values in seconds.items()}


def ratio(seconds: Mapping[str, list[float]], above: str, below: str) -> float:
    """Median over rounds of the ratio of two contenders' times of the same round."""
    return statistics.median(a / b for a, b in zip(seconds[above], seconds[below], strict=True))
