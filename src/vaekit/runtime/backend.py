"""What a backend is, and how one is chosen."""

from __future__ import annotations

import importlib.util
from collections.abc import Collection, Mapping
from typing import Protocol

from vaekit.arrays import Array
from vaekit.bundle import Bundle
from vaekit.errors import BundleError, ConfigError

__all__ = ["Backend", "make_backend"]

_RUNS = {"onnx": "onnx", "tflite": "litert"}  # what runs which kind of graphs


class Backend(Protocol):
    """Runs graph primitives over named NumPy arrays."""

    name: str

    def run(self, primitive: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run one primitive; inputs that it does not take are left aside."""
        ...


def make_backend(
    bundle: Bundle, name: str = "auto", threads: int | None = None, modules: Collection[str] = ()
) -> Backend:
    """Choose the backend of a bundle.

    Args:
        bundle: The bundle.
        name: ``onnx``, ``litert``, ``torch``, or ``auto``: what runs the graphs that the bundle holds, else torch.
        threads: Processor threads of one run of a graph; the runtime's own choice if not given.
        modules: Names of modules that torch may import parts of the model from; graphs need none.

    Returns:
        The backend.

    Raises:
        ConfigError: If the name is unknown, threads are asked for where they cannot be set, or the model has parts from
            other modules.
        BundleError: If the bundle cannot run on that backend here.
    """
    if name not in ("auto", "torch", *_RUNS.values()):
        raise ConfigError(f"unknown backend {name!r}; expected auto, onnx, litert or torch")
    runs = _RUNS[bundle.kind]
    if name == "auto":
        name = runs if bundle.graphs else "torch"
    if name not in ("torch", runs) and bundle.graphs:
        raise BundleError(f"the bundle holds graphs for {runs}, not for {name}; use backend={runs!r}")
    if name == "litert":
        from vaekit.runtime.litert_backend import LiteRTBackend

        return LiteRTBackend(bundle, threads)
    if name == "onnx":
        from vaekit.runtime.onnx_backend import OnnxBackend

        return OnnxBackend(bundle, threads)
    if threads is not None:
        raise ConfigError("threads are set for graphs only; torch has one number for the whole process")
    if importlib.util.find_spec("torch") is None:
        raise BundleError(
            "the torch backend needs torch, which is not installed; use backend='onnx' or install vaekit[train]"
        )
    from vaekit.runtime.torch_backend import TorchBackend

    return TorchBackend.from_bundle(bundle, modules)
