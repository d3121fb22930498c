"""Loggers of other packages held back for a while."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["quiet"]


@contextmanager
def quiet(*names: str) -> Iterator[None]:
    """Let only errors of some loggers through: the rest speaks of what vaekit does not use.

    Args:
        names: Names of the loggers; the empty one is the root.

    Example:
        >>> with quiet("chatty"):
        ...     logging.getLogger("chatty").isEnabledFor(logging.WARNING)
        False
    """
    loggers = [logging.getLogger(name) for name in names]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
