"""An anomaly as it stands, and what one tick changed about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from metricwatch.anomalies.components import Component


class Action(StrEnum):
    """What happened to an anomaly."""

    OPENED = "opened"
    UPDATED = "updated"
    CLOSED = "closed"


class Kind(StrEnum):
    """How long it lasted: a moment, or longer than `collectiveAfter`."""

    POINT = "point"
    COLLECTIVE = "collective"


class State(StrEnum):
    """Where an anomaly stands. Acknowledging is done by people and is no concern of a detector."""

    OPEN = "open"
    RESOLVED = "resolved"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Anomaly:
    """One anomaly of one series; times in unix seconds, values in the series' unit.

    `components` are the channels to blame at the peak, when the series is a system.
    """

    started_at: int
    last_anomalous_at: int
    peak_at: int
    ended_at: int | None
    state: State
    kind: Kind
    severity: str
    direction: str
    samples: int
    peak_score: float
    peak_rarity: float
    peak_value: float
    peak_expected: float
    peak_lower: float
    peak_upper: float
    peak_typical: float
    components: tuple[Component, ...] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """What became of the anomaly of one series in one tick.

    Attributes:
        action: Opened, updated or closed.
        series: Index of the series in the verdicts.
        time: The tick it was decided for, unix seconds.
        anomaly: As it is after the change.
        late: Decided long after its time (catching up): worth recording, not announcing.
    """

    action: Action
    series: int
    time: int
    anomaly: Anomaly
    late: bool
