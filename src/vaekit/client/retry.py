"""When a request is tried again, and how often all requests together may be."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from vaekit.errors import ConfigError

__all__ = ["Budget", "Retry", "pause", "retry_after"]


@dataclass(frozen=True)
class Retry:
    """How a client repeats requests: full jitter, and never more than a share of all requests.

    Args:
        tries: Tries of one request, the first included; 1 switches repeats off.
        base: Seconds that the first pause has at most; each further one twice as many.
        cap: Seconds that a pause has at most, unless the service asks for more.
        share: Repeats per request that the client may make in the long run, so that many clients do not bury a service
            that is in trouble.
        reserve: Repeats that it may make beyond that, after a time without trouble.

    Raises:
        ConfigError: If a value makes no sense.

    References:
        Brooker, Exponential backoff and jitter, 2015 (full jitter). Nygard, Release It!, 2018, chapter 5.
    """

    tries: int = 4
    base: float = 0.1
    cap: float = 5.0
    share: float = 0.2
    reserve: float = 10.0

    def __post_init__(self) -> None:
        if self.tries < 1 or not (self.base >= 0 and self.cap >= 0 and self.share >= 0 and self.reserve >= 0):
            raise ConfigError(f"need tries of at least 1 and nothing below 0, got {self}")


class Budget:
    """Counts what may still be repeated; one for all requests of a client, from any thread.

    Args:
        retry: The share and the reserve.

    Example:
        >>> budget = Budget(Retry(share=0.5, reserve=1))
        >>> budget.take(), budget.take()
        (True, False)
        >>> budget.earn(); budget.earn(); budget.take()
        True
    """

    def __init__(self, retry: Retry) -> None:
        self._retry, self._left, self._lock = retry, retry.reserve, threading.Lock()

    def earn(self) -> None:
        """A request was made."""
        with self._lock:
            self._left = min(self._retry.reserve, self._left + self._retry.share)

    def take(self) -> bool:
        """Whether one more repeat is allowed; it counts as made."""
        with self._lock:
            if self._left < 1.0:
                return False
            self._left -= 1.0
            return True


def pause(retry: Retry, tried: int, asked: float | None) -> float:
    """Seconds to wait before the next try.

    Args:
        retry: The policy.
        tried: Tries so far, at least 1.
        asked: What the service asked for, if it did: the pause is never shorter.

    Example:
        >>> 0.0 <= pause(Retry(base=0.1), 1, None) <= 0.1, 2.0 <= pause(Retry(base=0.1), 1, 2.0) <= 2.1
        (True, True)
    """
    spread = random.uniform(0.0, min(retry.cap, retry.base * 2.0 ** (tried - 1)))
    return spread + (asked or 0.0)


def retry_after(value: str | None) -> float | None:
    """Seconds that a Retry-After header asks for, given in seconds or as a date; None if it says nothing.

    Example:
        >>> retry_after("2"), retry_after("Mon, 01 Jan 2024 00:00:00 GMT"), retry_after("soon"), retry_after(None)
        (2.0, 0.0, None, None)
    """
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        when = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(0.0, (when.replace(tzinfo=when.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
