"""The detector's own health as metrics, with labels that grow with watches, never with series.

What is about single series is in `exposition`. A metric of a watch that goes away goes with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.metrics import MetricWrapperBase

import metricwatch
from metricwatch_detector.exposition import WatchLabels

_WATCH = ("watch_namespace", "watch", "model")
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


@dataclass(frozen=True, slots=True)
class Waits:
    """What grows by itself while nothing happens, in seconds; None where there is nothing to say.

    Attributes:
        scoring: since the oldest tick that is not scored yet was due; the serving version's only.
        storing: that the oldest tick has waited to be stored and decided.
        longest_age: of the newest sample, while samples come as they should.
    """

    scoring: float | None = None
    storing: float | None = None
    longest_age: float | None = None


class Telemetry:
    """Metrics of one detector process."""

    def __init__(self, *, version: int, shard: int) -> None:
        self.registry = CollectorRegistry()
        self._systems: dict[WatchLabels, str] = {}
        info = self._gauge("metricwatch_build_info", "Which release runs.", "version")
        info.labels(metricwatch.__version__).set(1)
        serving = self._gauge(
            "metricwatch_detector_serving", "1 while this serves.", "model_version", "shard"
        )
        self._serving = serving.labels(str(version), str(shard))
        self.tick_seconds = Histogram(
            "metricwatch_detector_tick_duration_seconds",
            "From the answer of the source to new gauges.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._count_work()
        self._show_watches()
        ProcessCollector(registry=self.registry)

    def _count_work(self) -> None:
        prefix = "metricwatch_detector"
        self.ticks = self._counter(
            f"{prefix}_ticks",
            "Ticks by what became of them: scored, late (caught up) or missed (too old).",
            *_WATCH,
            "outcome",
        )
        self.errors = self._counter(f"{prefix}_errors", "Failed ticks.", "reason", *_WATCH)
        self.store_errors = self._counter(
            f"{prefix}_store_errors", "Failed attempts to use the database.", "reason"
        )
        self.artifact_errors = self._counter(
            f"{prefix}_artifact_errors", "Chunks of the version that cannot be used."
        )
        self.dropped = self._counter(
            f"{prefix}_dropped_ticks", "Ticks given up: the database was away too long.", *_WATCH
        )
        self.rows = self._counter(f"{prefix}_rows_written", "Rows written.", "table")
        self.backlog = self._gauge(
            f"{prefix}_store_backlog_ticks", "Ticks not stored yet.", *_WATCH
        )
        self.storing = self._gauge(
            f"{prefix}_store_waiting_seconds",
            "How long the oldest tick has waited to be stored and decided.",
            *_WATCH,
        )
        self.series = self._gauge(f"{prefix}_series", "Series by family.", *_WATCH, "family")
        self.left_out = self._gauge(
            f"{prefix}_series_left_out", "Series beyond maxSeries.", *_WATCH
        )

    def _show_watches(self) -> None:
        self.state = self._gauge("metricwatch_watch_state", "1 for its state.", *_WATCH, "state")
        self.open = self._gauge(
            "metricwatch_anomalies_open", "Open anomalies.", *_WATCH, "type", "severity"
        )
        self.last_sample = self._gauge(
            "metricwatch_last_sample_timestamp_seconds", "Time of the newest sample.", *_WATCH
        )
        self.lag = self._gauge(
            "metricwatch_detection_lag_seconds", "From a tick to its verdict.", *_WATCH
        )
        self.behind = self._gauge(
            "metricwatch_scoring_behind_seconds",
            "How long ago the oldest tick that is not scored yet was due.",
            *_WATCH,
        )
        self.longest_age = self._gauge(
            "metricwatch_sample_age_limit_seconds",
            "How old the newest sample is at most while samples come as they should.",
            *_WATCH,
        )
        self.system_series = self._gauge(
            "metricwatch_system_anomaly_series",
            "Series in the open anomaly of the watch's whole system; 0 while there is none.",
            *_WATCH,
            "system",
        )
        self.drift = self._gauge(
            "metricwatch_watch_drift_ratio",
            "Share of the series that are no longer as they were learned.",
            *_WATCH,
        )

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, labels, registry=self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def render(self) -> bytes:
        """All of it as Prometheus text."""
        return generate_latest(self.registry)

    def serve(self, serving: bool) -> None:
        """This version serves now, or does not any more."""
        self._serving.set(int(serving))

    def show_families(self, watch: WatchLabels, families: Mapping[str, int]) -> None:
        """Series of a watch by family."""
        for family, series in families.items():
            self.series.labels(*watch_values(watch), family).set(series)

    def show_state(self, watch: WatchLabels, state: str) -> None:
        """The state of a watch, and no other one."""
        _forget(self.state, watch)
        self.state.labels(*watch_values(watch), state).set(1)

    def show_waits(self, watch: WatchLabels, waits: Waits) -> None:
        """What has grown until now."""
        for metric, seconds in (
            (self.behind, waits.scoring),
            (self.storing, waits.storing),
            (self.longest_age, waits.longest_age),
        ):
            if seconds is None:
                _forget(metric, watch)
            else:
                metric.labels(*watch_values(watch)).set(seconds)

    def show_system(self, watch: WatchLabels, system: str, series: int) -> None:
        """How many series the open anomaly of a watch's system groups."""
        if self._systems.get(watch, system) != system:
            _forget(self.system_series, watch)
        self._systems[watch] = system
        self.system_series.labels(*watch_values(watch), system).set(series)

    def hide(self, watch: WatchLabels) -> None:
        """Drops what only the serving version shows."""
        self._systems.pop(watch, None)
        for metric in (self.open, self.last_sample, self.lag, self.drift, self.system_series):
            _forget(metric, watch)

    def forget(self, watch: WatchLabels) -> None:
        """Drops everything about a watch that is gone."""
        self.hide(watch)
        self.show_waits(watch, Waits())
        for metric in (
            self.ticks,
            self.errors,
            self.backlog,
            self.dropped,
            self.series,
            self.left_out,
            self.state,
        ):
            _forget(metric, watch)


def watch_values(watch: WatchLabels) -> tuple[str, str, str]:
    """The label values of a watch, in the order of its labels."""
    return watch.namespace, watch.watch, watch.model


def _forget(metric: MetricWrapperBase, watch: WatchLabels) -> None:
    metric.remove_by_labels(dict(watch.pairs()))
