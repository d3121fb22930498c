"""The onnxruntime backend: no torch anywhere."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

from vaekit.arrays import Array
from vaekit.bundle import Bundle
from vaekit.errors import BundleError, ConfigError, GraphError

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["OnnxBackend"]


class OnnxBackend:
    """Runs the exported graphs of a bundle; a session is made when its graph is first asked for, by any thread.

    Args:
        bundle: A bundle with graphs.
        threads: Processor threads of one run; onnxruntime's own choice, one for each core, if not given.
        arena: Keep the memory of a run for the next one: a little faster where calls are alike, and never given back.

    Raises:
        BundleError: If the bundle holds no graphs.
        ConfigError: If threads is below 1.
    """

    name = "onnx"

    def __init__(self, bundle: Bundle, threads: int | None = None, *, arena: bool = False) -> None:
        if not bundle.graphs:
            raise BundleError("the bundle holds no exported graphs; save it with them, or use backend='torch'")
        if threads is not None and threads < 1:
            raise ConfigError(f"threads must be at least 1, got {threads}")
        self._bundle, self._threads, self._arena = bundle, threads, arena
        self._sessions: dict[str, onnxruntime.InferenceSession] = {}
        self._making = threading.Lock()

    def run(self, primitive: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run one primitive."""
        session, signature = self._session(primitive), self._bundle.architecture.graphs[primitive]
        outputs = session.run(list(signature.outputs), {name: inputs[name] for name in signature.inputs})
        return dict(zip(signature.outputs, outputs, strict=True))

    def _session(self, primitive: str) -> onnxruntime.InferenceSession:
        session = self._sessions.get(primitive)
        if session is None:
            with self._making:  # one thread makes it, the others wait for it
                session = self._sessions.get(primitive) or self._make(primitive)
                self._sessions[primitive] = session
        return session

    def _make(self, primitive: str) -> onnxruntime.InferenceSession:
        import onnxruntime

        if primitive not in self._bundle.graphs:
            held = ", ".join(sorted(self._bundle.graphs))
            raise GraphError(f"this bundle has no graph {primitive!r}; it holds: {held}. Export it with that graph")
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = self._threads or 0
        options.enable_cpu_mem_arena = self._arena
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads wait, not burn
        from onnxruntime.capi import onnxruntime_pybind11_state as errors

        graph, unreadable = self._bundle.graphs[primitive], (errors.InvalidProtobuf, errors.InvalidGraph)
        try:
            return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except (*unreadable, errors.Fail, errors.NotImplemented) as error:
            raise BundleError(f"onnxruntime cannot run the graph {primitive!r}: {error}") from error
