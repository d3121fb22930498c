"""The session alone, in a process of its own: what no service can exceed."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

__all__ = ["measure"]

_SECONDS = 0.5
_TIMES = 5


def measure(asked: dict[str, Any]) -> dict[str, float]:
    """Rows per second of the rivals' graph, called with one row and with sixteen.

    Args:
        asked: ``graph``, the path of the graph.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(asked["graph"], options)
    return {"single": _rate(session, 1), "batch": _rate(session, 16)}


def _rate(session: Any, rows: int) -> float:
    """The best of a few tries: others may use the machine."""
    pixels, best = np.random.default_rng(0).random((rows, 784), np.float32), 0.0
    for _ in range(_TIMES):
        began, calls = time.perf_counter(), 0
        while (spent := time.perf_counter() - began) < _SECONDS:
            session.run(["score"], {"pixels": pixels})
            calls += 1
        best = max(best, calls * rows / spent)
    return round(best)
