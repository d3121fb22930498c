"""Scoring as others do it: PyOD's VAE, and the loop that detectors by reconstruction run in PyTorch."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.rivals.loops import PlainVAE

__all__ = ["pyod_vae", "reconstruction"]

Rows = NDArray[np.float64]


def pyod_vae(train: Rows, rows: Rows) -> Callable[[], Any]:
    """`pyod.models.vae.VAE` with its default sizes, fitted for one epoch: its speed does not depend on how well."""
    from pyod.models.vae import VAE

    model = VAE(epoch_num=1, verbose=0)
    with contextlib.redirect_stdout(io.StringIO()):
        model.fit(train)
    return lambda: model.decision_function(rows)


def reconstruction(rows: Rows, sizes: tuple[int, int, int], samples: int, batch: int) -> Callable[[], Any]:
    """A VAE detector by reconstruction error, as alibi-detect's `OutlierVAE`: draws decoded, squared, averaged.

    Args:
        rows: Standardised rows.
        sizes: Hidden width, latent width, hidden layers.
        samples: Draws per row.
        batch: Rows per step.
    """
    width, latent, depth = sizes
    model = PlainVAE(rows.shape[1], width, latent, depth, "gaussian").eval()

    @torch.no_grad()
    def score() -> NDArray[np.float32]:
        found = []
        for start in range(0, len(rows), batch):
            x = torch.from_numpy(rows[start : start + batch].astype(np.float32))
            mean, log_var = model.encoder(x).chunk(2, dim=-1)
            many = mean.repeat_interleave(samples, 0)
            z = many + torch.exp(0.5 * log_var).repeat_interleave(samples, 0) * torch.randn_like(many)
            seen = model.decoder(z)[:, : x.shape[1]]
            error = (seen - x.repeat_interleave(samples, 0)).square().mean(1)
            found.append(error.reshape(len(x), samples).mean(1).numpy())
        return np.concatenate(found)

    return score
