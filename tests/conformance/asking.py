"""What the clients ask about, and what the models say of it: made by `make_fixtures.py`, read without vaekit."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

EXPECTED: dict[str, Any] = json.loads((Path(os.environ["VAEKIT_FIXTURES"]) / "expected.json").read_text())
MODELS = sorted(EXPECTED)
DTYPES = {"BOOL": np.bool_, "BYTES": np.object_, "FP32": np.float32, "FP64": np.float64}
DTYPES |= {f"INT{8 * size}": np.dtype(f"i{size}").type for size in (1, 2, 4, 8)}


def tensor(values: list[Any], datatype: str, shape: list[int]) -> np.ndarray:
    """A column as the tensor that a model's metadata describes; missing values are NaN, where there is one."""
    if datatype == "BYTES":
        return np.array(["" if value is None else value for value in values], np.object_)
    width = shape[1] if len(shape) > 1 else 0
    filled = [[np.nan] * width if value is None and width else value for value in values]
    numbers = np.array(filled, np.float64)  # None becomes NaN
    kind = DTYPES[datatype]
    return numbers if np.isnan(numbers).any() and np.dtype(kind).kind != "f" else numbers.astype(kind)


def same(found: Any, expected: list[Any]) -> None:
    """Check that a tensor holds the values of a column."""
    array = np.asarray(found)
    if array.dtype.kind in "OSU":
        texts = [value.decode() if isinstance(value, bytes) else value for value in array.ravel().tolist()]
        assert texts == ["" if value is None else value for value in expected]
        return
    wanted = np.array([[np.nan] if value is None else value for value in expected], np.float64)
    np.testing.assert_allclose(array.astype(np.float64).reshape(wanted.shape), wanted, rtol=1e-4, atol=1e-5)
