"""How versions of a model come to be: training, tuning, the quality gate, the rollout."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from metricwatch.durations import Duration
from metricwatch.resources.formats import OptionalCron, PositiveDuration, Quantity, Time, TimeZone
from metricwatch.resources.schema import ApiModel, Rule


class Scope(StrEnum):
    """How many series one network learns from."""

    PER_SERIES = "perSeries"
    SHARED = "shared"
    MULTIVARIATE = "multivariate"


class Strategy(StrEnum):
    """Where the training window begins."""

    SLIDING = "sliding"
    EXPANDING = "expanding"


class MissingPolicy(StrEnum):
    """What stands where no sample is."""

    INTERPOLATE = "interpolate"
    ZERO = "zero"
    SKIP = "skip"


class Scaling(StrEnum):
    """How values of different series are made comparable."""

    ROBUST = "robust"
    STANDARD = "standard"
    MINMAX = "minmax"
    NONE = "none"


class FailurePolicy(StrEnum):
    """What happens to a version that the quality gate refuses."""

    KEEP_SERVING = "KeepServing"
    PROMOTE = "Promote"


class RolloutStrategy(StrEnum):
    """How a new version takes over."""

    IMMEDIATE = "Immediate"
    SHADOW = "Shadow"


class Resources(ApiModel):
    """Requests and limits of a container."""

    requests: Annotated[dict[str, Quantity], Field(max_length=16)] = Field(
        default={}, description="requests are set aside for the container, like {cpu: 500m}."
    )
    limits: Annotated[dict[str, Quantity], Field(max_length=16)] = Field(
        default={},
        description="limits are what the container may use at most, like {memory: 1Gi}.",
    )


class Exclusion(ApiModel):
    """A stretch of history that teaches nothing."""

    rules = (
        Rule(
            message="from must be before to",
            cel="self.from < self.to",
            holds=lambda exclusion: exclusion.start < exclusion.end,
        ),
    )

    start: Time = Field(alias="from", description="from is the first moment left out, RFC 3339.")
    end: Time = Field(alias="to", description="to is the first moment used again, RFC 3339.")
    reason: Annotated[str, Field(max_length=256)] = Field(
        default="", description="reason why it is left out, for people."
    )


class Training(ApiModel):
    """What is learned from, and when."""

    window: PositiveDuration = Field(
        default="14d",
        validate_default=True,
        description="window is how much history is learned from.",
    )
    strategy: Strategy = Field(
        default=Strategy.SLIDING,
        description="strategy is sliding (the latest window) or expanding (from the start of the "
        "first version's window).",
    )
    schedule: OptionalCron = Field(
        default="",
        description="schedule is a cron line in timeZone, like '0 3 * * *'. Empty: training runs "
        "only when the spec changes and on request.",
    )
    time_zone: TimeZone = Field(
        default="UTC", description="timeZone of schedule, like Europe/Berlin."
    )
    missing: MissingPolicy = Field(
        default=MissingPolicy.INTERPOLATE,
        description="missing says what stands in a gap of the history: interpolate, zero or skip.",
    )
    scaling: Scaling = Field(
        default=Scaling.ROBUST,
        description="scaling makes series comparable: robust, standard, minmax or none.",
    )
    exclude: Annotated[tuple[Exclusion, ...], Field(max_length=100)] = Field(
        default=(),
        description="exclude lists stretches of history that teach nothing, like outages.",
    )
    retrain_on_drift: bool = Field(
        default=True,
        description="retrainOnDrift trains anew when the serving version reports that series are "
        "no longer as it learned them, at most once in a seventh of the window.",
    )
    exclude_anomalies: bool = Field(
        default=True,
        description="excludeAnomalies leaves recorded anomalies out of the history. A family that "
        "learns from labels is given them as such, whatever is said here.",
    )
    min_samples: Annotated[int, Field(ge=1, le=10_000_000)] = Field(
        default=96,
        description="minSamples is how many samples a series needs; one with fewer is left out.",
    )
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = Field(
        default=0, description="seed of everything random: the same history gives the same model."
    )
    timeout: PositiveDuration = Field(
        default="1h", validate_default=True, description="timeout of one training run."
    )
    parallelism: Annotated[int, Field(ge=1, le=64)] = Field(
        default=1, description="parallelism is the number of pods that share a training run."
    )
    resources: Resources = Field(default=Resources(), description="resources of a trainer pod.")


class Tuning(ApiModel):
    """Search for parameters."""

    enabled: bool = Field(default=False, description="enabled turns the search on.")
    trials: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=30, description="trials is the most parameter sets that are tried for a watch."
    )
    timeout: PositiveDuration = Field(
        default="30m",
        validate_default=True,
        description="timeout of the whole search, in addition to training.timeout.",
    )
    parallelism: Annotated[int, Field(ge=1, le=64)] = Field(
        default=1, description="parallelism is the number of pods that search."
    )


class QualityGate(ApiModel):
    """What a new version must show before it serves."""

    enabled: bool = Field(
        default=True, description="enabled holds every new version to the limits below."
    )
    failure_policy: FailurePolicy = Field(
        default=FailurePolicy.KEEP_SERVING,
        description="failurePolicy says what happens to a version that fails: KeepServing (the "
        "one before goes on) or Promote (it serves all the same, and a condition says so).",
    )
    max_anomaly_rate: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.02,
        description="maxAnomalyRate is the largest share of anomalous samples on history, "
        "after policy.",
    )
    min_synthetic_recall: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.7,
        description="minSyntheticRecall is the least share found of injected spikes, level "
        "shifts, flat lines and trend breaks.",
    )
    max_regression: Annotated[float, Field(ge=0, le=100)] = Field(
        default=0.1,
        description="maxRegression is how much larger, as a share, the error may be than the "
        "serving version's on the same held-back window.",
    )


class Shadow(ApiModel):
    """How long a candidate runs beside the serving version."""

    duration: PositiveDuration = Field(
        default="30m", validate_default=True, description="duration of the comparison."
    )
    max_anomaly_rate_ratio: Annotated[float, Field(gt=0, le=1000)] = Field(
        default=2.0,
        description="maxAnomalyRateRatio is how many times as many samples as the serving version "
        "finds the candidate may find anomalous.",
    )


class Rollout(ApiModel):
    """How a new version takes over."""

    strategy: RolloutStrategy = Field(
        default=RolloutStrategy.IMMEDIATE,
        description="strategy is Immediate (as soon as its detectors are ready) or Shadow (after "
        "a comparison with the serving version).",
    )
    shadow: Shadow = Field(
        default=Shadow(), description="shadow holds the terms of strategy Shadow."
    )
    auto_promote: bool = Field(
        default=True,
        description="autoPromote lets a new version serve by itself. When false it stays a "
        "candidate until the annotation metricwatch.io/promote-version or spec.version names it.",
    )
    rollback_window: Duration = Field(
        default="10m",
        validate_default=True,
        description="rollbackWindow is how long the version before runs on beside a new one, "
        "which is rolled back once when it crashes, scores nothing or finds far more anomalous "
        "than the one before. 0s: the version before goes at once.",
    )


class Detector(ApiModel):
    """The Deployment that scores."""

    shards: Annotated[int, Field(ge=1, le=256)] = Field(
        default=1, description="shards into which the series are divided, a Deployment each."
    )
    replicas: Annotated[int, Field(ge=1, le=5)] = Field(
        default=1,
        description="replicas of each shard. They do the same work, so one may fail unnoticed.",
    )
    resources: Resources = Field(default=Resources(), description="resources of a detector pod.")
