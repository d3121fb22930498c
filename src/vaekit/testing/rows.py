"""Blocks and rows that parts are checked on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from vaekit.arrays import Block, BlockSpec

__all__ = ["SPECS", "rows_of"]

_ROWS = (
    BlockSpec(name="number.gaussian", kind="number", likelihood="gaussian", fields=("a", "b"), cell=(0.0, 0.0)),
    BlockSpec(name="count.poisson", kind="count", likelihood="poisson", fields=("n",)),
    BlockSpec(name="category.categorical", kind="category", likelihood="categorical", fields=("c",), levels=(3,)),
    BlockSpec(name="condition.number", kind="number", role="condition", fields=("d",), cell=(0.0,)),
)
_IMAGE = BlockSpec(name="image.x", kind="image", likelihood="bernoulli", fields=("x",), event=(4, 4, 1))

SPECS: dict[str, tuple[BlockSpec, ...]] = {"rows": _ROWS, "images": (_IMAGE, *_ROWS[2:])}


def rows_of(specs: Sequence[BlockSpec], rows: int, dtype: torch.dtype = torch.float64) -> dict[str, Block]:
    """Random rows for some blocks, every cell observed.

    Args:
        specs: The blocks, of kind number, count, category, vector or image.
        rows: Number of rows.
        dtype: Type of numbers.
    """
    rng, found = np.random.default_rng(0), {}
    for spec in specs:
        shape = (rows, *spec.shape)
        if spec.kind == "category":
            values = torch.from_numpy(np.stack([rng.integers(0, level, rows) for level in spec.levels], 1))
        elif spec.kind == "image":
            values = torch.from_numpy(rng.integers(0, 2 if spec.likelihood == "bernoulli" else 256, shape)).byte()
        elif spec.likelihood in ("gaussian", "student_t", "mixture", ""):
            values = torch.from_numpy(rng.normal(size=shape)).to(dtype)
        else:
            values = torch.from_numpy(rng.integers(0, 2, shape)).to(dtype)
        seen = torch.ones(rows, 1, 1, 1, 1) if spec.kind == "image" else torch.ones(shape)
        zero = torch.zeros(shape, dtype=dtype)
        arrays = {"values": values, "observed": seen.bool(), "half": zero, "constant": zero}
        found[spec.name] = Block(**{name: value for name, value in arrays.items() if name in spec.inputs})
    return found
