"""What drawn rows cost, by the size of calls: time, money and memory."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from vaekit.batch.entry import loaded, run
from vaekit.batch.pace import NEAR
from vaekit.bundle import Bundle
from vaekit.errors import ConfigError
from vaekit.memory import peak_memory

__all__ = ["SIZES", "Cost", "cheapest", "costs"]

SIZES = tuple(2**power for power in range(8, 18))
_SECONDS = 1.0  # spent on one size, about
_FIRST = 2**13  # rows that tell how many fit into that time
_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What rows cost at one size of calls.

    Args:
        batch_rows: Rows of one call.
        rows_per_second: Rows drawn and written in a second.
        seconds_per_million: Seconds for a million rows.
        price_per_million: Money for a million rows; None without a price.
        peak_mb: Most resident memory of the process meanwhile; where the system does not say, the most so far.
    """

    batch_rows: int
    rows_per_second: float
    seconds_per_million: float
    price_per_million: float | None
    peak_mb: float


def costs(
    bundle: str | Path | Bundle,
    *,
    sizes: Sequence[int] = SIZES,
    price_per_hour: float | None = None,
    seconds: float = _SECONDS,
    **how: Any,
) -> Iterator[Cost]:
    """Draw rows with calls of one size after the other, as `vaekit.batch.run` does, into a folder that is removed.

    Args:
        bundle: A bundle, or the path to one or to a run that holds one.
        sizes: Rows of a call, smallest first, since memory that was used once is not always given back.
        price_per_hour: What the machine costs in an hour, in any currency.
        seconds: What to spend on one size, about.
        how: Other options of `vaekit.batch.run`, and of the query `sample`.

    Yields:
        One `Cost` per size.

    Raises:
        ConfigError: If the price is negative, or an option makes no sense.
    """
    if price_per_hour is not None and not price_per_hour >= 0.0:
        raise ConfigError(f"price_per_hour must not be negative, got {price_per_hour}")
    found = loaded(bundle)
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            few = run(found, "sample", max(_FIRST, 2 * size), Path(folder) / "few", batch_rows=size, **how)
            _forget_peak()
            rows = max(few.rows, int(seconds * few.rows_per_second))
            many = run(found, "sample", rows, Path(folder) / "many", batch_rows=size, **how)
        million = 1e6 / many.rows_per_second
        yield Cost(
            batch_rows=size,
            rows_per_second=many.rows_per_second,
            seconds_per_million=million,
            price_per_million=None if price_per_hour is None else price_per_hour * million / 3600.0,
            peak_mb=peak_memory(),
        )


def cheapest(found: Sequence[Cost]) -> Cost:
    """The smallest size that is as fast as the fastest, within the accuracy of a measurement."""
    top = max(cost.rows_per_second for cost in found)
    return next(cost for cost in found if cost.rows_per_second >= NEAR * top)


def _forget_peak() -> None:
    """Let Linux measure the peak of resident memory anew."""
    with contextlib.suppress(OSError):
        _RESET.write_text("5")
