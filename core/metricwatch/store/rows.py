"""The rows of the store as values: frozen, typed, times as integer unix seconds.

They are what the other rooms see of the database, so a decision can be written and tested against
them without one. Nothing here does any I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from metricwatch.assignments import WatchSettings
from metricwatch.resources.anomalymodel import VersionState
from metricwatch.series import Labels

JSON = Any
"""A value made of dict, list, str, int, float, bool and None."""


class HealthState(StrEnum):
    """How one detector shard fares with one watch; reasons of conditions are the same words."""

    # Loading artifacts or warming up; nothing scored yet.
    STARTING = "Starting"
    # Every tick is scored.
    SCORING = "Scoring"
    # Every tick is scored, but some series by the online family: their part of the version is
    # damaged.
    ARTIFACT_DAMAGED = "ArtifactDamaged"
    # The source does not answer.
    SOURCE_UNAVAILABLE = "SourceUnavailable"
    # The source refuses the credentials.
    SOURCE_UNAUTHORIZED = "SourceUnauthorized"
    # The Secret with the credentials is not mounted or lacks a key.
    SECRET_MISSING = "SecretMissing"  # noqa: S105 - a state, no secret
    # The source refuses the query.
    QUERY_REFUSED = "QueryRefused"
    # The query gives no series.
    NO_DATA = "NoData"


class AnomalyState(StrEnum):
    """Where an anomaly stands."""

    OPEN = "open"
    # Still going on, and a person has seen it.
    ACKNOWLEDGED = "acknowledged"
    # Over: the samples are normal again, or nobody watches any more.
    RESOLVED = "resolved"
    # Over because data stopped.
    EXPIRED = "expired"


class Feedback(StrEnum):
    """What a person says of an anomaly."""

    # A false alarm: what was seen is normal.
    DISMISSED = "dismissed"
    # A real one, however long it lasted.
    CONFIRMED = "confirmed"


@dataclass(frozen=True, slots=True)
class Slice:
    """The part of a watch's series that one detector looks after: `shard_of(labels) == shard`."""

    shards: int = 1
    shard: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.shard < self.shards:
            raise ValueError(f"there is no shard {self.shard} of {self.shards}")


WHOLE = Slice()
"""All series."""


@dataclass(frozen=True, slots=True)
class Version:
    """One model version.

    Attributes:
        id: of the row in `models`; artifacts are stored under it.
        version: number of the version within its model.
        request: what the trainer was asked for, `TrainingRequest` as JSON.
        request_hash: of the part of the request that training depends on.
        attempt: 1 for the first version made for this request, 2 for the next, …
        report: of the trainer; in an overview without its key `series`.
        ready_at: when its detectors were all ready for the first time.
        replaced: the version it took over from by itself, to which it may be rolled back; None
            when it was the first, was pinned, or came back by a rollback.
    """

    id: int
    version: int
    state: VersionState
    reason: str
    message: str
    request: Mapping[str, JSON]
    request_hash: str
    attempt: int
    code_version: str
    window_start: int | None
    window_end: int | None
    data_hash: str | None
    seed: int | None
    report: Mapping[str, JSON] | None
    created_at: int
    trained_at: int | None
    served_at: int | None
    retired_at: int | None
    ready_at: int | None = None
    replaced: int | None = None


class TakeOver(StrEnum):
    """How a version comes to serve."""

    # It earned its place; the version before may come back for a while.
    PROMOTED = "promoted"
    # A person named it.
    PINNED = "pinned"
    # The version that took over from it misbehaved.
    ROLLED_BACK = "rolledBack"


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What a trainer says about the version it made.

    Attributes:
        report: JSON; what grows with the number of series belongs under its key `series`.
    """

    window_start: int
    window_end: int
    data_hash: str
    seed: int
    code_version: str
    report: Mapping[str, JSON]


@dataclass(frozen=True, slots=True)
class Artifact:
    """One chunk of a version's parameters: at most 1,000 series of one family and one watch."""

    shard: int
    chunk: int
    family: str
    watch_uid: str
    series: int
    sha256: bytes
    content: bytes


@dataclass(frozen=True, slots=True)
class WatchRow:
    """One watch.

    Attributes:
        settings: None when this release cannot read what another one wrote.
        problem: why `settings` is None, else empty.
    """

    id: int
    uid: str
    namespace: str
    name: str
    generation: int
    settings: WatchSettings | None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class AnomalyRow:
    """One anomaly of one series, as it is now.

    Writing it again, or an older state of it after it ended, changes nothing. NaN is stored as
    NULL.

    Attributes:
        metric_id: of the series, as `register_series` gave it.
        started_at: with `metric_id` the key.
        direction: above, below or missing.
        explanation: JSON; whatever a reader needs beyond the columns.
    """

    metric_id: int
    started_at: int
    last_anomalous_at: int
    peak_at: int
    ended_at: int | None
    state: AnomalyState
    kind: str
    severity: str
    direction: str
    peak_score: float
    peak_value: float
    peak_expected: float
    samples: int
    explanation: Mapping[str, JSON] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Remark:
    """What a person said of an anomaly, why, who, and when in unix seconds."""

    feedback: Feedback
    reason: str
    by: str
    at: int


