"""Counters and histograms, as Prometheus reads them."""

import asyncio

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from vaekit.monitoring.metrics import Metrics
from vaekit.monitoring.series import Counter, Gauge, Histogram, Spreading
from vaekit.monitoring.tally import Spread, Tally


def shown(*families):
    """Samples by name and values of labels in the order of their names, as a scraper reads them."""

    class Some:
        def collect(self):
            return [family.collect() for family in families]

    text = generate_latest(Some()).decode()
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_counts_are_told_apart_by_labels():
    counter = Counter("vaekit_things", "Things", ("kind",))
    counter.of("a").add()
    counter.of("b").add(2.5)
    counter.of("a").add()
    assert shown(counter) == {("vaekit_things_total", "a"): 2.0, ("vaekit_things_total", "b"): 2.5}
    assert counter.of("a") is counter.of("a")
    with pytest.raises(ValueError, match="labels"):
        counter.of("a", "b")


def test_buckets_are_cumulative_and_hold_their_upper_ends():
    histogram = Histogram("vaekit_seconds", "Seconds", edges=(0.1, 1.0))
    for value in (0.05, 0.1, 0.5, 7.0):
        histogram.of().observe(value)
    found = shown(histogram)
    assert found["vaekit_seconds_bucket", "0.1"] == 2
    assert found["vaekit_seconds_bucket", "1.0"] == 3
    assert found["vaekit_seconds_bucket", "+Inf"] == found[("vaekit_seconds_count",)] == 4
    assert found[("vaekit_seconds_sum",)] == pytest.approx(7.65)


def test_other_edges_start_a_histogram_anew():
    histogram = Histogram("vaekit_nats", "Nats", ("model",), edges=(1.0,))
    histogram.of("a", edges=(2.0, 3.0)).merge([1, 2, 3], 0.0)
    assert histogram.of("a", edges=(2.0, 3.0)).counts == [1, 2, 3]
    assert histogram.of("a", edges=(2.0, 4.0)).counts == [0, 0, 0]
    assert histogram.of("b").edges == (1.0,)


def test_observing_one_by_one_and_together_is_the_same():
    one, many = Spreading((0.0, 1.0)), Spreading((0.0, 1.0))
    for value in (-1.0, 0.5, 0.5, 3.0):
        one.observe(value)
    many.merge([1, 2, 1], 3.0)
    assert (one.counts, one.total) == (many.counts, many.total)


def test_gauges_are_read_when_asked():
    box = {("x",): 1.0}
    gauge, total = Gauge("now", "Now", lambda: box, ("k",)), Gauge("cpu", "Cpu", lambda: box, ("k",), growing=True)
    box["x",] = 5.0
    assert shown(gauge, total) == {("now", "x"): 5.0, ("cpu_total", "x"): 5.0}


def test_tallies_of_workers_add_up():
    metrics = Metrics()
    metrics.serves({"flights": ("score",)})
    spread = Spread(edges=(-1.0, 2.0), counts=[1, 0, 2], gained=9.0, lost=1.5)
    tally = Tally(rows=3, nats={"score": spread}, missing={"origin": 0.5}, unknown={"origin": 2})
    metrics.tallied("flights", tally)
    metrics.tallied("flights", tally)
    metrics.tallied("unheard of", tally)
    found = shown(*metrics._families)
    assert found["vaekit_encoded_rows_total", "flights"] == 6
    assert found["vaekit_missing_cells_total", "origin", "flights"] == 1.0
    assert found["vaekit_unknown_categories_total", "origin", "flights"] == 4
    assert found["vaekit_row_score_nats_bucket", "2.0", "flights"] == 2
    assert found["vaekit_row_score_nats_bucket", "+Inf", "flights"] == 6
    assert found["vaekit_row_nats_total", "flights", "positive", "score"] == 18.0
    assert found["vaekit_row_nats_total", "flights", "negative", "score"] == 3.0
    assert {labels[1] for labels in found if labels[0] == "vaekit_encoded_rows_total"} == {"flights", "other"}


def test_others_have_a_turn_after_each_metric_of_a_scrape():
    async def scrape():
        turns, ended = 0, False

        async def count():
            nonlocal turns
            while not ended:
                turns += 1
                await asyncio.sleep(0)

        counting = asyncio.create_task(count())
        text = await metrics.render()
        ended = True
        await counting
        return turns, text.decode().count("# HELP")

    metrics = Metrics()
    turns, shown_metrics = asyncio.run(scrape())
    assert turns >= shown_metrics > 25


def test_two_servers_in_one_process_have_metrics_of_their_own():
    first, second = Metrics(), Metrics()
    first.cold_starts.of().add()
    assert first.registry is first.registry is not second.registry
    assert second.cold_starts.of().value == 0
    assert first.registry.get_sample_value("vaekit_cold_starts_total") == 1
