"""The operator's own metrics, in the shapes of controller-runtime.

Objects are labels only while they are in trouble, in `troubles`.
"""

from __future__ import annotations

from collections import Counter as Counts
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from metricwatch_operator.planning.actions import CreateVersion, Serve, SetState, StoreWrite
from metricwatch_operator.troubles import Troubles


class Metrics:
    """Everything that is counted; one instance for the process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.reconciles = Counter(
            "metricwatch_reconcile",
            "Reconciles by outcome.",
            ["outcome"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "metricwatch_reconcile_duration_seconds",
            "How long one reconcile took.",
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
            registry=self.registry,
        )
        self.errors = Counter(
            "metricwatch_reconcile_errors",
            "Failed reconciles by reason.",
            ["reason"],
            registry=self.registry,
        )
        self.leader = Gauge(
            "metricwatch_leader", "1 while this replica reconciles.", registry=self.registry
        )
        self.last_event = Gauge(
            "metricwatch_watch_last_event_timestamp_seconds",
            "When the API server last told of a change.",
            registry=self.registry,
        )
        self.backlog = Gauge(
            "metricwatch_reconcile_backlog",
            "Keys that wait for a reconcile.",
            registry=self.registry,
        )
        self.oldest = Gauge(
            "metricwatch_reconcile_backlog_age_seconds",
            "How long the oldest of them has waited.",
            registry=self.registry,
        )
        self.moves = Counter(
            "metricwatch_version_moves",
            "Model versions that were made, became something else, or took over, by reason.",
            ["move", "reason"],
            registry=self.registry,
        )
        self.conditions = ConditionCounts()
        self.registry.register(self.conditions)
        self.troubles = Troubles()
        self.registry.register(self.troubles)
        ProcessCollector(registry=self.registry)

    def look_at(self, resources: Iterable[Mapping[str, Any]]) -> None:
        """Counts what is the case with these resources, and names those in trouble."""
        looked_at = tuple(resources)
        self.conditions.replace(looked_at)
        self.troubles.replace(looked_at)

    def count(self, writes: Iterable[StoreWrite]) -> None:
        """Counts what became of versions; the reason is that of the version that goes."""
        for step in writes:
            match step:
                case CreateVersion():
                    self.moves.labels("Training", step.reason).inc()
                case SetState():
                    self.moves.labels(str(step.state), str(step.reason)).inc()
                case Serve():
                    self.moves.labels(str(step.how), str(step.reason)).inc()

    def watch_queue(self, depth: Callable[[], float], age: Callable[[], float]) -> None:
        """Reads the work queue at each scrape."""
        self.backlog.set_function(depth)
        self.oldest.set_function(age)


class ConditionCounts(Collector):
    """How many resources have which condition, versions by state, and who waits to be trained.

    `metricwatch_condition{kind,type,status}`, `metricwatch_versions{state}` and
    `metricwatch_training_queue`.
    """

    def __init__(self) -> None:
        self._counts: Counts[tuple[str, str, str]] = Counts()
        self._versions: Counts[str] = Counts()
        self._queue = 0

    def replace(self, resources: Iterable[Mapping[str, Any]]) -> None:
        """Counts the conditions of these resources, and forgets those counted before."""
        statuses = [(str(one["kind"]), one.get("status") or {}) for one in resources]
        self._counts = Counts(
            (kind, str(condition["type"]), str(condition["status"]))
            for kind, status in statuses
            for condition in status.get("conditions") or ()
        )
        self._versions = Counts(
            str(version["state"])
            for _, status in statuses
            for version in status.get("versions") or ()
        )
        self._queue = sum("queuePosition" in status for _, status in statuses)

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """One sample for each combination that occurs."""
        family = GaugeMetricFamily(
            "metricwatch_condition",
            "Resources by condition.",
            labels=["kind", "type", "status"],
        )
        for labels, count in sorted(self._counts.items()):
            family.add_metric(labels, count)
        yield family
        versions = GaugeMetricFamily(
            "metricwatch_versions", "Model versions by state.", labels=["state"]
        )
        for state, count in sorted(self._versions.items()):
            versions.add_metric((state,), count)
        yield versions
        yield GaugeMetricFamily(
            "metricwatch_training_queue",
            "Models whose next version waits for others to be trained.",
            value=self._queue,
        )
