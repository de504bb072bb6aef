"""What Prometheus is told of a service."""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from trainer.serving.model import ServedModel

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
# Seconds; a row of a small model takes tens of microseconds.
_BUCKETS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)


class Metrics:
    """The figures of one service; used by one thread."""

    def __init__(self) -> None:
        """Begin to count."""
        # Of its own: two services in one process do not share figures.
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "fieldloop_serving_requests",
            "Inference requests, by who asked and what they were answered.",
            ("model", "version", "key", "status"),
            registry=self._registry,
        )
        self._rows = Counter(
            "fieldloop_serving_rows",
            "Rows of inference requests, scored or refused by the rules of their features.",
            ("model", "version", "outcome"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "fieldloop_serving_request_seconds",
            "From a request's first byte here to its answer.",
            ("model",),
            registry=self._registry,
            buckets=_BUCKETS,
        )
        self._swaps = Counter(
            "fieldloop_serving_swaps",
            "Versions that took over, and that were refused.",
            ("outcome",),
            registry=self._registry,
        )
        self._model = Gauge(
            "fieldloop_serving_model",
            "1 for the version that answers.",
            ("model", "version", "variant"),
            registry=self._registry,
        )
        self._in_flight = Gauge(
            "fieldloop_serving_requests_in_flight", "Requests being answered.", registry=self._registry
        )
        self._entities = Counter(
            "fieldloop_serving_entities",
            "Entities whose features were looked up, by view: found, stale (over the ttl), or unknown.",
            ("view", "outcome"),
            registry=self._registry,
        )
        self._messages = Counter(
            "fieldloop_serving_messages",
            "Messages of the topic of rows: answered, repeated by the broker, retained (no row), lost (QoS 0).",
            ("outcome",),
            registry=self._registry,
        )
        # Looking a child up by its labels costs more than counting.
        self._request_child = cache(self._requests.labels)
        self._rows_child = cache(self._rows.labels)
        self._seconds_child = cache(self._seconds.labels)

    def count_request(self, model: ServedModel, key: str, status: int, seconds: float) -> None:
        """Count one inference request."""
        name = model.manifest.name
        self._request_child(name, str(model.manifest.version), key, str(status)).inc()
        self._seconds_child(name).observe(seconds)

    def count_rows(self, model: ServedModel, scored: int, refused: int) -> None:
        """Count the rows of one request."""
        name, version = model.manifest.name, str(model.manifest.version)
        self._rows_child(name, version, "scored").inc(scored)
        if refused:
            self._rows_child(name, version, "refused").inc(refused)

    def count_entities(self, counts: Mapping[tuple[str, str], int]) -> None:
        """Count look-ups, by view and outcome."""
        for (view, outcome), count in counts.items():
            self._entities.labels(view, outcome).inc(count)

    def count_messages(self, outcome: str, n: int) -> None:
        """Count messages of a topic; any thread."""
        if n:
            self._messages.labels(outcome).inc(n)

    def watch_topics(self, is_up: Callable[[], bool]) -> None:
        """Tell whether the links to the topics are up, whenever the figures are asked for."""
        gauge = Gauge("fieldloop_serving_topics_up", "1 while both topics are linked.", registry=self._registry)
        gauge.set_function(is_up)

    def tell_model(self, model: ServedModel) -> None:
        """Say which version answers from now on."""
        self._model.clear()
        self._model.labels(model.manifest.name, str(model.manifest.version), model.variant.name).set(1)

    def count_swap(self, outcome: str) -> None:
        """Count a version that took over or was refused."""
        self._swaps.labels(outcome).inc()

    def text(self, in_flight: int) -> bytes:
        """Return all figures as Prometheus reads them."""
        self._in_flight.set(in_flight)
        return generate_latest(self._registry)
