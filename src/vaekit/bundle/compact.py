"""Compact graphs: weights in half precision, and inner layers in eight bits."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vaekit.arrays import Array
from vaekit.bundle.quiet import quiet

if TYPE_CHECKING:
    import onnx

__all__ = ["float16", "int8"]

_NARROW = 32  # layers with fewer units on a side are the latent code's: small, and sensitive
_HALF = float(np.finfo(np.float16).max)


def float16(content: bytes) -> bytes:
    """A graph whose linear layers are stored in half precision and compute in single precision.

    The runtime widens them when it loads the graph, so the file is half as large and the answers are as fast as before:
    processors without arithmetic in half precision would be slower, and log-densities would lose their digits.

    Args:
        content: The graph.

    Example:
        >>> from onnx import TensorProto, helper, numpy_helper
        >>> weight = numpy_helper.from_array(np.ones((64, 64), np.float32) / 3, "w")
        >>> shapes = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["B", 64]) for name in "xy"]
        >>> layer = helper.make_node("MatMul", ["x", "w"], ["y"])
        >>> model = helper.make_model(helper.make_graph([layer], "g", shapes[:1], shapes[1:], [weight]))
        >>> content = model.SerializeToString()
        >>> len(float16(content)) < 0.6 * len(content)
        True
    """
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load_from_string(content)
    graph = model.graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    for name in sorted({node.input[1] for node in _linear(model)}):
        weight = numpy_helper.to_array(stored[name])
        if np.abs(weight).max() > _HALF:
            continue
        graph.initializer.remove(stored[name])
        graph.initializer.append(numpy_helper.from_array(weight.astype(np.float16), f"{name}.half"))
        graph.node.insert(0, helper.make_node("Cast", [f"{name}.half"], [name], to=onnx.TensorProto.FLOAT))
    return bytes(model.SerializeToString(deterministic=True))


def int8(content: bytes, inputs: Mapping[str, Array]) -> bytes:
    """A graph whose inner layers compute in eight bits; the others are stored as by `float16`.

    Static quantisation in the QDQ form: weights per output unit, activations by their range on real rows. What the
    likelihoods are read from (the last layers) and the layers at the latent code stay in single precision, and so does
    all that is no linear layer: log-densities above all.

    Args:
        content: The graph.
        inputs: Its inputs for some real rows, by name; activations get the ranges that they have on these.

    References:
        Jacob et al., Quantization and Training of Neural Networks for Efficient Inference, 2018, section 2.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Rows(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left: Iterator[Mapping[str, Array]] = iter([inputs])

        def get_next(self) -> Mapping[str, Array] | None:
            return next(self.left, None)

    model = onnx.load_from_string(content)
    inner = [node.name for node in _inner(model)]
    if not inner:
        return float16(content)
    with tempfile.TemporaryDirectory() as folder, quiet(""):
        path = Path(folder) / "graph.onnx"
        quantize_static(
            model,
            path,
            Rows(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=["MatMul", "Gemm"],
            nodes_to_quantize=inner,
        )
        return float16(path.read_bytes())


def _linear(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The linear layers: products with a stored matrix of learned numbers, not of zeros and ones."""
    from onnx import numpy_helper

    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    found = []
    for node in model.graph.node:
        weight = stored.get(node.input[1]) if node.op_type in ("MatMul", "Gemm") else None
        if weight is not None and not np.isin(numpy_helper.to_array(weight), (0.0, 1.0)).all():
            found.append(node)
    return found


def _inner(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Linear layers between wide ones: neither last before the outputs, nor at the latent code."""
    layers = _linear(model)
    sizes = {tensor.name: min(tensor.dims) for tensor in model.graph.initializer if tensor.dims}
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    names = {node.name for node in layers}

    def leads_on(node: onnx.NodeProto) -> bool:
        seen: set[str] = set()
        left = [reader for output in node.output for reader in readers.get(output, ())]
        while left:
            after = left.pop()
            if after.name in names:
                return True
            if after.name not in seen:
                seen.add(after.name)
                left += [reader for output in after.output for reader in readers.get(output, ())]
        return False

    return [node for node in layers if sizes[node.input[1]] >= _NARROW and leads_on(node)]
