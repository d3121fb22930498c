"""What request headers say: the id and the deadline."""

from __future__ import annotations

import re

from vaekit.serving.http.replies import new_id
from vaekit.serving.request import refused

__all__ = ["request_id", "seconds"]

_ID = re.compile(rb"[\x21-\x7e]{1,128}")
_SECONDS = re.compile(r"(?P<number>\d{1,9}(?:\.\d{1,9})?)\s?(?P<unit>ms|s)?")


def request_id(sent: bytes | None) -> str:
    """The id that the caller gave, if it is at most 128 visible ASCII characters, else a fresh one.

    Example:
        >>> request_id(b"order-7"), len(request_id(b"two words")), len(request_id(None))
        ('order-7', 24, 24)
    """
    return sent.decode() if sent and _ID.fullmatch(sent) else new_id()


def seconds(text: str) -> float:
    """A span of time from a header, in seconds unless it says ``ms``.

    Raises:
        Refused: If it is none, or not above zero.

    Example:
        >>> seconds("1.5"), seconds("250ms")
        (1.5, 0.25)
    """
    found = _SECONDS.fullmatch(text.strip())
    span = float(found["number"]) * (1e-3 if found["unit"] == "ms" else 1.0) if found else 0.0
    if span <= 0.0:
        raise refused(
            400,
            "header",
            f"X-Request-Timeout is a number of seconds above zero, such as 1.5 or 250ms; got {text[:40]!r}",
        )
    return span
