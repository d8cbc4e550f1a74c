"""MetricWatch: what to watch."""

from typing import Annotated, Literal

from pydantic import Field

from metricwatch.durations import Duration
from metricwatch.resources.conditions import Condition
from metricwatch.resources.detection import Detection
from metricwatch.resources.formats import (
    LabelName,
    ObjectName,
    Query,
    StatusTime,
    WholeSeconds,
    Word,
)
from metricwatch.resources.meta import Metadata
from metricwatch.resources.notifications import Notification
from metricwatch.resources.schema import ApiModel, Rule, StatusModel
from metricwatch.resources.source import Source


class ModelRef(ApiModel):
    """An AnomalyModel in the watch's namespace."""

    name: ObjectName = Field(description="name of the AnomalyModel, in the same namespace.")


class NamedQuery(ApiModel):
    """One of several metrics of a watch."""

    name: Word = Field(description="name of the metric; it becomes the label query of its series.")
    expr: Query = Field(description="expr is its PromQL or MetricsQL expression.")


def _unique_names(what: str) -> Rule:
    return Rule(
        message=f"names of {what} must be unique",
        cel="self.all(entry, self.exists_one(other, other.name == entry.name))",
        holds=lambda entries: len({entry.name for entry in entries}) == len(entries),
    )


MOST_WATCHES = 200
"""Of one model: its rows, its training request and what its detectors ask grow with them."""


class MetricWatchSpec(ApiModel):
    """What to watch: a model and a query are enough."""

    rules = (
        Rule(
            message="set exactly one of query and queries",
            cel="has(self.query) != (has(self.queries) && self.queries.size() > 0)",
            holds=lambda spec: (spec.query is not None) != bool(spec.queries),
        ),
        Rule(
            message="notifications: minSeverity must be one of the names in detection.severity",
            cel="!has(self.notifications) || self.notifications.all(n, !has(n.minSeverity) "
            "|| n.minSeverity == '' || !has(self.detection) || !has(self.detection.severity) "
            "|| self.detection.severity.exists(s, s.name == n.minSeverity))",
            holds=lambda spec: all(
                entry.min_severity in {"", *(level.name for level in spec.detection.severity)}
                for entry in spec.notifications
            ),
        ),
    )

    model_ref: ModelRef = Field(
        description="modelRef names the AnomalyModel to learn with. "
        f"A model takes {MOST_WATCHES} watches; a condition says when one comes too many."
    )
    query: Query | None = Field(
        default=None,
        description="query is a PromQL or MetricsQL expression; each series it gives is watched.",
    )
    queries: Annotated[tuple[NamedQuery, ...], Field(max_length=32), _unique_names("queries")] = (
        Field(
            default=(),
            description="queries are several metrics in one watch, in place of query.",
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
            },
        )
    )
    group_by: Annotated[tuple[LabelName, ...], Field(max_length=16)] = Field(
        default=(),
        description="groupBy, with scope multivariate: series that agree on these labels form one "
        "system, with one score and components to blame.",
    )
    source: Source = Field(
        default=Source(), description="source overrides the model's metrics server."
    )
    interval: WholeSeconds = Field(
        default="1m",
        validate_default=True,
        description="interval at which samples are taken and scored, at least 1s.",
    )
    delay: Duration = Field(
        default="0s",
        validate_default=True,
        description="delay that late samples are waited for.",
    )
    system: Annotated[str, Field(max_length=253, pattern=r"^[-._a-zA-Z0-9]*$")] = Field(
        default="",
        description="system that the watch belongs to; watches of one system form one system "
        "anomaly when enough of it is anomalous. Empty: the name in modelRef.",
    )
    max_series: Annotated[int, Field(ge=1, le=100_000)] = Field(
        default=1000,
        description="maxSeries is the most series that are watched, the first by label order; a "
        "condition says when there are more.",
    )
    detection: Detection = Field(
        default=Detection(), description="detection says when a score becomes an anomaly."
    )
    notifications: Annotated[
        tuple[Notification, ...], Field(max_length=16), _unique_names("notifications")
    ] = Field(
        default=(),
        description="notifications say where anomalies are announced.",
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["name"],
        },
    )
    suspend: bool = Field(
        default=False, description="suspend stops scoring; open anomalies stay as they are."
    )


class MetricWatchStatus(StatusModel):
    """What is true about the watch. Written by the operator only."""

    observed_generation: int = Field(
        default=-1,
        description="observedGeneration is the metadata.generation that this status is about; "
        "-1 until the operator has looked at the watch.",
    )
    model_version: int | None = Field(
        default=None, description="modelVersion is the version that scores this watch."
    )
    series: int | None = Field(default=None, description="series is how many series are watched.")
    open_anomalies: int | None = Field(
        default=None, description="openAnomalies is how many anomalies are open."
    )
    last_anomaly_time: StatusTime | None = Field(
        default=None, description="lastAnomalyTime is when the latest anomaly started."
    )
    last_sample_time: StatusTime | None = Field(
        default=None,
        description="lastSampleTime is the time of the latest sample when something else of this "
        "status was last new. Samples that come in time make no write; DataFresh says when they "
        "do not.",
    )
    lag_seconds: int | None = Field(
        default=None,
        description="lagSeconds between a sample and its score; told anew when it is quite "
        "another one.",
    )
    conditions: Annotated[tuple[Condition, ...], Field(max_length=32)] = Field(
        default=(),
        description="conditions: Ready, ModelResolved, DataAvailable, DataFresh, "
        "SeriesWithinLimit; Reconciling and Stalled only while True.",
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
        },
    )


class MetricWatch(ApiModel):
    """MetricWatch says which metrics to watch."""

    # The name may become a label value on children, and labels end at 63 characters.
    rules = (
        Rule(
            message="metadata.name must be at most 63 characters",
            cel="self.metadata.name.size() <= 63",
            holds=lambda watch: len(watch.metadata.name) <= 63,
        ),
    )

    api_version: Literal["metricwatch.io/v1alpha1"] = "metricwatch.io/v1alpha1"
    kind: Literal["MetricWatch"] = "MetricWatch"
    metadata: Metadata
    spec: MetricWatchSpec = Field(description="spec says what to watch.")
    status: MetricWatchStatus = Field(
        default=MetricWatchStatus(), description="status says what is true."
    )
