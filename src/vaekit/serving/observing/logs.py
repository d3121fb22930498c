"""JSON logs: one line for each request and for each thing that happens to the service, written by a thread of its own.

Whoever logs only puts a record into a bounded buffer. When nobody reads the log fast enough, records are dropped and
counted; nothing ever waits for it. No record holds a raw value, or a message that may quote one.
"""

from __future__ import annotations

import os
import select
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from vaekit.errors import ConfigError
from vaekit.monitoring.tally import Masked

__all__ = ["ACCESS", "LEVELS", "Event", "Log", "RequestLine", "SampleLine", "trouble"]

LEVELS = ("debug", "info", "warning", "error")
ACCESS = ("all", "failures", "none")

_RECORDS = 20_000  # that may wait to be written
_GATHER = 0.05  # seconds for which records are gathered before they are written together
_BATCH = 2_000  # records that are encoded at a time
_FRAMES = 5  # innermost places of an exception that are named


class _Line(msgspec.Struct, frozen=True, omit_defaults=True):
    time: datetime
    level: str
    event: str


class Event(_Line, frozen=True, omit_defaults=True):
    """Something that happened to the service.

    Args:
        time: When, in UTC.
        level: ``debug``, ``info``, ``warning`` or ``error``.
        event: What, one of the events of docs/observability.md.
        facts: What is worth knowing about it.
    """

    facts: dict[str, Any] = {}


class RequestLine(_Line, frozen=True, omit_defaults=True):
    """One request. Fields that say nothing are left out.

    Args:
        time: When it was answered, in UTC.
        level: ``info``, ``warning`` if the caller is to blame, ``error`` if the service is.
        event: ``request``.
        request_id: Its id.
        trace_id: Its trace, if it is traced.
        model: Name of the model; ``other`` if there is none of that name.
        version: Version of the bundle that answered.
        contract: First 12 digits of the hash of its contract.
        data: The same of the data that it was fitted on.
        query: Name of the query.
        protocol: ``http``, ``v2`` or ``grpc``.
        route: The path as a pattern.
        status: HTTP status.
        kind: Why there is no answer.
        field: The field that is to blame.
        row: The row that is to blame.
        rows: Rows that were answered.
        bytes_in: Bytes of the body that came.
        bytes_out: Bytes of the body that went.
        queue_ms: Milliseconds until a worker took it.
        infer_ms: Milliseconds that the model worked on its batch.
        total_ms: Milliseconds in all.
        caller: Id of the key that it came with, never the key.
        batch: Number of the batch.
    """

    request_id: str
    trace_id: str = ""
    model: str = ""
    version: str = ""
    contract: str = ""
    data: str = ""
    query: str = ""
    protocol: str = ""
    route: str = ""
    status: int = 0
    kind: str = ""
    field: str | None = None
    row: int | None = None
    rows: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    queue_ms: float | None = None
    infer_ms: float | None = None
    total_ms: float = 0.0
    caller: str = ""
    batch: int | None = None


class SampleLine(_Line, frozen=True, omit_defaults=True):
    """One row, described without its values.

    Args:
        time: When, in UTC.
        level: ``info``.
        event: ``sample``.
        request_id: The request that it came with.
        model: The model that was asked.
        version: Version of its bundle.
        query: The query.
        sample: The description.
    """

    request_id: str
    model: str
    version: str
    query: str
    sample: Masked


