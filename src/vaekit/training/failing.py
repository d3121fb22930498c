"""How a run failed, written down for those who look at it later."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from vaekit.errors import NotFiniteError, TrainingError
from vaekit.files import write_file

__all__ = ["failures", "out_of_memory"]


@contextmanager
def failures(out: Path | None, record: Mapping[str, Any]) -> Iterator[None]:
    """Turn a lack of memory into an error that says what helps, and write ``failure.json`` into the run's folder.

    Args:
        out: The folder, if there is one.
        record: The record of the run, which may not be there yet.

    Raises:
        TrainingError: As it came, or if memory was not enough.
    """
    try:
        yield
    except TrainingError as error:
        _write(out, record, "not finite" if isinstance(error, NotFiniteError) else "stopped", str(error))
        raise
    except (MemoryError, RuntimeError) as error:  # torch has its own error for GPUs only
        if not out_of_memory(error):
            raise
        said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        message = f"out of memory: {said}. A smaller preset or batch_size needs less"
        _write(out, record, "memory", message)
        raise TrainingError(message) from error


def out_of_memory(error: Exception) -> bool:
    """Whether an error of torch, or of Python, says that memory was not enough."""
    return isinstance(error, MemoryError) or "memory" in str(error)


def _write(out: Path | None, record: Mapping[str, Any], kind: str, message: str) -> None:
    if out is not None:
        content = {"kind": kind, "message": message, "run": record}
        with suppress(OSError):  # a full disk may be what went wrong, which the error says
            write_file(out / "failure.json", msgspec.json.format(msgspec.json.encode(content), indent=1))
