"""Several processes that train one model: what they add up, and what one of them tells the others."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from vaekit.errors import ConfigError

__all__ = ["Ranks", "joined", "local_device"]


class Ranks:
    """The processes of a run; by itself a process is the only one.

    Args:
        rank: Number of this process.
        count: Number of processes.
        device: Where tensors are that go between them.

    Example:
        >>> Ranks().part(10)
        slice(0, 10, None)
        >>> Ranks(1, 3).part(10)
        slice(4, 7, None)
    """

    def __init__(self, rank: int = 0, count: int = 1, device: torch.device | str = "cpu") -> None:
        self.rank, self.count, self.device = rank, count, torch.device(device)

    @property
    def leads(self) -> bool:
        """Whether this process writes what is written."""
        return self.rank == 0

    def part(self, rows: int) -> slice:
        """Which of so many rows are this process's own: a run of neighbours, as long as others' but for one."""
        each, more = divmod(rows, self.count)
        start = self.rank * each + min(self.rank, more)
        return slice(start, start + each + (self.rank < more))

    def add(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over all processes."""
        if self.count == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        for tensor, value in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(value.view_as(tensor))

    def most(self, *values: float) -> list[float]:
        """The largest value of all processes, for each of some values."""
        if self.count == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor, dist.ReduceOp.MAX)
        return [float(value) for value in tensor.tolist()]

    def tell(self, content: bytes | None) -> bytes:
        """What the first process says, to all; what others pass is ignored."""
        if self.count == 1:
            return content or b""
        size = torch.tensor([len(content or b"") if self.leads else 0], device=self.device)
        dist.broadcast(size, 0)
        text = torch.empty(int(size), dtype=torch.uint8, device=self.device)
        if self.leads and content:
            text.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8))
        dist.broadcast(text, 0)
        return text.cpu().numpy().tobytes()

    def agree(self, value: Any) -> Any:
        """A plain value of the first process, to all."""
        return value if self.count == 1 else json.loads(self.tell(json.dumps(value).encode() if self.leads else None))


def joined(device: torch.device) -> Ranks:
    """The processes that ``torchrun`` started together with this one; it alone if there are none.

    Args:
        device: The device of this process; GPUs talk by NCCL, all else by Gloo.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        return Ranks()
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return Ranks(dist.get_rank(), count, device)


def local_device(name: str) -> str:
    """The device that a process of several on one machine takes for its own.

    Raises:
        ConfigError: If there are fewer GPUs than processes.
    """
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if int(os.environ.get("WORLD_SIZE", "1")) == 1 or name not in ("auto", "cuda") or not torch.cuda.is_available():
        return name
    if local >= torch.cuda.device_count():
        raise ConfigError(f"process {local} has no GPU of its own: there are {torch.cuda.device_count()}; start fewer")
    return f"cuda:{local}"
