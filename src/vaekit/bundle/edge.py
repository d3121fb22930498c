"""Conversion of the graph primitives to LiteRT (TensorFlow Lite), for phones, browsers and small devices."""

from __future__ import annotations

import io
import warnings
from contextlib import redirect_stdout
from typing import TYPE_CHECKING

from vaekit.bundle.format import Signature
from vaekit.bundle.quiet import quiet

if TYPE_CHECKING:
    from vaekit.nn.vae import VAE

__all__ = ["TILE", "convert"]

TILE = 8, 1  # latent draws and rows of one call: the converter takes no graphs with free sizes


def convert(vae: VAE) -> dict[str, tuple[bytes, Signature]]:
    """Convert the primitives of a model to graphs of fixed size, which `vaekit.runtime.litert_backend` tiles.

    Args:
        vae: The model.

    Returns:
        Graph name to its bytes and the names of its inputs and outputs.
    """
    import litert_torch
    import torch
    from ai_edge_litert.interpreter import Interpreter

    from vaekit.nn.primitives import PRIMITIVES

    class Positional(torch.nn.Module):
        """A primitive whose arrays have places in place of names."""

        def __init__(self, primitive: torch.nn.Module, names: list[str]) -> None:
            super().__init__()
            self.primitive, self.names = primitive, names

        def forward(self, *arrays: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return tuple(self.primitive(dict(zip(self.names, arrays, strict=True))).values())

    found: dict[str, tuple[bytes, Signature]] = {}
    training = vae.training
    vae.eval()
    try:
        for name, kind in PRIMITIVES.items():
            primitive = kind(vae)
            inputs = primitive.examples(*TILE)
            with torch.no_grad(), warnings.catch_warnings(), quiet("", "absl"), redirect_stdout(io.StringIO()):
                warnings.simplefilter("ignore")
                outputs = tuple(primitive(inputs))
                made = litert_torch.convert(Positional(primitive, list(inputs)).eval(), tuple(inputs.values()))
                content = bytes(made.model_content())
            taken = Interpreter(model_content=content).get_signature_runner().get_input_details()
            kept = tuple(one for index, one in enumerate(inputs) if f"args_{index}" in taken)  # what is used
            found[name] = content, Signature(inputs=kept, outputs=outputs)
    finally:
        vae.train(training)
    return found
