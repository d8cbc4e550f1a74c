"""What the world is told about one watch: gauges, counts, and how it fares."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import structlog

from metricwatch.anomalies import Kind, Lifecycle, Policy, Verdicts
from metricwatch.series import Labels
from metricwatch.store.rows import HealthState, WatchHealth
from metricwatch_detector.exposition import SeriesGauges, WatchExposition
from metricwatch_detector.recording import Identity
from metricwatch_detector.telemetry import Telemetry, watch_values

_log = structlog.get_logger(__name__)


class Display:
    """The state of one watch and its newest tick."""

    def __init__(self, identity: Identity, telemetry: Telemetry) -> None:
        self.exposition = WatchExposition(identity.labels)
        self.state = HealthState.STARTING
        self._identity = identity
        self._telemetry = telemetry
        self._message = ""
        self._left_out = 0
        self._scored_at: int | None = None
        self._sampled_at: int | None = None
        self._lag: float | None = None
        self._drift: float | None = None

    def show(
        self,
        verdicts: Verdicts,
        *,
        lifecycle: Lifecycle,
        labels: Sequence[Labels],
        families: Mapping[str, int],
        drift: float | None,
        left_out: int,
        policy: Policy,
        serving: bool,
        damaged: bool,
        message: str,
        now: float,
    ) -> None:
        """Shows a tick; what belongs to the serving version only while `serving`.

        `damaged` says that a part of the version cannot be read, `message` which, and what else
        there is to know; `now` is the time of the source's clock.
        """
        own = self._identity.labels
        self._scored_at, self._left_out, self._drift = verdicts.time, left_out, drift
        self._lag = max(now - verdicts.time, 0.0)
        self.exposition.update(
            labels,
            SeriesGauges(
                value=verdicts.value,
                expected=verdicts.expected,
                lower=verdicts.lower,
                upper=verdicts.upper,
                score=verdicts.score,
                anomalous=lifecycle.open[: verdicts.series],
            ),
        )
        if self.exposition.series:
            self._sampled_at = verdicts.time
            self.enter(HealthState.ARTIFACT_DAMAGED if damaged else HealthState.SCORING, message)
        else:
            self.enter(HealthState.NO_DATA, "the query gives no series")
        self._telemetry.show_families(own, families)
        self._telemetry.left_out.labels(*watch_values(own)).set(left_out)
        if serving:
            self._show_serving(lifecycle, policy)
        else:
            self._telemetry.hide(own)

    def _show_serving(self, lifecycle: Lifecycle, policy: Policy) -> None:
        values = watch_values(self._identity.labels)
        tally = Counter(
            (
                Kind.COLLECTIVE if lifecycle.collective[slot] else Kind.POINT,
                policy.severity_of(float(lifecycle.peak_score[slot])),
            )
            for slot in np.flatnonzero(lifecycle.open)
        )
        # Zeros as well: an alert on a gauge that vanished would not know that it is over.
        for severity in policy.severities:
            for kind in Kind:
                gauge = self._telemetry.open.labels(*values, kind, severity.name)
                gauge.set(tally[kind, severity.name])
        self._telemetry.lag.labels(*values).set(self._lag or 0.0)
        if self._sampled_at is not None:
            self._telemetry.last_sample.labels(*values).set(self._sampled_at)
        if self._drift is not None:
            self._telemetry.drift.labels(*values).set(self._drift)

    def enter(self, state: HealthState, message: str) -> None:
        """Changes the state; one log line at each edge."""
        if state is not self.state:
            level = "info" if state is HealthState.SCORING else "warning"
            watch = self._identity.labels.watch
            getattr(_log, level)("state changed", watch=watch, state=state.value, detail=message)
        if (state, message) != (self.state, self._message):
            self.state, self._message = state, message
            self._telemetry.show_state(self._identity.labels, state.value)

    def health(self) -> WatchHealth:
        """How the watch fares, as a row."""
        return WatchHealth(
            watch_id=self._identity.watch_id,
            version=self._identity.version,
            part=self._identity.part,
            state=self.state,
            message=self._message,
            series=self.exposition.series,
            left_out=self._left_out,
            scored_at=self._scored_at,
            last_sample_at=self._sampled_at,
            lag_seconds=self._lag,
            drift=self._drift,
        )

    def close(self) -> None:
        """Shows nothing any more."""
        self.exposition.clear()
        self._telemetry.forget(self._identity.labels)
