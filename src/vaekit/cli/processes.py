"""`vae fit --processes N`: the same command in several processes, watched over and started again by torch elastic."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from types import FrameType

__all__ = ["alone", "launch"]

_RESTARTS = 3


def alone() -> bool:
    """Whether this process speaks for the run: it is the only one, or the first of several."""
    return os.environ.get("RANK", "0") == "0"


def launch(count: int, words: Sequence[str]) -> int:
    """Run ``vae`` in several processes of this machine; if one dies, all start again from the last checkpoint.

    Args:
        count: Number of processes.
        words: The words after ``vae``, which may hold ``--processes``.

    Returns:
        The exit code; 143 or 130 where a signal stopped the run.
    """
    left, told = list(words), 0
    for index in range(len(left) - 1, -1, -1):
        if left[index] == "--processes":
            del left[index : index + 2]
        elif left[index].startswith("--processes="):
            del left[index]
    runner = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    process = subprocess.Popen([*runner, f"--max-restarts={_RESTARTS}", "-m", "vaekit.cli", *left])

    def pass_on(number: int, frame: FrameType | None) -> None:
        nonlocal told
        told = number
        process.send_signal(signal.SIGTERM)

    before = {one: signal.signal(one, pass_on) for one in (signal.SIGTERM, signal.SIGINT)}
    try:
        code = process.wait()
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
    return 128 + told if told else code
