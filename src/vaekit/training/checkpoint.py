"""Checkpoints: one file each, written atomically, holding all that a run needs to go on as if never stopped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from vaekit.errors import ConfigError, TrainingError
from vaekit.files import write_file

__all__ = ["Checkpoint", "Position", "content", "parse", "read", "restore", "write"]


class Position(msgspec.Struct, kw_only=True):
    """Where a run stands; randomness is a function of (seed, epoch, step), so this and the tensors are its whole state.

    Args:
        stage: Index of the stage.
        epoch: Epoch within the stage.
        batch: Batches of that epoch that are done.
        step: Optimiser steps of the stage that are done.
        best: Best bound on validation rows of the stage so far, in nats per row.
        stale: Validations since then.
        seconds: Seconds of training so far.
        began: Seconds of training before the stage.
        due: Share of the stage's budget at which the next validation is due.
        finished: Whether the whole fit is done.
        ahead: Whether the inference network still runs ahead, where the stage lets it.
        information: Most mutual information so far, while it does.
        watched: Epoch in which that was last looked at.
        still: Looks since mutual information last rose.
        lines: Validations that are in the file of metrics, over all stages.
        figures: Sums over rows of the figures of the steps since the last one.
        rows: Those rows.
        micro: Rows that go through the networks at a time, if not the whole batch.
        slowed: Times that the learning rate was halved because a number was not finite.
    """

    stage: int = 0
    epoch: int = 0
    batch: int = 0
    step: int = 0
    best: float | None = None
    stale: int = 0
    seconds: float = 0.0
    began: float = 0.0
    due: float = 0.0
    finished: bool = False
    ahead: bool = True
    information: float | None = None
    watched: int = -1
    still: int = 0
    lines: int = 0
    figures: dict[str, float] = {}
    rows: int = 0
    micro: int | None = None
    slowed: int = 0

    def next_stage(self) -> Position:
        """The start of the stage after this one."""
        return Position(
            stage=self.stage + 1,
            seconds=self.seconds,
            began=self.seconds,
            lines=self.lines,
            micro=self.micro,
            slowed=self.slowed,
        )


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint as read: tensors by name, position, and the fingerprint of configuration and data."""

    tensors: dict[str, Tensor]
    position: Position
    fingerprint: dict[str, Any]

    def model(self) -> dict[str, Tensor]:
        """The tensors of the model."""
        parts = (name.partition(".") for name in self.tensors)
        return {rest: self.tensors[f"{part}.{rest}"] for part, _, rest in parts if part == "model"}


def write(
    path: Path,
    position: Position,
    fingerprint: dict[str, Any],
    model: nn.Module,
    objective: nn.Module,
    optimizers: Mapping[str, torch.optim.Optimizer],
    average: nn.Module,
) -> None:
    """Write model, objective, optimisers and the mean of the weights by name, position and fingerprint, atomically."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"objective.{name}": value for name, value in objective.state_dict().items()}
    tensors |= {f"average.{name}": value for name, value in average.state_dict().items()}
    for label, optimizer in optimizers.items():
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"{label}.{index}.{name}": torch.as_tensor(value) for name, value in state.items()}
    metadata = {"position": _text(position), "fingerprint": _text(fingerprint)}
    write_file(path, save({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, metadata))


def read(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        TrainingError: If it is missing or damaged.
    """
    return parse(content(path))


def content(path: Path) -> bytes:
    """The bytes of a checkpoint that is whole.

    Raises:
        TrainingError: If it is missing or damaged.
    """
    try:
        found = path.read_bytes()
        parse(found)
    except (OSError, SafetensorError, KeyError, ValueError, msgspec.DecodeError) as error:
        raise TrainingError(f"{path}: not a readable checkpoint ({error}); start afresh without resume") from error
    return found


def parse(content: bytes) -> Checkpoint:
    """A checkpoint from the bytes of its file."""
    header = msgspec.json.decode(content[8 : 8 + int.from_bytes(content[:8], "little")])
    position = msgspec.json.decode(header["__metadata__"]["position"], type=Position)
    return Checkpoint(load(content), position, msgspec.json.decode(header["__metadata__"]["fingerprint"]))


def restore(
    checkpoint: Checkpoint,
    model: nn.Module,
    objective: nn.Module,
    optimizers: Mapping[str, torch.optim.Optimizer],
    average: nn.Module,
) -> None:
    """Put a checkpoint's tensors back into model, objective, optimisers and the mean of the weights.

    Raises:
        ConfigError: If they are those of another model.
    """
    parts: dict[str, dict[str, Tensor]] = {name: {} for name in ("model", "objective", "average", *optimizers)}
    for name, value in checkpoint.tensors.items():
        part, _, rest = name.partition(".")
        if part in parts:
            parts[part][rest] = value
    try:
        for module, part in ((model, "model"), (objective, "objective"), (average, "average")):
            module.load_state_dict(parts[part])
    except RuntimeError as error:  # torch's word for names and shapes that differ
        raise ConfigError(f"the checkpoint is of another model, so it cannot be taken over: {error}") from error
    for label, optimizer in optimizers.items():
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in parts[label].items():
            index, _, key = name.partition(".")
            state.setdefault(int(index), {})[key] = value
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _text(value: object) -> str:
    return msgspec.json.encode(value, order="sorted").decode()
