"""One function of named tensors, exported and run by onnxruntime."""

from __future__ import annotations

import io
import warnings

import numpy as np
import onnxruntime
import torch


def onnx_run(module: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> list[np.ndarray]:
    """Export a module with float32 inputs, free in their first two dimensions, and run it."""
    shapes = {
        name: {0: torch.export.Dim("K", min=1, max=999), 1: torch.export.Dim("B", min=1, max=999)} for name in inputs
    }
    buffer = io.BytesIO()
    module.eval()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            module, (), kwargs=inputs, dynamo=True, dynamic_shapes=shapes, opset_version=20, verbose=False
        )
    program.save(buffer)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(buffer.getvalue(), options, providers=["CPUExecutionProvider"])
    taken = {one.name for one in session.get_inputs()}
    return session.run(None, {name: value.numpy() for name, value in inputs.items() if name in taken})
