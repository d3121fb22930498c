"""The LiteRT backend: graphs of fixed size for small devices, asked tile by tile; neither torch nor onnxruntime."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Callable, Mapping
from itertools import product
from typing import Any

import numpy as np

from vaekit.arrays import Array
from vaekit.bundle import Bundle
from vaekit.errors import BundleError, GraphError

__all__ = ["LiteRTBackend", "tiled"]

_STACKED = ("noise.", "z.", "params.")  # arrays with an axis of latent draws before that of rows

Call = Callable[[dict[str, Array]], dict[str, Array]]


class LiteRTBackend:
    """Runs the LiteRT graphs of a bundle; an interpreter is made when its graph is first asked for.

    Args:
        bundle: A bundle with LiteRT graphs.
        threads: Processor threads of one run; one if not given.

    Raises:
        BundleError: If the bundle holds no graphs, or the LiteRT runtime is not installed.
    """

    name = "litert"

    def __init__(self, bundle: Bundle, threads: int | None = None) -> None:
        if not bundle.graphs:
            raise BundleError("the bundle holds no exported graphs; export it with --format tflite")
        if importlib.util.find_spec("ai_edge_litert") is None:
            raise BundleError("the bundle holds LiteRT graphs, and the runtime is not installed; install vaekit[edge]")
        self._bundle, self._threads = bundle, threads or 1
        self._runners: dict[str, Any] = {}
        self._alone = threading.RLock()  # an interpreter holds the arrays of one call

    def run(self, primitive: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run one primitive."""
        with self._alone:
            runner, signature = self._runner(primitive), self._bundle.architecture.graphs[primitive]
            details = runner.get_input_details()
            places = dict(zip(signature.inputs, sorted(details, key=_place), strict=True))
            shapes = {name: tuple(map(int, details[place]["shape"])) for name, place in places.items()}

            def call(tile: dict[str, Array]) -> dict[str, Array]:
                found = runner(**{places[n]: v.astype(details[places[n]]["dtype"]) for n, v in tile.items()})
                return {name: np.array(found[f"output_{at}"]) for at, name in enumerate(signature.outputs)}

            return tiled(call, {name: inputs[name] for name in signature.inputs}, shapes)

    def _runner(self, primitive: str) -> Any:
        if primitive not in self._runners:
            from ai_edge_litert.interpreter import Interpreter

            if primitive not in self._bundle.graphs:
                held = ", ".join(sorted(self._bundle.graphs))
                raise GraphError(f"this bundle has no graph {primitive!r}; it holds: {held}. Export it with that graph")
            content = self._bundle.graphs[primitive]
            self._runners[primitive] = Interpreter(
                model_content=content, num_threads=self._threads
            ).get_signature_runner()
        return self._runners[primitive]


def tiled(call: Call, inputs: Mapping[str, Array], shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Array]:
    """Ask a function that takes K draws of B rows about any number of both: tile by tile, the last one filled up.

    Args:
        call: The function.
        inputs: Arrays (K, B, …) of latent draws, (1, 1, …) of what does not depend on them, and (B, …) of rows.
        shapes: The shapes that the function takes, those of one tile; it is larger than (1, 1).

    Returns:
        Its outputs, put together; those that do not depend on draws and rows as they are.
    """
    drawn = {name for name in inputs if name.startswith(_STACKED)}
    fixed = {name for name in drawn if shapes[name][:2] == (1, 1)}
    one = next(name for name in inputs if name in drawn - fixed)
    tile, whole = shapes[one][:2], inputs[one].shape[:2]
    found: dict[str, Array] = {}
    for draw, row in product(range(0, whole[0], tile[0]), range(0, whole[1], tile[1])):
        draws, rows = slice(draw, draw + tile[0]), slice(row, row + tile[1])
        parts = {name: value[draws, rows] if name in drawn - fixed else value for name, value in inputs.items()}
        parts |= {name: value[rows] for name, value in inputs.items() if name not in drawn}
        for name, value in call({name: _filled(value, shapes[name]) for name, value in parts.items()}).items():
            if value.shape[:2] != tile:
                found[name] = value
                continue
            if name not in found:
                found[name] = np.empty((*whole, *value.shape[2:]), value.dtype)
            here = found[name][draw : draw + tile[0], row : row + tile[1]]
            here[...] = value[: here.shape[0], : here.shape[1]]
    return found


def _filled(value: Array, shape: tuple[int, ...]) -> Array:
    """A tile filled up to its size with copies of its last draw and row."""
    return np.pad(value, [(0, size - there) for there, size in zip(value.shape, shape, strict=True)], mode="edge")


def _place(name: str) -> int:
    return int(name.rpartition("_")[2])
