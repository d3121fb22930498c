"""Counters and histograms that cost a request next to nothing, and the collector that shows them to Prometheus.

A request adds to numbers that were looked up once; names, labels and text are put together when somebody reads the
metrics. Histograms take many observations at once, and may have other buckets for each model.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from prometheus_client import Metric

__all__ = ["Count", "Counter", "Gauge", "Histogram", "Labels", "Spreading"]

Labels = tuple[str, ...]


class Count:
    """One number that only grows.

    Example:
        >>> count = Count()
        >>> count.add()
        >>> count.add(2.5)
        >>> count.value
        3.5
    """

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0

    def add(self, amount: float = 1.0) -> None:
        """Add to it."""
        self.value += amount


class Spreading:
    """Observations counted in buckets.

    Args:
        edges: Upper ends of the buckets, ascending; a value at an end is in that bucket.

    Example:
        >>> spreading = Spreading([1.0, 2.0])
        >>> spreading.observe(2.0)
        >>> spreading.merge([1, 0, 3], 20.5)
        >>> spreading.counts, spreading.total
        ([1, 1, 3], 22.5)
    """

    __slots__ = ("counts", "edges", "total")

    def __init__(self, edges: Sequence[float]) -> None:
        self.edges = tuple(edges)
        self.counts = [0] * (len(self.edges) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.edges, value)] += 1
        self.total += value

    def merge(self, counts: Sequence[int], total: float) -> None:
        """Count many values that are in buckets already."""
        for index, count in enumerate(counts):
            if count:
                self.counts[index] += count
        self.total += total


One = TypeVar("One", Count, Spreading)


class _Family(Generic[One]):
    """Numbers under one name, told apart by labels.

    Args:
        name: Name of the metric, without the suffixes that its type brings.
        text: What it means, one sentence.
        labels: Names of the labels.
    """

    def __init__(self, name: str, text: str, labels: Sequence[str] = ()) -> None:
        self.name, self.text, self.labels = name, text, tuple(labels)
        self.found: dict[Labels, One] = {}

    def _of(self, values: Labels, make: Callable[[], One]) -> One:
        found = self.found.get(values)
        if found is None:
            if len(values) != len(self.labels):
                raise ValueError(f"{self.name} has the labels {self.labels}, got values {values}")
            found = self.found[values] = make()
        return found


class Counter(_Family[Count]):
    """Counts under one name; arguments as in the base class."""

    def of(self, *values: str) -> Count:
        """The count of some label values; ask once and keep it."""
        return self._of(values, Count)

    def collect(self) -> Metric:
        """The counts as Prometheus knows them."""
        from prometheus_client.core import CounterMetricFamily

        family = CounterMetricFamily(self.name, self.text, labels=self.labels)
        for labels, count in list(self.found.items()):
            family.add_metric(labels, count.value)
        return family


class Histogram(_Family[Spreading]):
    """Histograms under one name.

    Args:
        name: Name of the metric.
        text: What it means.
        labels: Names of the labels.
        edges: Upper ends of the buckets, unless label values are given others.
    """

    def __init__(self, name: str, text: str, labels: Sequence[str] = (), *, edges: Sequence[float]) -> None:
        super().__init__(name, text, labels)
        self.edges = tuple(edges)

    def of(self, *values: str, edges: Sequence[float] | None = None) -> Spreading:
        """The histogram of some label values; edges that differ from those so far start it anew."""
        wanted = self.edges if edges is None else tuple(edges)
        found = self.found.get(values)
        if found is not None and found.edges != wanted:
            del self.found[values]
        return self._of(values, lambda: Spreading(wanted))

    def collect(self) -> Metric:
        """The histograms as Prometheus knows them."""
        from prometheus_client.core import HistogramMetricFamily
        from prometheus_client.utils import floatToGoString

        family = HistogramMetricFamily(self.name, self.text, labels=self.labels)
        for labels, found in list(self.found.items()):
            ends = [*map(floatToGoString, found.edges), "+Inf"]
            family.add_metric(labels, list(zip(ends, _cumulative(found.counts), strict=True)), found.total)
        return family


class Gauge:
    """A number that is read when somebody asks.

    Args:
        name: Name of the metric.
        text: What it means.
        read: Says the numbers by label values.
        labels: Names of the labels.
        growing: The number only grows, for example CPU seconds of a process: Prometheus then knows it as a counter.
    """

    def __init__(
        self,
        name: str,
        text: str,
        read: Callable[[], Mapping[Labels, float]],
        labels: Sequence[str] = (),
        *,
        growing: bool = False,
    ) -> None:
        self.name, self.text, self.read, self.labels, self.growing = name, text, read, tuple(labels), growing

    def collect(self) -> Metric:
        """The numbers as Prometheus knows them."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        kind = CounterMetricFamily if self.growing else GaugeMetricFamily
        family = kind(self.name, self.text, labels=self.labels)
        for labels, value in self.read().items():
            family.add_metric(labels, value)
        return family


def _cumulative(counts: Iterable[int]) -> Iterator[int]:
    total = 0
    for count in counts:
        total += count
        yield total
