"""A line of metrics.jsonl as named numbers, and settings by dotted name."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["dotted", "scalars"]

_MOST = 256  # numbers of one list, as the KL of many dimensions is


def scalars(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Every finite number of nested figures, by its path.

    Example:
        >>> scalars({"stage": "vae", "valid": {"elbo": -2.0, "kl_per_dimension": {"z": [0.5, 1.5]}, "bound": None}})
        {'valid/elbo': -2.0, 'valid/kl_per_dimension/z/0': 0.5, 'valid/kl_per_dimension/z/1': 1.5}
    """
    return {"/".join(path): value for path, value in _numbers(metrics, ()) if math.isfinite(value)}


def _numbers(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], float]]:
    if isinstance(value, Mapping):
        for name, one in value.items():
            yield from _numbers(one, (*path, str(name)))
    elif isinstance(value, list | tuple):
        for index, one in enumerate(value[:_MOST]):
            yield from _numbers(one, (*path, str(index)))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path, float(value)


def dotted(settings: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Nested settings by dotted name; what is empty or not set is left out.

    Example:
        >>> dotted({"seed": 0, "model": {"prior": {"name": "flow"}}, "training": {"terms": {}, "ema": None}})
        {'seed': 0, 'model.prior.name': 'flow'}
    """
    found: dict[str, Any] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping):
            found |= dotted(value, f"{before}{name}.")
        elif value is not None:
            found[f"{before}{name}"] = value
    return found
