"""Media types: what a Content-Type header names, and which of the writers an Accept header chooses."""

from __future__ import annotations

import functools
from collections.abc import Sequence

__all__ = ["ARROW", "ARROW_FILE", "BINARY", "COLUMNS", "CSV", "FORM", "JSON", "PARQUET", "accepted", "media_type"]

JSON = "application/json"
COLUMNS = "application/json; shape=columns"
ARROW = "application/vnd.apache.arrow.stream"
ARROW_FILE = "application/vnd.apache.arrow.file"
CSV = "text/csv"
PARQUET = "application/vnd.apache.parquet"
FORM = "multipart/form-data"
BINARY = "application/octet-stream"


@functools.lru_cache(maxsize=256)
def media_type(header: bytes) -> str:
    """The media type of a Content-Type header, without parameters, in lower case.

    Example:
        >>> media_type(b"Application/JSON; charset=utf-8")
        'application/json'
    """
    return header.partition(b";")[0].strip().lower().decode("latin-1")


@functools.lru_cache(maxsize=256)
def accepted(header: bytes, offers: Sequence[str]) -> str | None:
    """Which of the offered media types an Accept header prefers; the first one offered where it does not say.

    Args:
        header: The header; empty: anything.
        offers: Media types, which may have parameters of their own, the best one first.

    Returns:
        One of the offers, or None if none is acceptable.

    References:
        RFC 9110, section 12.5.1.

    Example:
        >>> offers = ("application/json", "application/json;shape=columns", "text/csv")
        >>> accepted(b"text/csv;q=0.5, application/json; shape=columns", offers)
        'application/json;shape=columns'
        >>> accepted(b"text/*, */*;q=0.1", offers), accepted(b"", offers), accepted(b"image/png", offers)
        ('text/csv', 'application/json', None)
    """
    if not header.strip():
        return offers[0]
    ranges = [_taken_apart(item) for item in header.decode("latin-1").lower().split(",") if item.strip()]
    best, found = 0.0, None
    for offer in offers:
        kind, parameters, _ = _taken_apart(offer)
        fits = [
            (len(asked) + (wanted != "*/*") + ("*" not in wanted), quality)
            for wanted, asked, quality in ranges
            if _within(kind, wanted) and asked <= parameters
        ]
        quality = max(fits)[1] if fits else 0.0  # the most specific range decides
        if quality > best:
            best, found = quality, offer
    return found


def _within(kind: str, wanted: str) -> bool:
    return wanted in ("*/*", kind) or (wanted.endswith("/*") and kind.startswith(wanted[:-1]))


def _taken_apart(item: str) -> tuple[str, frozenset[str], float]:
    """A media range as type, parameters and quality; one that cannot be read is never preferred."""
    kind, *rest = (part.strip() for part in item.split(";"))
    parameters = {part.replace(" ", "") for part in rest if part}
    quality = 1.0
    parameters -= {part for part in parameters if part.startswith("charset=")}
    for part in [part for part in parameters if part.startswith("q=")]:
        parameters.discard(part)
        try:
            quality = min(max(float(part[2:]), 0.0), 1.0)
        except ValueError:
            quality = 0.0
    return kind, frozenset(parameters), quality
