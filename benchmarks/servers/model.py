"""The model that all servers answer with: one bundle for ours, the same computation as one graph for the rivals."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import vaekit as vk
from benchmarks.data import vectors
from vaekit.nn.primitives import Score
from vaekit.runtime.torch_backend import TorchBackend

__all__ = ["PIXELS", "Served", "make"]

PIXELS = "pixels"
ROWS = 10_000  # to fit on
ASKED = 32  # rows that the servers are asked about


@dataclass(frozen=True)
class Served:
    """What servers load, and what they have to answer.

    Args:
        bundle: The bundle.
        graph: The ONNX graph of the rivals: ``pixels`` (B, 784) to ``score`` (B,), standardisation included.
        program: The same as a program of `torch.export`.
        rows: Rows to ask about, grey levels from 0 to 1, shape (ASKED, 784).
        scores: Their scores with one importance sample, shape (ASKED,).
    """

    bundle: Path
    graph: Path
    program: Path
    rows: NDArray[np.float32]
    scores: NDArray[np.float64]

    def table(self, row: int) -> pa.Table:
        """One row as a table."""
        return vectors(self.rows[row : row + 1], PIXELS)


def make(data: Path, folder: Path, seed: int) -> Served:
    """Fit 784-400-20 on grey levels of MNIST for a few epochs and write what servers load.

    Args:
        data: The data folder.
        folder: Where to write.
        seed: Seed of the fit.
    """
    with np.load(data / "mnist" / "mnist.npz", allow_pickle=False) as stored:
        train, test = (stored[name].reshape(-1, 784) / np.float32(255) for name in ("x_train", "x_test"))
    model = vk.fit(
        vectors(train[:ROWS], PIXELS), seed=seed, epochs=3, depth=1, width=400, latent=20, choose=False, progress=False
    )
    bundle = model.save(folder / "bundle")
    model, rows = vk.load(bundle), test[:ASKED]
    _export(Whole(model), folder)
    scores = model.score(vectors(rows, PIXELS), samples=1)["score"].to_numpy()
    return Served(bundle, folder / "score.onnx", folder / "score.pt2", rows, scores)


class Whole(nn.Module):
    """The query ``score`` with one sample, from pixels to nats: what `vaekit.queries.score` does around the graph.

    Args:
        model: A model of one gaussian vector.
    """

    def __init__(self, model: vk.Model) -> None:
        super().__init__()
        field = model.contract[PIXELS]
        self.score, self.block = Score(TorchBackend.from_bundle(model.bundle).vae), f"vector.{PIXELS}"
        for name in ("center", "scale"):
            self.register_buffer(name, torch.tensor(getattr(field, name), dtype=torch.float64))
        noise = model.engine.noise(0, 1, 1, shared=True)
        self.register_buffer("noise", torch.from_numpy(np.array(noise["noise.z"])))

    def forward(self, pixels: Tensor) -> Tensor:
        """Scores (B,) of pixels (B, 784)."""
        values = ((pixels - self.center) / self.scale).float().unsqueeze(1)
        found = self.score(
            {
                f"{self.block}.values": values,
                f"{self.block}.observed": torch.ones_like(values, dtype=torch.bool),
                f"{self.block}.constant": -torch.log(self.scale).float().expand_as(values),
                "noise.z": self.noise.expand(1, pixels.shape[0], -1),
            }
        )
        return -(found[f"log_px.{self.block}"].sum(-1) + found["log_ratio"])[0]


def _export(whole: Whole, folder: Path) -> None:
    shapes = {"pixels": {0: torch.export.Dim("B", min=1, max=4096)}}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(whole, (torch.zeros(5, 784),), dynamic_shapes=shapes)
        torch.export.save(program, folder / "score.pt2")
        graph = torch.onnx.export(program, dynamo=True, input_names=["pixels"], output_names=["score"], verbose=False)
        graph.save(folder / "score.onnx")
