"""What a run cost: speed, memory, time on a device, and money at a price."""

from __future__ import annotations

import msgspec

__all__ = ["Spent"]


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """What training cost, once it has ended.

    Args:
        rows_per_second: Training rows per second, validations and checkpoints included.
        floor_share: Share of that time that the bare matrix products of the steps would have taken.
        peak_memory: Most resident memory of the process, in MiB.
        device_memory: Most memory of a GPU, in MiB; None without one.
        device_seconds: Seconds that the device was held for training, those of resumed parts included.
        price_per_hour: What the device costs in an hour, in any currency; None if nobody said.
        price: What the run cost, likewise.

    Example:
        >>> print(Spent(rows_per_second=9e3, floor_share=0.4, peak_memory=300.0, device_seconds=7200.0,
        ...             price_per_hour=0.35, price=0.7))
        9,000 rows/s, 40 % of the time in bare matrix products; 300 MiB; 7200.0 device-seconds; cost 0.7000
    """

    rows_per_second: float
    floor_share: float
    peak_memory: float
    device_memory: float | None = None
    device_seconds: float
    price_per_hour: float | None = None
    price: float | None = None

    def __str__(self) -> str:
        parts = [
            f"{self.rows_per_second:,.0f} rows/s, {self.floor_share:.0%} of the time in bare matrix products".replace(
                "%", " %"
            ),
            f"{self.peak_memory:,.0f} MiB",
            *([] if self.device_memory is None else [f"{self.device_memory:,.0f} MiB on the device"]),
            f"{self.device_seconds:.1f} device-seconds",
            *([] if self.price is None else [f"cost {self.price:.4f}"]),
        ]
        return "; ".join(parts)
