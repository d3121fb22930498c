"""Export of the graph primitives to ONNX; the only part of a bundle that needs torch, imported when it is called.

Tracing takes seconds, so a model is traced once: its primitives lie side by side in one program and are cut out of it.
`score` is not traced: it is `encode`, `decode`, `log_density` and `ratio`, joined as `VAE.forward` joins them.
"""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from vaekit.bundle.cut import cut
from vaekit.bundle.format import Signature
from vaekit.bundle.quiet import quiet
from vaekit.errors import ConfigError

if TYPE_CHECKING:
    import onnx

    from vaekit.nn.primitives import Primitive
    from vaekit.nn.vae import VAE

__all__ = ["OPSET", "export"]

OPSET = 20
_JOINED = {"score": ("encode", "decode", "log_density", "ratio")}


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
    from vaekit.nn.primitives import PRIMITIVES, Ratio

    unknown = set(names or ()) - PRIMITIVES.keys()
    if unknown:
        raise ConfigError(f"unknown graphs {sorted(unknown)}; known: {', '.join(PRIMITIVES)}")
    wanted = {name: _JOINED.get(name, (name,)) for name in names or PRIMITIVES}
    kinds = {**PRIMITIVES, "ratio": Ratio}
    training = vae.training
    vae.eval()
    try:
        parts = dict.fromkeys(part for joined in wanted.values() for part in joined)
        with _uncollected():
            program = _traced(vae, {part: kinds[part](vae) for part in parts})
            return {name: _finished(cut(program, joined)) for name, joined in wanted.items()}
    finally:
        vae.train(training)


@contextmanager
def _uncollected() -> Iterator[None]:
    """No collection of garbage for a while: looking through the objects of a trace again takes a quarter of it."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _traced(vae: VAE, primitives: dict[str, Primitive]) -> onnx.ModelProto:
    """All primitives in one graph, which share nothing but weights; arrays are called ``<primitive>/<name>``."""
    import torch

    class Side(torch.nn.Module):
        """The primitives side by side; kept out of the tree of modules, which would hold every weight many times."""

        def __init__(self) -> None:
            super().__init__()
            self.vae = vae

        def forward(self, inputs: dict[str, dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
            answers = {name: primitive(inputs[name]) for name, primitive in primitives.items()}
            return {f"{name}/{key}": value for name, answer in answers.items() for key, value in answer.items()}

    inputs: dict[str, dict[str, torch.Tensor]] = {}
    shapes: dict[str, dict[str, dict[int, torch.export.Dim]]] = {}
    for place, (name, primitive) in enumerate(primitives.items()):
        k, b = 3 + 10 * place, 5 + 10 * place  # sizes that are alike could be taken for one
        samples, rows = torch.export.Dim(f"K_{name}", min=1, max=2**20), torch.export.Dim(f"B_{name}", min=1, max=2**24)
        inputs[name], shapes[name] = primitive.examples(k, b), {}
        for key, value in inputs[name].items():
            stacked = value.shape[:2] == (k, b)
            fixed = key.startswith("params.") and not stacked
            shapes[name][key] = {} if fixed else {0: samples, 1: rows} if stacked else {0: rows}
    side = Side().eval()
    with torch.no_grad(), warnings.catch_warnings(), quiet("torch.onnx", "onnxscript", "onnx_ir"):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            side,
            (),
            kwargs={"inputs": inputs},
            dynamo=True,
            dynamic_shapes={"inputs": shapes},
            input_names=[f"{name}/{key}" for name, taken in inputs.items() for key in taken],
            output_names=list(side(inputs)),
            opset_version=OPSET,
            optimize=False,  # each graph is, once it is cut out
            verbose=False,
        )
    return program.model_proto  # type: ignore[union-attr]


def _finished(model: onnx.ModelProto) -> tuple[bytes, Signature]:
    """A graph made small and stripped, with its signature."""
    from onnxscript.optimizer import optimize

    with quiet("onnxscript", "onnx_ir"):
        model = _strip(optimize(model))
    inputs, outputs = ([value.name for value in values] for values in (model.graph.input, model.graph.output))
    return model.SerializeToString(deterministic=True), Signature(inputs=tuple(inputs), outputs=tuple(outputs))


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
