"""Run a function in a process of its own, on so many cores, with as many threads in every library."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from typing import Any

__all__ = ["cores", "pinned"]

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NPROC")  # the last is what JAX reads


def cores(most: int) -> int:
    """Cores that this process may use, at most so many."""
    return min(most, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def pinned(function: str, cores: int, **asked: Any) -> dict[str, Any]:
    """The answer of a function, from a process that is pinned.

    Args:
        function: ``module:function``; it takes one dict and returns one, both of plain JSON values.
        cores: Cores and threads.
        asked: What the function is asked; ``cores`` is added.
    """
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.tools.pinned", function, json.dumps(asked | {"cores": cores})],
        env=os.environ | dict.fromkeys(_THREADS, str(cores)) | {"JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """The other side: pin this process, call the function, print its answer as the last line."""
    module, _, name = sys.argv[1].partition(":")
    asked = json.loads(sys.argv[2])
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[-asked["cores"] :]))
    import torch

    torch.set_num_threads(asked["cores"])
    torch.manual_seed(asked["seed"])
    print(json.dumps(getattr(importlib.import_module(module), name)(asked)))


if __name__ == "__main__":
    main()