@dataclass(frozen=True, slots=True)
class StoredAnomaly:
    """An anomaly with what the database adds to it.

    Attributes:
        version: that opened it.
        remark: what a person said of it last, None when nobody did.
        anomaly: its `metric_id` is 0 when the series is no longer known.
    """

    id: int
    model_id: int
    watch_uid: str
    watch_name: str
    labels: Labels
    system: str
    version: int
    system_anomaly_id: int | None
    anomaly: AnomalyRow
    remark: Remark | None = None

    @property
    def is_dismissed(self) -> bool:
        """Whether a person called it a false alarm."""
        return self.remark is not None and self.remark.feedback is Feedback.DISMISSED

    @property
    def is_confirmed(self) -> bool:
        """Whether a person called it a real one."""
        return self.remark is not None and self.remark.feedback is Feedback.CONFIRMED


@dataclass(frozen=True, slots=True)
class SystemAnomaly:
    """Several series of one system anomalous at the same time.

    Attributes:
        members: ids of its anomalies; only added to, never taken from.
    """

    system: str
    started_at: int
    ended_at: int | None
    state: AnomalyState
    severity: str
    members: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class StoredSystemAnomaly:
    """A system anomaly with its row's id."""

    id: int
    anomaly: SystemAnomaly


@dataclass(frozen=True, slots=True)
class WatchHealth:
    """How one detector shard of one version fares with one watch.

    Attributes:
        series: how many it scores.
        left_out: how many the watch's `maxSeries` leaves out.
        scored_at: last tick scored.
        last_sample_at: time of the newest sample seen.
        lag_seconds: from a tick to its verdict.
        updated_at: when this was written; ignored when writing.
        drift: share of the series whose samples are no longer as the version learned them; None
            while too little was scored to tell.
    """

    watch_id: int
    version: int
    part: Slice
    state: HealthState
    message: str = ""
    series: int = 0
    left_out: int = 0
    scored_at: int | None = None
    last_sample_at: int | None = None
    lag_seconds: float | None = None
    updated_at: int = 0
    drift: float | None = None


@dataclass(frozen=True, slots=True)
class WatchOverview:
    """What the operator tells about one watch.

    Attributes:
        open_anomalies: how many are open or acknowledged, by severity; no entry when none.
        last_anomaly_at: start of the newest anomaly, over or not.
        health: of every version that wrote one, newest version first; of each version the shards
            of its present sharding only, by shard.
    """

    id: int
    uid: str
    namespace: str
    name: str
    generation: int
    open_anomalies: Mapping[str, int]
    last_anomaly_at: int | None
    health: tuple[WatchHealth, ...]

    def health_of(self, version: int | None) -> tuple[WatchHealth, ...]:
        """The health of one version's shards."""
        return tuple(health for health in self.health if health.version == version)


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two versions that scored the same samples, side by side.

    Counted over the samples that both scored, but for `samples` of each.

    Attributes:
        version: the one that is looked at: a candidate, or one that has just taken over.
        against: the one that is trusted.
        since: unix seconds, from when on samples are counted.
        until: newest tick that both scored, None when there is none.
        series: with a sample that both scored.
        common: samples that both scored.
        samples: that `version` scored.
        samples_against: that `against` scored.
        anomalous: of the common samples, anomalous to `version`.
        anomalous_against: of the common samples, anomalous to `against`.
        both: of the common samples, anomalous to both.
        stormy: series of which `version` finds more than half of the common samples anomalous and
            `against` does not.
    """

    version: int
    against: int
    since: int
    until: int | None
    series: int
    common: int
    samples: int
    samples_against: int
    anomalous: int
    anomalous_against: int
    both: int
    stormy: int


@dataclass(frozen=True, slots=True)
class ModelOverview:
    """Everything the operator's status of one model and its watches needs.

    Attributes:
        versions: newest first, reports without their key `series`.
        watches: by namespace and name.
        queue_position: of its newest version in training among those of all models that are not
            suspended, oldest first, from 0; None when none is in training.
    """

    id: int
    uid: str
    namespace: str
    name: str
    generation: int
    serving_version: int | None
    versions: tuple[Version, ...]
    watches: tuple[WatchOverview, ...]
    queue_position: int | None = None

    @property
    def serving(self) -> Version | None:
        """The version that serves."""
        return self.version_of(self.serving_version)

    def version_of(self, number: int | None) -> Version | None:
        """The version of this number; None when there is none, or no number."""
        return next((one for one in self.versions if one.version == number), None)
