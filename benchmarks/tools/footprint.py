"""Run a function in a process of its own and say what it took: seconds, processor seconds, most memory."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from typing import Any

from vaekit.memory import peak_memory

__all__ = ["footprint"]

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def footprint(function: str, **asked: Any) -> dict[str, Any]:
    """The answer of a function, with ``seconds``, ``processor_seconds`` and ``peak_mb`` of its process.

    Args:
        function: ``module:function``; it takes one dict and returns one, both of plain JSON values.
        asked: What the function is asked.
    """
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.tools.footprint", function, json.dumps(asked)],
        env=os.environ | dict.fromkeys(_THREADS, "1"),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """The other side: one core, nothing imported that the function does not import itself."""
    module, _, name = sys.argv[1].partition(":")
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    function = getattr(importlib.import_module(module), name)
    began, busy = time.perf_counter(), time.process_time()
    found = function(json.loads(sys.argv[2]))
    took = {"seconds": time.perf_counter() - began, "processor_seconds": time.process_time() - busy}
    print(json.dumps(found | took | {"peak_mb": peak_memory()}))


if __name__ == "__main__":
    main()
