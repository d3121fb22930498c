"""Scores of rivals, kept between runs: they depend on nothing of ours."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vaekit.files import write_file

__all__ = ["CACHE", "cached"]

CACHE = Path(__file__).resolve().parent.parent / ".cache"


def cached(
    name: str, key: tuple[object, ...], make: Callable[[], tuple[NDArray[np.float64], float]]
) -> tuple[NDArray[np.float64], float, bool]:
    """Scores and the seconds that they took, from the cache if the whole key is the same.

    Args:
        name: What a person reads in the file name.
        key: Everything that the scores depend on, versions and data included.
        make: Computes scores and seconds.

    Returns:
        Scores, seconds, and whether they came from the cache.
    """
    path = CACHE / f"{name}.{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}.npz"
    if path.exists():
        with np.load(path, allow_pickle=False) as stored:
            return stored["scores"], float(stored["seconds"]), True
    scores, seconds = make()
    buffer = io.BytesIO()
    np.savez(buffer, scores=scores, seconds=seconds)
    write_file(path, buffer.getvalue())
    return scores, seconds, False
