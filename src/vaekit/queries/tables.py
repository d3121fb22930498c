"""Chunks of encoded values back into whole columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vaekit.arrays import Array
from vaekit.queries.base import model_specs

if TYPE_CHECKING:
    from vaekit.runtime.engine import Engine

__all__ = ["gathered"]


def gathered(engine: Engine, parts: list[dict[str, Array]]) -> dict[str, Array]:
    """Concatenate chunks of encoded values over rows; without chunks, zero rows."""
    if not parts:
        return {
            s.name: np.zeros((0, *s.shape), np.int64 if s.kind == "category" else np.float64)
            for s in model_specs(engine)
        }
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
