"""Counts and measures what one master does, as text for Prometheus.

Each service has a registry of its own: a process may run several masters, and Buildbot or a plugin
of somebody else's may use the library, too. Labels have few values: routes as they are declared,
never the URLs that clients make up.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from functools import lru_cache
from typing import get_args

from prometheus_client import CollectorRegistry
from prometheus_client import Counter
from prometheus_client import Histogram
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import CounterMetricFamily
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from buildbot_selfserve.model import Job
from buildbot_selfserve.model import Measured
from buildbot_selfserve.model import QueueFigures
from buildbot_selfserve.model import ReasonCode

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"})
#: Stands for every method and every path that is none of ours.
OTHER = "other"
#: Seconds: a read takes milliseconds, a job request may wait for builds to stop.
BUCKETS = (0.0025, 0.01, 0.05, 0.25, 1.0, 5.0, 10.0, 60.0)


class Metrics:
    """Counts what one master is asked for."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "selfserve_requests",
            "Requests that were answered, or whose client has gone.",
            ("method", "route", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "selfserve_request_seconds",
            "Seconds from a request to its answer, without those that waited on purpose.",
            ("method", "route"),
            buckets=BUCKETS,
            registry=self._registry,
        )
        # there are few, and to find one by its labels takes the library as long as to count it
        self._requests_of = lru_cache(maxsize=1000)(self._requests.labels)
        self._seconds_of = lru_cache(maxsize=1000)(self._seconds.labels)
        self._jobs = Counter(
            "selfserve_job_requests",
            "Job requests whose row in the journal was closed.",
            ("action", "status"),
            registry=self._registry,
        )
        self._created = Counter(
            "selfserve_created_requests",
            "Build requests that job requests made.",
            registry=self._registry,
        )
        self._watched = _Watched()
        self._registry.register(self._watched)
        self._queue = _Queue()
        self._registry.register(self._queue)

    def answered(self, method: str, route: str, status: str, seconds: float | None) -> None:
        """Count an answer.

        :param route: the path as it was declared, or ``other``
        :param status: the status code, or ``gone`` for a client that did not wait
        :param seconds: how long it took; ``None`` when it waited on purpose
        """
        method = method if method in METHODS else OTHER
        self._requests_of(method, route, status).inc()
        if seconds is not None:
            self._seconds_of(method, route).observe(seconds)

    def job_ended(self, job: Job) -> None:
        """Count a job request whose row was closed."""
        self._jobs.labels(job.action, job.status).inc()
        self._created.inc(sum(one.outcome == "created" for one in job.requests))

    def watch(
        self, name: str, text: str, value: Callable[[], float], *, counts: bool = False
    ) -> None:
        """Let *value* be asked whenever somebody wants to see the metrics.

        :param counts: it only grows
        """
        self._watched.add(name, text, value, counts)

    def queue(self, figures: QueueFigures | None) -> None:
        """Let the metrics say what waits; ``None`` where that is not known."""
        self._queue.figures = figures

    def measured(self) -> Measured:
        """Return everything as text."""
        return Measured(generate_latest(self._registry), CONTENT_TYPE_LATEST)


class _Watched(Collector):
    """Values that are looked at when they are wanted."""

    def __init__(self) -> None:
        self._values: list[tuple[str, str, Callable[[], float], bool]] = []

    def add(self, name: str, text: str, value: Callable[[], float], counts: bool) -> None:
        self._values.append((name, text, value, counts))

    def collect(self) -> Iterator[Metric]:
        for name, text, value, counts in self._values:
            family = CounterMetricFamily if counts else GaugeMetricFamily
            yield family(name, text, value=value())


class _Queue(Collector):
    """What waits, as far as it is known."""

    def __init__(self) -> None:
        self.figures: QueueFigures | None = None

    def collect(self) -> Iterator[Metric]:
        if self.figures is None:
            return
        waiting = GaugeMetricFamily(
            "selfserve_waiting_requests",
            "Pending build requests of all masters, by the first reason why they wait.",
            labels=("reason",),
        )
        for code in get_args(ReasonCode):
            waiting.add_metric((code,), self.figures.reasons.get(code, 0))
        yield waiting
        oldest = GaugeMetricFamily(
            "selfserve_oldest_wait_seconds",
            "Seconds for which the oldest request waits for a set of workers.",
            labels=("workers",),
        )
        for workers, seconds in self.figures.oldest.items():
            oldest.add_metric((workers,), seconds)
        yield oldest
