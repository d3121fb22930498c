"""What libraries say through Python's logging, as records of the service's own log."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from vaekit.serving.observing.logs import Log, trouble

__all__ = ["NAMES", "bridged"]

NAMES = ("vaekit", "uvicorn.error", "opentelemetry")


class _Bridge(logging.Handler):
    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; of an exception its type and place, since its message may quote a value."""
        level = "error" if record.levelno >= logging.ERROR else record.levelname.lower()
        facts = {"logger": record.name, "message": record.getMessage().strip()}
        if record.exc_info and record.exc_info[1] is not None:
            facts |= trouble(record.exc_info[1])
        self._log.event("log", level, **facts)


@contextmanager
def bridged(log: Log) -> Iterator[None]:
    r"""Have the loggers of vaekit, uvicorn and OpenTelemetry write to a log, and no other handler.

    Args:
        log: The log.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with Log(Path(folder, "log")) as log, bridged(log):
        ...         logging.getLogger("vaekit.serving.access.keys").warning("%d keys have expired", 2)
        ...     Path(folder, "log").read_text().endswith('"message":"2 keys have expired"}}\n')
        True
    """
    bridge, loggers = _Bridge(log), [logging.getLogger(name) for name in NAMES]
    before = [(logger, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.addHandler(bridge)
        logger.propagate = False
    try:
        yield
    finally:
        for logger, propagate in before:
            logger.removeHandler(bridge)
            logger.propagate = propagate
