"""All metrics of one server, by the conventions of Prometheus.

Names of models and queries become labels only if the server serves them; everything else that callers can choose is
counted under ``other``, so the number of series is bounded by the configuration.
"""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from vaekit.monitoring.series import Count, Counter, Gauge, Histogram, Spreading
from vaekit.monitoring.tally import Tally
from vaekit.version import __version__

if TYPE_CHECKING:
    from prometheus_client import Metric
    from prometheus_client.registry import CollectorRegistry

__all__ = ["CONTENT_TYPE", "INFER", "NONE", "OTHER", "Metrics"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OTHER, NONE = "other", "none"
INFER = "infer"  # a query that the body names, where it did not get as far as being read

# Around the objective of 300 ms the buckets are narrow, so that its quantiles are told well.
LATENCIES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 10, 30)
SHORT = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
STARTS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096, 16384)
REQUESTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)

_SIGNALS = {
    "score": "Bound on -log p of rows that were scored, in nats: larger is stranger",
    "kl": "Estimate of the divergence of the posterior from the prior of rows that were scored, in nats",
    "reconstruction": "Estimate of -log p of rows given their latent state, of rows that were scored, in nats",
}


class Requests:
    """The numbers that requests of one kind add to."""

    __slots__ = ("came", "rows", "seconds", "statuses", "went")

    def __init__(self, metrics: Metrics, model: str, query: str, protocol: str) -> None:
        self.statuses = {digit: metrics.requests.of(model, query, protocol, f"{digit}xx") for digit in (2, 4, 5)}
        self.seconds = metrics.seconds.of(model, query)
        self.came, self.went = metrics.came.of(model, query), metrics.went.of(model, query)
        self.rows = metrics.answered_rows.of(model, query)

    def add(self, status: int, seconds: float, came: int, went: int, rows: int) -> None:
        """Count a request that was answered.

        Args:
            status: HTTP status of the answer: 200, or one of a fault, from 400 to 599.
            seconds: How long it took.
            came: Bytes of its body.
            went: Bytes of the answer.
            rows: Rows that were answered.
        """
        self.statuses[status // 100].value += 1.0
        self.seconds.observe(seconds)
        self.came.value += came
        self.went.value += went
        self.rows.value += rows


class Batches(NamedTuple):
    """The numbers that batches of one model and query add to."""

    invocations: Count
    inference: Spreading
    device: Count


class Rows:
    """The numbers that rows add to, as workers counted them."""

    def __init__(self) -> None:
        self.encoded = Counter(
            "vaekit_encoded_rows", "Rows that models read, the base of missing and unknown", ("model",)
        )
        self.missing = Counter("vaekit_missing_cells", "Missing cells of rows that models read", ("model", "field"))
        self.unknown = Counter(
            "vaekit_unknown_categories",
            "Values that are no known category and were read as missing",
            ("model", "field"),
        )
        self.nats = Counter(
            "vaekit_row_nats",
            "Sums over rows that were scored; the mean is positive minus negative by the number of rows",
            ("model", "signal", "sign"),
        )
        self.spreads = {
            name: Histogram(f"vaekit_row_{name}_nats", text, ("model",), edges=()) for name, text in _SIGNALS.items()
        }

    def add(self, model: str, tally: Tally) -> None:
        """Count rows of a model.

        Args:
            model: Label of the model.
            tally: What a worker tells of them.
        """
        self.encoded.of(model).add(tally.rows)
        for field, cells in tally.missing.items():
            self.missing.of(model, field).add(cells)
        for field, values in tally.unknown.items():
            self.unknown.of(model, field).add(values)
        for name, spread in tally.nats.items():
            self.spreads[name].of(model, edges=spread.edges).merge(spread.counts, 0.0)
            self.nats.of(model, name, "positive").add(spread.gained)
            self.nats.of(model, name, "negative").add(spread.lost)


class Metrics:
    """All metrics of one server: a collector for a registry of its own.

    Example:
        >>> metrics = Metrics()
        >>> metrics.serves({"flights": ("score",)})
        >>> metrics.labels("flights", "score"), metrics.labels("flights", "rob"), metrics.labels("no such", "thing")
        (('flights', 'score'), ('flights', 'other'), ('other', 'other'))
        >>> metrics.asked("flights", "score", "http").add(200, 0.02, came=10, went=20, rows=1)
    """

    def __init__(self) -> None:
        asked = ("model", "query")
        self.requests = Counter("vaekit_requests", "Requests that were answered", (*asked, "protocol", "status"))
        self.failures = Counter("vaekit_request_failures", "Requests without an answer, by reason", (*asked, "reason"))
        self.seconds = Histogram(
            "vaekit_request_duration_seconds", "Time from a request to its answer", asked, edges=LATENCIES
        )
        self.came = Counter("vaekit_request_body_bytes", "Bytes of the bodies of requests", asked)
        self.went = Counter("vaekit_response_body_bytes", "Bytes of the bodies of answers", asked)
        self.answered_rows = Counter("vaekit_rows", "Rows that were answered", asked)
        self.denied = Counter("vaekit_auth_rejections", "Requests that authorisation refused, by reason", ("reason",))
        self.feedback = Counter("vaekit_feedback", "Remarks on answers that were taken, by model", ("model",))
        self.waits = Histogram(
            "vaekit_queue_delay_seconds", "Time that requests waited for a worker", asked, edges=SHORT
        )
        self.batches = Counter("vaekit_batches", "Batches given to workers, by what sent them off", ("reason",))
        self.batch_rows = Histogram("vaekit_batch_rows", "Rows of a batch", edges=ROWS)
        self.batch_requests = Histogram("vaekit_batch_requests", "Requests of a batch", edges=REQUESTS)
        self.invocations = Counter("vaekit_invocations", "Requests that were put to a model", asked)
        self.inference = Histogram(
            "vaekit_inference_duration_seconds", "Time that the model took for a group of requests", asked, edges=SHORT
        )
        self.device = Counter(
            "vaekit_device_seconds", "Time that workers were held, reading and writing included", asked
        )
        self.cold_starts = Counter("vaekit_cold_starts", "Times that a worker loaded and warmed its models")
        self.start_seconds = Histogram(
            "vaekit_cold_start_duration_seconds", "Time from starting a worker until its models were warm", edges=STARTS
        )
        self.restarts = Counter("vaekit_worker_restarts", "Workers that were replaced, by reason", ("reason",))
        self.seen = Rows()
        held = [*vars(self).values(), *vars(self.seen).values(), *self.seen.spreads.values()]
        self._families: list[Counter | Histogram | Gauge] = [
            one for one in held if isinstance(one, Counter | Histogram)
        ]
        self.gauge(
            Gauge(
                "vaekit_build_info",
                "The release that runs",
                lambda: {(__version__, platform.python_version()): 1.0},
                ("version", "python"),
            )
        )
        self._queries: dict[str, frozenset[str]] = {}
        self._asked: dict[tuple[str, str, str], Requests] = {}
        self._batched: dict[tuple[str, str], Batches] = {}
        self._registry: CollectorRegistry | None = None

    def gauge(self, gauge: Gauge) -> None:
        """Add a number that is read when somebody asks."""
        self._families.append(gauge)

    def serves(self, queries: Mapping[str, Iterable[str]]) -> None:
        """Tell which models are served, with their queries: names that may become labels from now on."""
        self._queries = {name: frozenset(found) for name, found in queries.items()}

    def labels(self, model: str, query: str) -> tuple[str, str]:
        """The labels of a model and a query that a caller named."""
        if not model:
            return NONE, NONE
        known = self._queries.get(model)
        if known is None:
            return OTHER, OTHER
        return model, query if query in known else OTHER if query else NONE

    def asked(self, model: str, query: str, protocol: str) -> Requests:
        """The numbers that requests of one kind add to.

        Args:
            model: Label of the model, see `labels`.
            query: Label of the query.
            protocol: How they come; one of a few.
        """
        key = model, query, protocol
        found = self._asked.get(key)
        if found is None:
            found = self._asked[key] = Requests(self, *key)
        return found

    def group(self, model: str, query: str, requests: int, inference: float, device: float) -> None:
        """Count requests of a batch that were put to a model together.

        Args:
            model: The model.
            query: The query.
            requests: How many requests.
            inference: Seconds that the model took.
            device: Seconds that a worker was held for them.
        """
        found = self._batched.get((model, query)) or self._batches(*self.labels(model, query))
        found.invocations.add(requests)
        found.inference.observe(inference)
        found.device.add(device)

    def tallied(self, model: str, tally: Tally) -> None:
        """Count what a worker tells of the rows of a model."""
        self.seen.add(self.labels(model, "")[0], tally)

    def collect(self) -> Iterator[Metric]:
        """Every metric, as Prometheus knows it."""
        for family in self._families:
            yield family.collect()

    @property
    def registry(self) -> CollectorRegistry:
        """The registry of this server, with the metrics of its process."""
        if self._registry is None:
            from prometheus_client import CollectorRegistry, ProcessCollector

            self._registry = CollectorRegistry(auto_describe=False)
            self._registry.register(self)
            ProcessCollector(registry=self._registry)
        return self._registry

    async def render(self) -> bytes:
        """All metrics as text. The event loop gets a turn after each metric, so nobody waits long for a scrape."""
        from prometheus_client import generate_latest

        parts = []
        for metric in self.registry.collect():
            parts.append(generate_latest(_Only(metric)))
            await asyncio.sleep(0)
        return b"".join(parts)

    def _batches(self, model: str, query: str) -> Batches:
        asked = model, query
        found = self._batched[asked] = Batches(
            self.invocations.of(*asked),
            self.inference.of(*asked),
            self.device.of(*asked),
        )
        return found


class _Only:
    """A collector of one metric."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> list[Metric]:
        """The metric."""
        return [self._metric]
