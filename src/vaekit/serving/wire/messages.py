"""The messages between front and worker; bodies and files travel beside them, see `vaekit.serving.wire.frames`."""

from __future__ import annotations

import msgspec

from vaekit.monitoring.tally import Masked, Tally
from vaekit.serving.wire.asking import Ask, Seen, Told
from vaekit.serving.wire.facts import Facts

__all__ = ["Beat", "Done", "Hello", "Limits", "Load", "Message", "Noted", "Packed", "Refused", "Sample", "Work"]


class Packed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A bundle on its way to a worker; the content of its files travels beside it.

    Args:
        name: Name of the model.
        version: First 12 digits of the seal of its manifest.
        contract: Hash of its contract.
        data: Hash of its data.
        vaekit: Release that wrote it.
        created: When.
        files: Names of its files, in the order in which their content follows.
    """

    name: str
    version: str
    contract: str
    data: str
    vaekit: str
    created: str
    files: tuple[str, ...]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker allows; see `vaekit.serving.config.ServeConfig`."""

    max_rows: int
    max_batch_rows: int
    max_samples: int
    max_pixels: int


class Load(msgspec.Struct, frozen=True, kw_only=True, tag="load"):
    """Front to worker, first of all: load these models, warm them, and say hello."""

    models: tuple[Packed, ...]
    backend: str
    threads: int
    queries: tuple[str, ...]
    memory: int
    limits: Limits
    log_samples: float = 0.0


class Work(msgspec.Struct, frozen=True, kw_only=True, tag="work"):
    """Front to worker: answer these; the bodies follow in the same order."""

    batch: int
    asks: list[Ask]


class Hello(msgspec.Struct, frozen=True, kw_only=True, tag="hello"):
    """Worker to front: all models are loaded and warm."""

    models: tuple[Facts, ...]


class Refused(msgspec.Struct, frozen=True, kw_only=True, tag="refused"):
    """Worker to front: a model cannot be loaded, and another try would end in the same way."""

    message: str


class Done(msgspec.Struct, frozen=True, kw_only=True, tag="done"):
    """Worker to front: the answers to a batch; their bodies follow in the same order."""

    batch: int
    tolds: list[Told]
    seen: Seen


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """A row that came with a request, described without its values.

    Args:
        id: Id of the request.
        model: The model that was asked.
        query: The query.
        masked: The description; its row is counted from the first one of the request.
    """

    id: str
    model: str
    query: str
    masked: Masked


class Noted(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="noted"):
    """Worker to front, now and then: what was noticed of rows since the last time.

    Args:
        tallies: Counts by model.
        samples: Some rows.
    """

    tallies: dict[str, Tally] = {}
    samples: list[Sample] = []


class Beat(msgspec.Struct, frozen=True, tag="beat"):
    """Worker to front: still alive."""


Message = Load | Work | Hello | Refused | Done | Noted | Beat
