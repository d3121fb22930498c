"""Export of the graph primitives to ONNX; the only part of a bundle that needs torch, imported when it is called."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from vaekit.bundle.format import Signature
from vaekit.bundle.quiet import quiet
from vaekit.errors import ConfigError

if TYPE_CHECKING:
    import onnx

    from vaekit.nn.vae import VAE

__all__ = ["OPSET", "export"]

OPSET = 20


def export(vae: VAE, names: tuple[str, ...] | None = None) -> dict[str, tuple[bytes, Signature]]:
    """Export primitives of a model as ONNX graphs with dynamic numbers of samples K and rows B.

    Args:
        vae: The model.
        names: Which primitives; all of them by default.

    Returns:
        Graph name to its bytes and the names of its inputs and outputs.

    Raises:
        ConfigError: If a primitive is unknown.
    """
    from vaekit.nn.primitives import PRIMITIVES

    unknown = set(names or ()) - PRIMITIVES.keys()
    if unknown:
        raise ConfigError(f"unknown graphs {sorted(unknown)}; known: {', '.join(PRIMITIVES)}")
    training = vae.training
    vae.eval()
    try:
        return {name: _export(PRIMITIVES[name](vae)) for name in (names or tuple(PRIMITIVES))}
    finally:
        vae.train(training)


def _export(primitive: object) -> tuple[bytes, Signature]:
    import torch

    samples, rows = torch.export.Dim("K", min=1, max=2**20), torch.export.Dim("B", min=1, max=2**24)
    inputs = primitive.examples(3, 5)  # type: ignore[attr-defined]
    shapes = {}
    for name, value in inputs.items():
        stacked = name.startswith(("noise.", "z.")) or (name.startswith("params.") and value.shape[:2] == (3, 5))
        fixed = name.startswith("params.") and not stacked
        shapes[name] = {} if fixed else {0: samples, 1: rows} if stacked else {0: rows}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        outputs = primitive(inputs)  # type: ignore[operator]
        with quiet("torch.onnx", "onnxscript", "onnx_ir"):
            program = torch.onnx.export(
                primitive,  # type: ignore[arg-type]
                (),
                kwargs={"inputs": inputs},
                dynamo=True,
                dynamic_shapes={"inputs": shapes},
                input_names=list(inputs),
                output_names=list(outputs),
                opset_version=OPSET,
                verbose=False,
            )
    model = _strip(program.model_proto)  # type: ignore[union-attr]
    signature = Signature(inputs=tuple(entry.name for entry in model.graph.input), outputs=tuple(outputs))
    return model.SerializeToString(deterministic=True), signature


def _strip(model: onnx.ModelProto) -> onnx.ModelProto:
    """Drop doc strings and metadata: they hold source paths of the machine that exported."""
    for node in model.graph.node:
        node.ClearField("doc_string")
        del node.metadata_props[:]
    for entry in (*model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer):
        entry.ClearField("doc_string")
        del entry.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.metadata_props[:]
    return model