class Log:
    """Writes records as lines of JSON.

    Args:
        path: A file to append to; standard error if not given. A file that was moved away is made anew.
        level: Least level of events that are written.
        access: Which requests are written: ``all``, ``failures`` or ``none``.
        records: Most records that wait to be written.

    Raises:
        ConfigError: If an option is none of these, or the file cannot be written.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, Log(Path(folder, "log")) as log:
        ...     log.event("ready", models=1)
        ...     log.close()
        ...     msgspec.json.decode(Path(folder, "log").read_bytes())["facts"]
        {'models': 1}
    """

    def __init__(
        self, path: str | Path | None = None, *, level: str = "info", access: str = "all", records: int = _RECORDS
    ) -> None:
        if level not in LEVELS or access not in ACCESS:
            raise ConfigError(
                f"--log-level is one of {', '.join(LEVELS)}, --access-log one of {', '.join(ACCESS)}; "
                f"got {level!r} and {access!r}"
            )
        self.access = access
        self._least = LEVELS.index(level)
        self._records: deque[tuple[type[_Line], float, tuple[Any, ...]]] = deque()
        self._most = records
        self._dropped, self._told = 0, 0
        self._wake, self._closing = threading.Event(), False
        self._sink = _Sink(path)
        self._encoder = msgspec.json.Encoder()
        self._thread = threading.Thread(target=self._work, name="vaekit-log", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Records that were dropped since the buffer was full or the log could not be written."""
        return self._dropped

    @property
    def waiting(self) -> int:
        """Records that are not written yet."""
        return len(self._records)

    def event(self, event: str, level: str = "info", **facts: Any) -> None:
        """Write that something happened.

        Args:
            event: What.
            level: How bad it is.
            facts: What is worth knowing; plain values that hold nothing of callers' rows.
        """
        if LEVELS.index(level) >= self._least:
            self.put(Event, level, event, facts)

    def wants(self, status: int, probe: bool = False) -> bool:
        """Whether a request is to be written.

        Args:
            status: The HTTP status that it ends with.
            probe: Machines ask it again and again, to see whether the service is well: written at level ``debug`` only.
        """
        if probe and self._least > 0:
            return False
        return self.access == "all" or (self.access == "failures" and status >= 400)

    def put(self, kind: type[_Line], *fields: Any) -> None:
        """Have a record made and written later; it is dropped if too many wait.

        Args:
            kind: What record.
            fields: Its fields after the time, in order.
        """
        if len(self._records) >= self._most:
            self._dropped += 1
            return
        self._records.append((kind, time.time(), fields))
        if not self._wake.is_set():
            self._wake.set()

    def close(self, timeout: float = 2.0) -> None:
        """Write what waits, and stop.

        Args:
            timeout: Most seconds that it may take.
        """
        self._closing = True
        self._wake.set()
        self._thread.join(timeout)

    def __enter__(self) -> Log:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _work(self) -> None:
        while not (self._closing and not self._records):
            self._wake.wait()
            self._wake.clear()
            if not self._closing:
                time.sleep(_GATHER)
            while self._records:
                self._write(min(_BATCH, len(self._records)))
        self._sink.close()

    def _write(self, count: int) -> None:
        taken = [self._records.popleft() for _ in range(count)]
        lines = [kind(datetime.fromtimestamp(moment, UTC), *fields) for kind, moment, fields in taken]
        if self._dropped > self._told:
            facts = {"records": self._dropped - self._told}
            self._told = self._dropped
            lines.append(Event(datetime.now(UTC), "warning", "log_dropped", facts))
        if not self._sink.write(self._encoded(lines)):
            self._dropped += count

    def _encoded(self, lines: list[_Line]) -> bytes:
        """Records as lines; one that no JSON can hold is dropped, and the thread goes on with the others."""
        try:
            return self._encoder.encode_lines(lines)
        except (TypeError, ValueError):  # text that is no Unicode, such as the name of a file, is one
            if len(lines) > 1:
                return b"".join(self._encoded([line]) for line in lines)
            self._dropped += 1
            return b""


class _Sink:
    """Where lines go: standard error, or a file that may be moved away by whoever rotates it."""

    def __init__(self, path: str | Path | None) -> None:
        self._path = None if path is None else Path(path)
        self._file = sys.stderr.fileno() if self._path is None else self._opened(self._path)

    def write(self, content: bytes) -> bool:
        """Write it all; False if that is not possible."""
        view = memoryview(content)
        try:
            if self._path is not None and self._moved(self._path):
                os.close(self._file)
                self._file = self._opened(self._path)
            while view:
                try:
                    view = view[os.write(self._file, view) :]
                except BlockingIOError:  # a standard error that does not wait: this thread may
                    select.select([], [self._file], [])
        except (OSError, ConfigError):  # the disk is full, or nobody reads standard error any more
            return False
        return True

    def close(self) -> None:
        """Close the file."""
        if self._path is not None:
            os.close(self._file)

    def _moved(self, path: Path) -> bool:
        try:
            there = path.stat()
        except FileNotFoundError:
            return True
        here = os.fstat(self._file)
        return (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino)

    @staticmethod
    def _opened(path: Path) -> int:
        try:
            return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise ConfigError(f"--log-file {path}: cannot be written ({error.strerror})") from error


def trouble(error: BaseException) -> Mapping[str, Any]:
    """What a log may say of an exception: its type and where it was raised, never its message.

    Example:
        >>> try:
        ...     int("secret")
        ... except ValueError as error:
        ...     facts = trouble(error)
        >>> facts["error"], "secret" in str(facts)
        ('ValueError', False)
    """
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    return {
        "error": type(error).__name__,
        "where": [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in reversed(frames)],
    }
