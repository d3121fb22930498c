"""How much each caller may ask: token buckets for requests and for rows."""

from __future__ import annotations

from collections import OrderedDict

import msgspec

__all__ = ["Allowance", "Allowances", "Bucket", "Quota"]

CALLERS = 10_000  # buckets kept; the caller who was silent for longest is forgotten first


class Quota(msgspec.Struct, frozen=True):
    """What one caller may ask in a second, on average.

    Args:
        rate: Requests a second; None: no limit.
        rows: Rows a second; None: no limit.
    """

    rate: float | None = None
    rows: float | None = None


class Bucket:
    """A token bucket: it fills at a rate up to one second's worth, and at least one token.

    What a request costs may be known only afterwards, so a bucket may go below zero; then it opens again when the debt
    is paid.

    Args:
        rate: Tokens a second.
        now: The time at which it is full, seconds of a clock that never goes back.

    Example:
        >>> bucket = Bucket(2.0, now=0.0)
        >>> [bucket.wait(0.0) or bucket.take(1, 0.0) for _ in range(3)]
        [None, None, 0.5]
        >>> bucket.wait(0.5)
        0.0
    """

    def __init__(self, rate: float, now: float) -> None:
        self.rate = rate
        self.most = max(rate, 1.0)
        self.level = self.most
        self.at = now

    def wait(self, now: float) -> float:
        """Seconds until a request is allowed; 0.0: now."""
        self.level = min(self.most, self.level + self.rate * max(now - self.at, 0.0))
        self.at = now
        return max(1.0 - self.level, 0.0) / self.rate

    def take(self, tokens: float, now: float) -> None:
        """Spend tokens, into debt if need be."""
        self.wait(now)
        self.level -= tokens


class Allowance:
    """The buckets of one caller.

    Args:
        quota: What the caller may ask.
        now: The present time.
    """

    def __init__(self, quota: Quota, now: float) -> None:
        self.quota = quota
        self.requests = None if quota.rate is None else Bucket(quota.rate, now)
        self.rows = None if quota.rows is None else Bucket(quota.rows, now)

    def admit(self, now: float) -> float:
        """Count one request, unless it has to wait.

        Returns:
            Seconds to wait; 0.0: the request is allowed and counted.
        """
        wait = max(bucket.wait(now) if bucket else 0.0 for bucket in (self.requests, self.rows))
        if not wait and self.requests:
            self.requests.take(1.0, now)
        return wait

    def spend(self, rows: int, now: float) -> None:
        """Count the rows of a request that was answered."""
        if self.rows:
            self.rows.take(rows, now)


class Allowances:
    """The buckets of all callers, bounded in number."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, Allowance] = OrderedDict()

    def of(self, name: str, quota: Quota, now: float) -> Allowance:
        """The buckets of a caller; new ones for a new caller, or where the quota was changed."""
        found = self._kept.get(name)
        if found is None or found.quota != quota:
            found = self._kept[name] = Allowance(quota, now)
            while len(self._kept) > CALLERS:
                self._kept.popitem(last=False)
        self._kept.move_to_end(name)
        return found
