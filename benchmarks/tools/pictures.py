"""What the lines about images share: fits without a report, tight bounds, frozen features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import vaekit as vk
from vaekit.arrays import Blocks, middle, take
from vaekit.fields.tables import to_arrow
from vaekit.nn.vae import VAE
from vaekit.training import load_config, train
from vaekit.training.batches import Resident, draw_noise

__all__ = ["Fitted", "bound", "bound_of", "classifier", "decoded", "features", "fit_images", "half", "posterior_means"]

_ROWS, _SAMPLES = 25, 250  # at a time: decoders of images are wide


@dataclass(frozen=True)
class Fitted:
    """A trained model of images.

    Args:
        vae: The model, in evaluation mode.
        contract: Its contract.
        seconds: Seconds of training, validation included.
        history: Metrics of training.
    """

    vae: VAE
    contract: vk.Contract
    seconds: float
    history: list[dict[str, Any]]

    def rows(self, images: NDArray[np.uint8]) -> dict[str, Any]:
        """Encoded images as tensors; stochastic bits are drawn once, each image's from its own levels."""
        return Resident(self.contract.encode({"image": images}), self.device).take(slice(None))

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.vae.parameters()).device


def half(device: str) -> str:
    """The precision of networks on a device: half the bits on a GPU."""
    return "bfloat16" if device == "cuda" else "float32"


def fit_images(images: NDArray[np.uint8], changes: dict[str, Any], seed: int, /, **options: Any) -> Fitted:
    """Fit a model to images; `changes` are those of the field."""
    table = to_arrow({"image": images})
    contract = vk.Contract.infer(table.slice(0, 1000)).replace("image", **changes)
    settings = {
        "mask": 0.0,
        "valid": 0.02,
        "calibration": 0.0,
        "choose": False,
        "device": "cpu",
        "compile": False,
        "threads": torch.get_num_threads(),
    }
    config = load_config(None, options.pop("recipe", None)).override(seed=seed, **{**settings, **options})
    trained = train(table, contract, config, progress=False)
    vae = trained.vae.to(config.device).eval()
    return Fitted(vae, trained.contract, trained.history[-1]["seconds"], trained.history)


def bound(fitted: Fitted, images: NDArray[np.uint8], samples: int, seed: int) -> tuple[float, float, float]:
    """Mean importance-weighted bound on -log p(x) in nats, its standard error, and the mean negative ELBO.

    Every image has draws of its own.
    """
    return bound_of(fitted.vae, fitted.rows(images), samples, seed)


def bound_of(vae: Any, blocks: Blocks, samples: int, seed: int) -> tuple[float, float, float]:
    """The same of any rows, and of anything that gives the terms of rows and noise as a `VAE` does."""
    first_block = next(iter(blocks.values()))
    total, device = len(first_block), first_block.values.device
    nats, elbos = [], []
    with torch.inference_mode():
        for start in range(0, total, _ROWS):
            rows, count = take(blocks, slice(start, start + _ROWS)), min(_ROWS, total - start)
            parts = []
            for first in range(0, samples, _SAMPLES):
                size = min(_SAMPLES, samples - first)
                key = int(np.random.default_rng([seed, start, first]).integers(2**62))
                noise = draw_noise(vae.latent.noise, torch.Generator(device).manual_seed(key), size, count)
                parts.append(vae(rows, noise).terms.log_weight().double())
            weights = torch.cat(parts)
            nats.append(-(torch.logsumexp(weights, 0) - np.log(samples)))
            elbos.append(-weights.mean(0))
    values = torch.cat(nats).cpu().numpy()
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values))), float(torch.cat(elbos).mean())


def posterior_means(fitted: Fitted, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Centres of the posteriors, all groups side by side, (N, L)."""
    found = []
    with torch.inference_mode():
        for start in range(0, len(images), 500):
            part = images[start : start + 500]
            noise = {
                n: torch.from_numpy(v).to(fitted.device)
                for n, v in middle(fitted.vae.latent.noise, 1, len(part)).items()
            }
            groups = fitted.vae.encode(fitted.rows(part), noise)
            found.append(torch.cat([group.z[0] for group in groups], -1))
    return torch.cat(found).cpu().numpy()


def decoded(fitted: Fitted, rows: int, seed: int) -> NDArray[np.uint8]:
    """Images drawn from the model: codes from the prior, pixels at the means of their distributions."""
    from vaekit.fields.families import FAMILIES

    vae = fitted.vae
    (spec,) = vae.specs.values()
    found = []
    with torch.inference_mode():
        for start in range(0, rows, 500):
            size = min(500, rows - start)
            rng = torch.Generator(fitted.device).manual_seed(seed + start)
            params = vae.decode(vae.prior(draw_noise(vae.latent.prior_noise, rng, 1, size), {}), {})[spec.name]
            mean = FAMILIES[spec.likelihood].mean({n: v.cpu().numpy() for n, v in params.items()}, spec)[0, :, 0]
            scale = 255.0 if spec.likelihood == "bernoulli" else 1.0
            found.append(np.rint(np.clip(mean * scale, 0, 255)).astype(np.uint8))
    return np.concatenate(found)


class Classifier(nn.Module):
    """Two convolutions and two linear maps; the first of these gives the features."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 16, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU(),
            nn.Flatten(), nn.Linear(32 * 49, 64), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(64, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of images (N, 28, 28) from 0 to 1."""
        return self.head(self.body(images[:, None]))


def classifier(images: NDArray[np.uint8], labels: NDArray[Any], epochs: int = 4) -> Classifier:
    """A small classifier of 28 x 28 grey images, always the same; it is frozen before anything is measured with it."""
    torch.manual_seed(0)
    made = Classifier(int(labels.max()) + 1)
    optimiser = torch.optim.Adam(made.parameters(), 2e-3)
    x, y = torch.from_numpy(images), torch.from_numpy(labels.astype(np.int64))
    for _ in range(epochs):
        for some in torch.randperm(len(x)).split(128):
            optimiser.zero_grad()
            loss = nn.functional.cross_entropy(made(x[some].float() / 255.0), y[some])
            loss.backward()
            optimiser.step()
    return made.eval()


def features(made: Classifier, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Features (N, 64) and likeliest classes (N,) of images."""
    with torch.inference_mode():
        parts = [made.body(torch.from_numpy(part).float()[:, None] / 255.0) for part in np.array_split(images, 20)]
        found = torch.cat(parts)
        return found.numpy(), made.head(found).argmax(-1).numpy()
