"""When a deviation becomes an anomaly: the detection settings of a watch as plain numbers.

Everything here takes effect with the next tick and trains nothing. What a verdict is made of is in
`verdicts`, what becomes of a run of them in `lifecycle`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Self
from zoneinfo import ZoneInfo

import numpy as np
from croniter import croniter
from numpy.typing import NDArray

from metricwatch.resources.detection import Detection, Direction, MissingData
from metricwatch.scoring.threshold import threshold

CALM = 0.7
"""An open anomaly ends when scores stay below this share of the threshold (hysteresis): a series
that hovers around the threshold is one anomaly, not many."""
GONE_FOR_GOOD = 86400
"""Seconds after which an anomaly of missing data expires: such a series was removed, not
interrupted."""


@dataclass(frozen=True, slots=True)
class MaintenanceWindow:
    """A repeating time in which nothing is an anomaly."""

    schedule: str
    time_zone: str
    duration: int

    def covers(self, time: int) -> bool:
        """Whether `time` (unix seconds) lies in the window that began last."""
        return time < self.end(time)

    def end(self, time: int) -> int:
        """When the window that began last, at `time` or before, is over; unix seconds."""
        # croniter looks strictly before its starting point; starts are whole minutes.
        after = datetime.fromtimestamp(time + 1, ZoneInfo(self.time_zone))
        latest: datetime = croniter(self.schedule, after).get_prev(datetime)
        return int(latest.timestamp()) + self.duration

    def covers_each(self, times: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether it covers each of ascending `times`: a calendar is slow to ask."""
        end = self.end(int(times[0]))
        if self.end(int(times[-1])) == end:
            return np.asarray(times < end)
        return np.array([self.covers(time) for time in times.tolist()], np.bool_)


@dataclass(frozen=True, slots=True)
class Severity:
    """A name for anomalies whose peak score is `at_least` this."""

    at_least: float
    name: str


@dataclass(frozen=True, slots=True)
class Policy:
    """Detection settings of one watch; times in seconds, `threshold` as rarity."""

    interval: int
    threshold: float
    direction: Direction = Direction.BOTH
    least_absolute: float = 0.0
    least_relative: float = 0.0
    min_duration: int = 0
    anomalous: int = 1
    of: int = 1
    collective_after: int = 600
    cooldown: int = 300
    missing_is_anomaly: bool = False
    missing_after: int = 300
    maintenance: tuple[MaintenanceWindow, ...] = ()
    severities: tuple[Severity, ...] = (Severity(1.0, "warning"), Severity(3.0, "critical"))

    @classmethod
    def from_detection(cls, detection: Detection, *, interval_seconds: int) -> Self:
        """The policy a watch asks for; the false alarm budget becomes a rarity threshold."""
        return cls(
            interval=interval_seconds,
            threshold=threshold(detection.false_alarms_per_week, interval_seconds),
            direction=detection.direction,
            least_absolute=detection.min_deviation.absolute,
            least_relative=detection.min_deviation.relative,
            min_duration=round(detection.min_duration.seconds),
            anomalous=detection.samples.anomalous,
            of=detection.samples.of,
            collective_after=round(detection.collective_after.seconds),
            cooldown=round(detection.cooldown.seconds),
            missing_is_anomaly=detection.missing is MissingData.ANOMALY,
            missing_after=round(detection.missing_after.seconds),
            maintenance=tuple(
                MaintenanceWindow(
                    window.schedule, window.time_zone, round(window.duration.seconds)
                )
                for window in detection.maintenance
            ),
            severities=tuple(
                sorted(
                    (Severity(entry.at_least, entry.name) for entry in detection.severity),
                    key=lambda entry: entry.at_least,
                )
            ),
        )

    def in_maintenance(self, time: int) -> bool:
        """Whether any maintenance window covers `time` (unix seconds)."""
        return any(window.covers(time) for window in self.maintenance)

    def maintained(self, times: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether any maintenance window covers each of ascending `times`, at least one."""
        covered = np.zeros(len(times), np.bool_)
        for window in self.maintenance:
            covered |= window.covers_each(times)
        return covered

    def severity_of(self, score: float) -> str:
        """The name of the highest step the score reaches; the lowest one below all steps."""
        reached = [entry.name for entry in self.severities if score >= entry.at_least]
        return reached[-1] if reached else self.severities[0].name

    @property
    def memory(self) -> int:
        """Ticks after which a lifecycle that starts from nothing knows what goes on."""
        duration = -(-self.min_duration // self.interval)
        cooldown = -(-self.cooldown // self.interval)
        return max(2 * self.of + duration, cooldown) + 1

    @property
    def stale_after(self) -> int:
        """Seconds without a sample after which data counts as stopped."""
        return max(self.missing_after, self.interval)
