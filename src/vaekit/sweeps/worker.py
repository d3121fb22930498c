"""A worker of a sweep: one trial after the other until there are enough; ``python -m vaekit.sweeps.worker DIR``."""

from __future__ import annotations

import os
import secrets
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from vaekit.sweeps.store import load_task
from vaekit.sweeps.study import Ledger
from vaekit.sweeps.trial import Task, run_trial

__all__ = ["work"]


def work(out: Path, task: Task, until: float, told: Callable[[int], None] = lambda number: None) -> None:
    """Run trials.

    Args:
        out: Folder of the sweep.
        task: What all trials share.
        until: Time (of `time.time`) after which no trial begins.
        told: Called with the number of each trial that has ended.
    """
    ledger = Ledger(out, task.plan, secrets.token_hex(6))
    try:
        while time.time() < until and (asked := ledger.ask()) is not None:
            run_trial(ledger, *asked, task)
            told(asked[0].number)
    finally:
        ledger.close()


def _with_parent(parent: int) -> None:
    """End when the process that started this one is gone: nobody would collect what is found."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


if __name__ == "__main__":
    folder, deadline, starter = Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
    threading.Thread(target=_with_parent, args=(starter,), daemon=True).start()
    work(folder, load_task(folder), deadline)
