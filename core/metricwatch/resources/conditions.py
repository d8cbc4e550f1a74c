"""Conditions: their types, their reasons, their shape.

A reason is one word for machines; the message beside it tells a person what to do. `Reconciling`
and `Stalled` are abnormal-true and present only while True, as kstatus expects.
"""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from metricwatch.resources.formats import StatusTime
from metricwatch.resources.schema import StatusModel


class ConditionType(StrEnum):
    """Every condition that either resource may carry."""

    # The one to wait for: the resource does what its spec asks.
    READY = "Ready"
    # Work towards the spec is under way; present only while True.
    RECONCILING = "Reconciling"
    # No progress without a change by a person; present only while True.
    STALLED = "Stalled"
    # AnomalyModel: a version has been trained for the present spec.
    TRAINED = "Trained"
    # AnomalyModel: the version trained last showed what the quality gate asks for.
    GATE_PASSED = "GatePassed"
    # AnomalyModel: the detectors of the serving version are ready.
    DETECTOR_AVAILABLE = "DetectorAvailable"
    # The source answers the queries with series.
    DATA_AVAILABLE = "DataAvailable"
    # AnomalyModel: many series are no longer as the serving version learned them.
    DRIFTED = "Drifted"
    # AnomalyModel: PostgreSQL can be read and written.
    STORE_AVAILABLE = "StoreAvailable"
    # MetricWatch: `modelRef` names a model that exists.
    MODEL_RESOLVED = "ModelResolved"
    # MetricWatch: the latest sample is no older than it may be.
    DATA_FRESH = "DataFresh"
    # MetricWatch: the query gives no more series than `maxSeries`.
    SERIES_WITHIN_LIMIT = "SeriesWithinLimit"


