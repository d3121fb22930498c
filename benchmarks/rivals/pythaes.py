"""Models of pythae with our networks, trained by its own trainer, and read as densities by which we judge all alike."""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vaekit.arrays import Blocks, Noise
from vaekit.nn.posteriors import DiagonalNormal
from vaekit.nn.special import HALF_LOG_2PI
from vaekit.nn.vae import Terms

__all__ = ["Budget", "Peer", "fit_peer", "reported"]


@dataclass(frozen=True)
class Budget:
    """What both sides get: hidden width, latent width, epochs, rows a batch, peak of the learning rate."""

    width: int
    latent: int
    epochs: int
    batch: int
    rate: float


class Peer(nn.Module):
    """A model of pythae, read as log p(x | z), log p(z) and log q(z | x): called as a `VAE` is, it gives their terms.

    Args:
        model: The model of pythae.
        size: Latent width.
    """

    def __init__(self, model: Any, size: int) -> None:
        super().__init__()
        self.model = model.eval()
        self.latent = SimpleNamespace(noise={"z": Noise("normal", (size,))})

    def forward(self, blocks: Blocks, noise: Mapping[str, Tensor]) -> Any:
        """Terms of rows of bits (B, 1, D) and noise (K, B, L)."""
        (block,) = blocks.values()
        x = block.values[:, 0].float()
        q = _normal(self.model.encoder(x))
        z, log_q = q.rsample(noise["z"])
        decoded = self.model.decoder(z.flatten(0, 1)).reconstruction.unflatten(0, z.shape[:2])
        log_px = -nn.functional.binary_cross_entropy(decoded, x.expand_as(decoded), reduction="none").sum(-1)
        return SimpleNamespace(
            terms=Terms({"x": log_px[..., None]}, {"z": self.log_prior(z)}, {"z": log_q}, {"z": None})
        )

    def log_prior(self, z: Tensor) -> Tensor:
        """log p(z) (K, B): the standard normal, or the mixture of posteriors of pseudo-inputs."""
        if not hasattr(self.model, "pseudo_inputs"):
            return (-0.5 * z.square() - HALF_LOG_2PI).sum(-1)
        parts = _normal(self.model.encoder(self.model.pseudo_inputs(self.model.idle_input)))
        return torch.logsumexp(parts.log_prob(z[..., None, :]), -1) - float(np.log(len(parts.mean)))


def fit_peer(kind: str, bits: NDArray[np.float32], budget: Budget, seed: int, **options: Any) -> tuple[Any, float]:
    """Train ``VAE``, ``BetaVAE``, ``IWAE`` or ``VAMP`` of pythae on rows of bits (N, D); the model and its seconds.

    Its trainer runs Adam with the rate falling along a half cosine, as ours does.
    """
    from pythae import models
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    class Encode(BaseEncoder):  # type: ignore[misc]
        """One hidden layer, and two linear maps."""

        def __init__(self) -> None:
            super().__init__()
            self.latent_dim = budget.latent
            self.hidden = nn.Linear(bits.shape[1], budget.width)
            self.leave = nn.Linear(budget.width, 2 * budget.latent)

        def forward(self, x: Tensor) -> Any:
            """Mean and log-variance."""
            mean, log_variance = self.leave(nn.functional.silu(self.hidden(x))).chunk(2, -1)
            return ModelOutput(embedding=mean, log_covariance=log_variance)

    class Decode(BaseDecoder):  # type: ignore[misc]
        """One hidden layer, and probabilities."""

        def __init__(self) -> None:
            super().__init__()
            self.hidden = nn.Linear(budget.latent, budget.width)
            self.leave = nn.Linear(budget.width, bits.shape[1])

        def forward(self, z: Tensor) -> Any:
            """Probabilities of bits."""
            return ModelOutput(reconstruction=torch.sigmoid(self.leave(nn.functional.silu(self.hidden(z)))))

    torch.manual_seed(seed)
    config = getattr(models, f"{kind}Config")(
        input_dim=(bits.shape[1],), latent_dim=budget.latent, reconstruction_loss="bce", **options
    )
    model = getattr(models, kind)(config, encoder=Encode(), decoder=Decode())
    with tempfile.TemporaryDirectory() as folder:
        training = BaseTrainerConfig(
            output_dir=folder, num_epochs=budget.epochs, per_device_train_batch_size=budget.batch,
            per_device_eval_batch_size=1000, learning_rate=budget.rate, optimizer_cls="Adam",
            scheduler_cls="CosineAnnealingLR",
            scheduler_params={"T_max": budget.epochs, "eta_min": 0.01 * budget.rate}, seed=seed, no_cuda=True,
        )  # fmt: skip
        held = len(bits) // 20
        data = [_dataset(part) for part in (bits[held:], bits[:held])]
        began = time.perf_counter()
        logging.disable(logging.WARNING)  # its loggers print every epoch, its bars every batch
        with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
            BaseTrainer(model, *data, training_config=training).train()
        logging.disable(logging.NOTSET)
        seconds = time.perf_counter() - began
        (best,) = Path(folder).rglob("final_model/model.pt")  # of the epoch with the best loss on held rows
        model.load_state_dict(torch.load(best, weights_only=True)["model_state_dict"])
    return model.eval(), seconds


def reported(model: Any, bits: NDArray[np.float32]) -> float:
    """The loss that pythae itself tells of rows, which it takes for a negative bound."""
    torch.manual_seed(0)
    with torch.inference_mode():
        return float(model({"data": torch.from_numpy(bits)}, epoch=10**6).loss)


def _normal(output: Any) -> DiagonalNormal:
    return DiagonalNormal(output.embedding, 0.5 * output.log_covariance)


def _dataset(bits: NDArray[np.float32]) -> Any:
    from pythae.data.datasets import BaseDataset

    return BaseDataset(torch.from_numpy(bits), torch.zeros(len(bits)))
