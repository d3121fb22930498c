"""What rows cost is measured, and the size of calls is chosen by it."""

import pytest

from vaekit.batch.cost import Cost, cheapest, costs
from vaekit.batch.pace import BYTES, Measured, best, measured
from vaekit.errors import ConfigError


def test_costs_are_rates_money_and_memory(zoo):
    found = list(
        costs(
            zoo["cancer"].bundle,
            sizes=(64, 512),
            price_per_hour=3.6,
            seconds=0.05,
            given={"symmetry": 0.18},
        )
    )
    assert [one.batch_rows for one in found] == [64, 512]
    for one in found:
        assert one.seconds_per_million == pytest.approx(1e6 / one.rows_per_second)
        assert one.price_per_million == pytest.approx(one.seconds_per_million * 3.6 / 3600)
        assert 20 < one.peak_mb < 20_000


def test_no_price_no_money(zoo):
    (one,) = costs(zoo["cancer"].bundle, sizes=(256,), seconds=0.01, given={"symmetry": 0.18})
    assert one.price_per_million is None
    with pytest.raises(ConfigError, match="must not be negative"):
        next(costs(zoo["cancer"].bundle, price_per_hour=-1.0))


def test_the_smallest_size_that_is_as_fast_as_the_fastest_is_taken():
    rates = {256: 100.0, 512: 960.0, 1024: 1000.0, 2048: 400.0}
    found = [
        Cost(batch_rows=size, rows_per_second=rate, seconds_per_million=1, price_per_million=None, peak_mb=1)
        for size, rate in rates.items()
    ]
    assert cheapest(found).batch_rows == 512
    assert best([Measured(size, size / rate, 1) for size, rate in rates.items()]).rows == 512


def test_larger_calls_are_tried_until_they_are_worse_too_long_or_too_large(monkeypatch):
    from vaekit.batch import pace

    clock = [0.0]
    monkeypatch.setattr(pace.time, "perf_counter", lambda: clock[0])

    def call(seconds, size=lambda rows: 1):
        def ask(rows):
            clock[0] += seconds(rows)
            return size(rows)

        return ask

    def sizes(*how):
        return [one.rows for one in measured(*how)]

    fixed = call(lambda rows: 0.01 + 1e-7 * rows)
    assert sizes(fixed, 4096, 10.0) == [256, 512, 1024, 2048, 4096]
    assert sizes(fixed, 2**17, 0.2)[-1] < 2**17  # the budget
    assert sizes(call(lambda rows: 0.05 if rows < 2048 else 10.0), 2**17, 100.0)[-1] == 2048  # worse, from there on
    assert sizes(call(lambda rows: rows / 1000), 2**17, 100.0) == [256, 512]  # twice 512 rows take more than a second
    assert sizes(call(lambda rows: 0.05, lambda rows: rows * BYTES // 1024), 2**17, 100.0) == [256, 512, 1024]
