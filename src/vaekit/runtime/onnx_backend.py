"""The onnxruntime backend: no torch anywhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from vaekit.arrays import Array
from vaekit.bundle import Bundle
from vaekit.errors import BundleError

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["OnnxBackend"]


class OnnxBackend:
    """Runs the exported graphs of a bundle; a session is made when its graph is first asked for.

    Args:
        bundle: A bundle with graphs.

    Raises:
        BundleError: If the bundle holds no graphs.
    """

    name = "onnx"

    def __init__(self, bundle: Bundle) -> None:
        if not bundle.graphs:
            raise BundleError("the bundle holds no exported graphs; save it with them, or use backend='torch'")
        self._bundle = bundle
        self._sessions: dict[str, onnxruntime.InferenceSession] = {}

    def run(self, primitive: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run one primitive."""
        session, signature = self._session(primitive), self._bundle.architecture.graphs[primitive]
        outputs = session.run(list(signature.outputs), {name: inputs[name] for name in signature.inputs})
        return dict(zip(signature.outputs, outputs, strict=True))

    def _session(self, primitive: str) -> onnxruntime.InferenceSession:
        if primitive not in self._sessions:
            import onnxruntime

            if primitive not in self._bundle.graphs:
                held = ", ".join(sorted(self._bundle.graphs))
                raise BundleError(
                    f"this bundle has no graph {primitive!r}; it holds: {held}. Export it with that graph"
                )
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 3
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads wait, not burn
            self._sessions[primitive] = onnxruntime.InferenceSession(
                self._bundle.graphs[primitive], options, providers=["CPUExecutionProvider"]
            )
        return self._sessions[primitive]