class Reason(StrEnum):
    """Why a condition has its status."""

    # Nothing is known yet: the first look is still to come.
    PENDING = "Pending"
    # The spec is being brought about.
    PROGRESSING = "Progressing"
    # The same, after a failure that is being retried.
    PROGRESSING_WITH_RETRY = "ProgressingWithRetry"
    # Something this resource needs is not ready yet.
    DEPENDENCY_NOT_READY = "DependencyNotReady"
    # `spec.suspend` is true: nothing is trained or scored.
    SUSPENDED = "Suspended"
    # The spec breaks a rule that the API server did not check.
    INVALID_SPEC = "InvalidSpec"
    # The spec asks for something that this release cannot do yet.
    NOT_SUPPORTED = "NotSupported"
    # A version serves and scores.
    SERVING = "Serving"
    # A watch is scored by its model's serving version.
    SCORING = "Scoring"
    # A trainer Job is running.
    TRAINING = "Training"
    # The latest training run succeeded.
    TRAINED = "Trained"
    # No version has been trained yet.
    NOT_TRAINED = "NotTrained"
    # The latest training run failed.
    TRAINING_FAILED = "TrainingFailed"
    # The trainer Job ran longer than `training.timeout`.
    TRAINING_TIMED_OUT = "TrainingTimedOut"
    # The images hold no such family of another package.
    UNKNOWN_FAMILY = "UnknownFamily"
    # The family cannot use `algorithm.external`.
    INVALID_PARAMETERS = "InvalidParameters"
    # The family learns from labels, and no recorded anomaly lies in the window.
    NO_LABELS = "NoLabels"
    # The history is too short, or empty.
    NOT_ENOUGH_DATA = "NotEnoughData"
    # No watch refers to the model, so there is nothing to learn from.
    NO_WATCHES = "NoWatches"
    # The version showed everything that the quality gate asks for.
    GATE_PASSED = "GatePassed"
    # `qualityGate.enabled` is false.
    GATE_DISABLED = "GateDisabled"
    # The trainer could not measure the version; it is trained again after a while.
    GATE_ERROR = "GateError"
    # There was too little history to judge the version by.
    GATE_INCONCLUSIVE = "GateInconclusive"
    # Too much of history is anomalous to the version.
    TOO_MANY_ANOMALIES = "TooManyAnomalies"
    # The version raises far more alarms than `falseAlarmsPerWeek` promises.
    ALARM_BUDGET_EXCEEDED = "AlarmBudgetExceeded"
    # The version misses too many of the anomalies put into history.
    RECALL_TOO_LOW = "RecallTooLow"
    # The version misses recorded anomalies that the serving one finds again.
    MISSES_RECORDED = "MissesRecorded"
    # The forecasts of the version are further off than those of the serving one.
    ERROR_TOO_LARGE = "ErrorTooLarge"
    # The version raises more alarms that people dismissed than the serving one.
    REPEATS_DISMISSED = "RepeatsDismissed"
    # A candidate, or a version that has just taken over, finds far more series anomalous than the
    # one beside it.
    ANOMALY_STORM = "AnomalyStorm"
    # It scores nothing, and the one beside it does.
    SCORES_NOTHING = "ScoresNothing"
    # Its detectors crash again and again, and those beside them do not.
    CRASH_LOOP = "CrashLoop"
    # A candidate leaves out too many samples that the serving version scores.
    MISSES_SAMPLES = "MissesSamples"
    # A candidate finds more samples anomalous than `rollout.shadow.maxAnomalyRateRatio` allows.
    ANOMALY_RATE_RATIO = "AnomalyRateRatio"
    # A candidate runs beside the serving version for `rollout.shadow.duration`.
    COMPARING = "Comparing"
    # The comparison is over its time, and too few samples were scored by both.
    COMPARISON_INCONCLUSIVE = "ComparisonInconclusive"
    # `rollout.autoPromote` is false, and nobody has named the candidate yet.
    AWAITING_PROMOTION = "AwaitingPromotion"
    # `spec.version` names another version.
    PINNED = "Pinned"
    # `spec.version` names a version that does not exist or cannot serve.
    VERSION_NOT_FOUND = "VersionNotFound"
    # The detectors are starting or warming up.
    DETECTOR_STARTING = "DetectorStarting"
    # Every detector is ready.
    DETECTOR_READY = "DetectorReady"
    # A detector that was asked for is not ready.
    DETECTOR_NOT_READY = "DetectorNotReady"
    # A part of a version cannot be read: its series are scored by a simpler family.
    ARTIFACT_DAMAGED = "ArtifactDamaged"
    # Samples come.
    DATA_RECEIVED = "DataReceived"
    # Series are as the serving version learned them.
    AS_LEARNED = "AsLearned"
    # A quarter of a watch's series, or more, are not.
    DRIFTED = "Drifted"
    # The model has as many watches as it takes without this one.
    TOO_MANY_WATCHES = "TooManyWatches"
    # Neither the watch, nor the model, nor the operator's configuration gives a source.
    SOURCE_MISSING = "SourceMissing"
    # The source's host is not among those that the operator's configuration allows.
    SOURCE_NOT_ALLOWED = "SourceNotAllowed"
    # The source does not answer.
    SOURCE_UNAVAILABLE = "SourceUnavailable"
    # The source refuses the credentials.
    SOURCE_UNAUTHORIZED = "SourceUnauthorized"
    # The Secret of `authRef` does not exist or lacks a key.
    SECRET_MISSING = "SecretMissing"  # noqa: S105 - a reason, no secret
    # The source refuses the query.
    QUERY_REFUSED = "QueryRefused"
    # The query gives no series.
    NO_DATA = "NoData"
    # Samples arrive in time.
    FRESH = "Fresh"
    # The latest sample is older than it may be.
    STALE = "Stale"
    # PostgreSQL answers.
    STORE_REACHABLE = "StoreReachable"
    # PostgreSQL does not answer.
    STORE_UNAVAILABLE = "StoreUnavailable"
    # PostgreSQL has a schema of another release.
    STORE_SCHEMA_MISMATCH = "StoreSchemaMismatch"
    # `modelRef` names an existing model.
    MODEL_FOUND = "ModelFound"
    # `modelRef` names no model in this namespace.
    MODEL_NOT_FOUND = "ModelNotFound"
    # The model exists, and no version of it serves yet.
    MODEL_NOT_READY = "ModelNotReady"
    # The query gives at most `maxSeries` series.
    WITHIN_LIMIT = "WithinLimit"
    # The query gives more series than `maxSeries`; the first by label order are watched.
    LIMIT_EXCEEDED = "LimitExceeded"


class Condition(StatusModel):
    """One observation about a resource, as the Kubernetes API conventions have it."""

    type: Annotated[str, Field(min_length=1, max_length=316)] = Field(
        description="type of the condition, one word in CamelCase."
    )
    status: Literal["True", "False", "Unknown"] = Field(
        description="status of the condition: True, False or Unknown."
    )
    reason: Annotated[
        str,
        Field(min_length=1, max_length=128, pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"),
    ] = Field(description="reason for the latest change, one word in CamelCase.")
    message: Annotated[str, Field(max_length=32768)] = Field(
        default="", description="message tells a person what is the case and what to do."
    )
    last_transition_time: StatusTime = Field(
        description="lastTransitionTime is when status changed last."
    )
    observed_generation: int | None = Field(
        default=None,
        description="observedGeneration is the metadata.generation this condition is about.",
    )
