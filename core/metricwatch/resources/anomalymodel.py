"""AnomalyModel: how to learn."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from metricwatch.resources.algorithm import Algorithm
from metricwatch.resources.conditions import Condition
from metricwatch.resources.family_names import NETWORKS
from metricwatch.resources.formats import StatusTime
from metricwatch.resources.meta import Metadata
from metricwatch.resources.schema import ApiModel, Rule, StatusModel
from metricwatch.resources.source import Source
from metricwatch.resources.training import Detector, QualityGate, Rollout, Scope, Training, Tuning


class VersionState(StrEnum):
    """Where a model version stands."""

    # Its trainer Job runs.
    TRAINING = "Training"
    # It is trained, and its detectors start beside the serving ones.
    CANDIDATE = "Candidate"
    # It opens anomalies and notifies.
    SERVING = "Serving"
    # Another version took over from it.
    RETIRED = "Retired"
    # Its training run failed.
    FAILED = "Failed"
    # The quality gate or the comparison with the serving version refused it, or it was rolled
    # back.
    REJECTED = "Rejected"


class AnomalyModelSpec(ApiModel):
    """How to learn. Every field has a default: an empty spec is a working model."""

    rules = (
        Rule(
            message="scope shared needs algorithm.type lstm or tcn: only a network can be one for "
            "all series",
            cel=f"self.scope != 'shared' || self.algorithm.type in {list(map(str, NETWORKS))}",
            holds=lambda spec: spec.scope is not Scope.SHARED or spec.algorithm.type in NETWORKS,
        ),
    )

    algorithm: Algorithm = Field(
        default=Algorithm(), description="algorithm that learns, with its parameters."
    )
    scope: Scope = Field(
        default=Scope.PER_SERIES,
        description="scope is perSeries (a model for each series), shared (one network for all "
        "series, with type lstm or tcn) or multivariate (the series of a watch are one system).",
    )
    source: Source = Field(
        default=Source(), description="source is the metrics server of watches that name none."
    )
    training: Training = Field(
        default=Training(), description="training says what is learned from, and when."
    )
    tuning: Tuning = Field(default=Tuning(), description="tuning searches for parameters.")
    quality_gate: QualityGate = Field(
        default=QualityGate(),
        description="qualityGate is what a new version must show before it serves.",
    )
    rollout: Rollout = Field(default=Rollout(), description="rollout of a new version.")
    version: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = Field(
        default=None,
        description="version pins the version that serves, to roll back or forward, whatever "
        "training brings. Unset: the latest good one.",
    )
    version_history_limit: Annotated[int, Field(ge=1, le=50)] = Field(
        default=5, description="versionHistoryLimit is how many retired versions are kept."
    )
    detector: Detector = Field(default=Detector(), description="detector that scores.")
    suspend: bool = Field(
        default=False,
        description="suspend stops training and scoring; what has been learned is kept.",
    )


class TimeRange(StatusModel):
    """A stretch of time."""

    start: StatusTime = Field(alias="from", description="from is its first moment.")
    end: StatusTime = Field(alias="to", description="to is its last moment.")


class VersionStatus(StatusModel):
    """One model version."""

    version: int = Field(description="version is its number.")
    state: VersionState = Field(
        description="state is Training, Candidate, Serving, Retired, Failed or Rejected."
    )
    reason: Annotated[str, Field(max_length=128)] = Field(
        default="", description="reason for the state, one word in CamelCase."
    )
    message: Annotated[str, Field(max_length=4096)] = Field(
        default="", description="message tells a person what is the case and what to do."
    )
    trained_at: StatusTime | None = Field(
        default=None, description="trainedAt is when its training run ended."
    )
    window: TimeRange | None = Field(
        default=None, description="window of history that it learned from."
    )
    algorithm: Annotated[str, Field(max_length=128)] = Field(
        default="",
        description="algorithm that learned; auto when it chose different ones for its series.",
    )
    families: Annotated[dict[str, int], Field(max_length=32)] = Field(
        default={},
        description="families that learned, each with how many series it has: what auto chose.",
    )
    quality: Annotated[dict[str, float], Field(max_length=32)] = Field(
        default={},
        description="quality holds the numbers of its report: of the version, and of the serving "
        "version beside it on the same samples.",
    )
    verdict: Annotated[str, Field(max_length=32)] = Field(
        default="",
        description="verdict of the quality gate by the limits as they are now: Successful, "
        "Failed, Error (could not measure) or Inconclusive (too little to go by).",
    )
    data_hash: Annotated[str, Field(max_length=128)] = Field(
        default="", description="dataHash identifies the history that it learned from."
    )


class Failure(StatusModel):
    """What went wrong last."""

    reason: Annotated[str, Field(max_length=128)] = Field(
        description="reason of the failure, one word in CamelCase."
    )
    message: Annotated[str, Field(max_length=4096)] = Field(
        default="", description="message tells a person what is the case and what to do."
    )
    version: int | None = Field(default=None, description="version that failed.")
    time: StatusTime = Field(description="time of the failure.")


class AnomalyModelStatus(StatusModel):
    """What is true about the model. Written by the operator only."""

    observed_generation: int = Field(
        default=-1,
        description="observedGeneration is the metadata.generation that this status is about; "
        "-1 until the operator has looked at the model.",
    )
    serving_version: int | None = Field(
        default=None, description="servingVersion is the version that finds anomalies."
    )
    candidate_version: int | None = Field(
        default=None, description="candidateVersion is the version that is about to serve."
    )
    last_training_time: StatusTime | None = Field(
        default=None, description="lastTrainingTime is when the latest training run ended."
    )
    next_training_time: StatusTime | None = Field(
        default=None,
        description="nextTrainingTime is when the next run begins by itself, as far as that is "
        "known: by schedule, another try, or when what holds it back is over.",
    )
    queue_position: int | None = Field(
        default=None,
        description="queuePosition is how many training runs of other models come first, while a "
        "version waits for its turn.",
    )
    series: int | None = Field(
        default=None, description="series is how many series the serving version scores."
    )
    watches: int | None = Field(
        default=None, description="watches is how many MetricWatches refer to this model."
    )
    estimated_detector_memory: Annotated[str, Field(max_length=32)] | None = Field(
        default=None,
        description="estimatedDetectorMemory is about what one detector pod holds, like 120Mi: of "
        "the series that are known, or of maxSeries before anything has run.",
    )
    estimated_training_memory: Annotated[str, Field(max_length=32)] | None = Field(
        default=None,
        description="estimatedTrainingMemory is about what one pod of the next training run "
        "holds, like 900Mi: by the sizes of the watches, and by the run before.",
    )
    estimated_training_time: Annotated[str, Field(max_length=48)] | None = Field(
        default=None,
        description="estimatedTrainingTime is about how long the next training run takes, like "
        "4m30s; unset before the first one.",
    )
    last_failure: Failure | None = Field(
        default=None, description="lastFailure is the latest thing that went wrong."
    )
    versions: Annotated[tuple[VersionStatus, ...], Field(max_length=64)] = Field(
        default=(),
        description="versions, newest first.",
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["version"],
        },
    )
    conditions: Annotated[tuple[Condition, ...], Field(max_length=32)] = Field(
        default=(),
        description="conditions: Ready, Trained, GatePassed, DetectorAvailable, DataAvailable, "
        "Drifted, StoreAvailable; Reconciling and Stalled only while True.",
        json_schema_extra={
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
        },
    )


class AnomalyModel(ApiModel):
    """AnomalyModel says how to learn how metrics behave."""

    # The name becomes a label value on every child, and labels end at 63 characters.
    rules = (
        Rule(
            message="metadata.name must be at most 63 characters",
            cel="self.metadata.name.size() <= 63",
            holds=lambda model: len(model.metadata.name) <= 63,
        ),
    )

    api_version: Literal["metricwatch.io/v1alpha1"] = "metricwatch.io/v1alpha1"
    kind: Literal["AnomalyModel"] = "AnomalyModel"
    metadata: Metadata
    spec: AnomalyModelSpec = Field(
        default=AnomalyModelSpec(), description="spec says how to learn."
    )
    status: AnomalyModelStatus = Field(
        default=AnomalyModelStatus(), description="status says what is true."
    )
