"""The torch backend: the same primitives, run eagerly. Only this file of the runtime imports torch."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec
import numpy as np
import torch

from vaekit.arrays import Array
from vaekit.bundle import Bundle
from vaekit.errors import BundleError, ConfigError
from vaekit.nn.build import VERSION, ModelConfig, build
from vaekit.nn.own import refuse_untrusted
from vaekit.nn.primitives import PRIMITIVES
from vaekit.nn.vae import VAE

__all__ = ["TorchBackend"]


class TorchBackend:
    """Runs the primitives of a model in torch, under inference mode.

    Args:
        vae: The model; it is put into evaluation mode for each call.
    """

    name = "torch"

    def __init__(self, vae: VAE) -> None:
        self.vae = vae
        self._primitives = {name: kind(vae) for name, kind in PRIMITIVES.items()}

    @classmethod
    def from_bundle(cls, bundle: Bundle, modules: Collection[str] = ()) -> TorchBackend:
        """Rebuild the module from a bundle's architecture and weights.

        Args:
            bundle: The bundle.
            modules: Names of modules that parts of the model may be imported from.

        Raises:
            ConfigError: If the model has parts from other modules.
            BundleError: If the bundle has no weights, they were trained with networks that compute something else than
                those of this release, it cannot build the architecture, or the weights do not fit it.
        """
        if not bundle.weights:
            raise BundleError("the bundle was exported without weights, which torch needs; use backend='onnx'")
        trained = bundle.architecture.version
        if trained != VERSION:
            raise BundleError(
                f"the weights were trained with version {trained} of the networks, and this release has version "
                f"{VERSION}, in which they would answer differently; use backend='onnx', or the release that fitted it"
            )
        refuse_untrusted(bundle.architecture.config, modules)
        try:
            vae = build(bundle.architecture.blocks, msgspec.convert(bundle.architecture.config, ModelConfig))
        except (msgspec.ValidationError, ConfigError) as error:
            raise BundleError(f"model.json describes a model that this release cannot build: {error}") from error
        try:
            vae.load_state_dict({name: torch.from_numpy(np.array(v)) for name, v in bundle.weights.items()})
        except RuntimeError as error:
            raise BundleError(f"weights.safetensors does not fit model.json: {error}") from error
        return cls(vae.eval())

    def run(self, primitive: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run one primitive."""
        module = self._primitives[primitive]
        device = next(self.vae.parameters()).device
        training = self.vae.training
        self.vae.eval()
        try:
            with torch.inference_mode():
                arrays = {name: np.require(v, requirements=("C", "W")) for name, v in inputs.items()}
                tensors = {name: torch.from_numpy(v).to(device) for name, v in arrays.items()}
                return {name: value.cpu().numpy() for name, value in module(tensors).items()}
        finally:
            self.vae.train(training)
