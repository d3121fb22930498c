"""vaekit: learn the joint distribution of a row once, then ask it anything, anywhere.

    import vaekit as vk

    contract = vk.Contract.infer("flights.parquet")
    model = vk.fit("flights.parquet", contract=contract, seed=0)
    model.save("bundle")
    vk.load("bundle").detect("today.parquet", alpha=0.01)

Importing the package is cheap: each name loads what it needs when it is first used. Answering on ONNX Runtime, the
default of a saved bundle, never loads torch.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from vaekit.errors import (
    BundleError,
    ConfigError,
    ContractError,
    GraphError,
    NotFiniteError,
    QueryError,
    ServingError,
    TrainingError,
    VaekitError,
)
from vaekit.version import __version__

if TYPE_CHECKING:
    from vaekit.api.ensemble import Ensemble
    from vaekit.api.fitting import fit
    from vaekit.api.model import Model, load
    from vaekit.client import AsyncClient, Client
    from vaekit.fields import Contract
    from vaekit.sweeps import sweep

__all__ = [
    "AsyncClient",
    "BundleError",
    "Client",
    "ConfigError",
    "Contract",
    "ContractError",
    "Ensemble",
    "GraphError",
    "Model",
    "NotFiniteError",
    "QueryError",
    "ServingError",
    "TrainingError",
    "VaekitError",
    "__version__",
    "fit",
    "load",
    "sweep",
]

# Unless told otherwise, onnxruntime (since 1.29) tells its makers what models it loads, by way of a file in ~/.cache.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_HOMES = {
    "AsyncClient": "vaekit.client",
    "Client": "vaekit.client",
    "Contract": "vaekit.fields",
    "Ensemble": "vaekit.api.ensemble",
    "Model": "vaekit.api.model",
    "fit": "vaekit.api.fitting",
    "load": "vaekit.api.model",
    "sweep": "vaekit.sweeps",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its home on first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'vaekit' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
