"""Where checkpoints of a run go: ``last`` to go on from, ``best`` to keep, and as many older ones as asked for."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vaekit.errors import TrainingError
from vaekit.files import write_file
from vaekit.training import checkpoint
from vaekit.training.checkpoint import Position

__all__ = ["Saver", "unwritten", "write_run"]


@contextmanager
def unwritten(path: Path) -> Iterator[None]:
    """Errors of writing a file of a run, such as a full disk, as errors of training that say how to go on.

    Raises:
        TrainingError: If the file cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise TrainingError(
            f"{path} cannot be written ({error.strerror or error}). What was written before is whole: free some space, "
            "then go on from there with resume=True (--resume)"
        ) from error


def write_run(path: Path, content: bytes) -> None:
    """Write a file of a run, whole or not at all."""
    with unwritten(path):
        write_file(path, content)


@dataclass
class Saver:
    """Writes the checkpoints of one run; each is whole or absent, whenever the process dies.

    Args:
        folder: Where they go.
        fingerprint: What a resumed run must agree on.
        keep: Number of latest checkpoints that stay, ``last`` among them.
        every: Seconds after which one is due, whether or not there was a validation.
    """

    folder: Path
    fingerprint: dict[str, Any]
    keep: int = 1
    every: float = 60.0
    _at: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        for left in self.folder.glob(".*.safetensors.*"):  # of a process that was killed while it wrote
            left.unlink(missing_ok=True)

    @property
    def last(self) -> Path:
        """The checkpoint to go on from."""
        return self.folder / "last.safetensors"

    @property
    def best(self) -> Path:
        """The weights with the best figure on validation rows."""
        return self.folder / "best.safetensors"

    def due(self) -> bool:
        """Whether the last checkpoint is old."""
        return time.monotonic() - self._at >= self.every

    def write(
        self,
        path: Path,
        at: Position,
        vae: nn.Module,
        objective: nn.Module,
        optimizers: Mapping[str, torch.optim.Optimizer],
        average: nn.Module,
    ) -> None:
        """Write `last` or `best`.

        Raises:
            TrainingError: If it cannot be written, as on a full disk; the one before is as it was.
        """
        with unwritten(path):
            checkpoint.write(path, at, self.fingerprint, vae, objective, optimizers, average)
            if path == self.last and self.keep > 1:
                self._keep(at)
        self._at = time.monotonic()

    def _keep(self, at: Position) -> None:
        """Give the newest checkpoint a second name, and drop what is older than the newest few."""
        named = self.folder / f"step-{at.stage}-{at.step:09d}.safetensors"
        named.unlink(missing_ok=True)
        try:
            os.link(self.last, named)
        except OSError:  # a file system without second names
            shutil.copyfile(self.last, named)
        for old in sorted(self.folder.glob("step-*.safetensors"))[: -self.keep]:
            old.unlink(missing_ok=True)
