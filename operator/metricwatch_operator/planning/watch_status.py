"""Status of a MetricWatch, written where its model is reconciled: one writer for both.

Sample times move with every tick. They are told with whatever else is new, and make no write by
themselves: thousands of watches at rest would write for ever what nobody reads, and `DataFresh`
says that samples go on coming.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from metricwatch.resources import ConditionType, MetricWatch, Reason
from metricwatch.store.rows import WatchOverview
from metricwatch_operator.observed import Problem
from metricwatch_operator.planning.conditions import (
    Finding,
    format_time,
    next_conditions,
    time_of,
)
from metricwatch_operator.planning.desired import DesiredWatch
from metricwatch_operator.planning.health import Health, data_finding
from metricwatch_operator.planning.model_status import status_manifest

_TICKING = ("lastSampleTime", "lagSeconds")
_SMALL_LAG_SECONDS = 10
_KEPT_WITHOUT_STORE = (
    "modelVersion",
    "series",
    "openAnomalies",
    "lastAnomalyTime",
    "lastSampleTime",
    "lagSeconds",
)


@dataclass(frozen=True, slots=True)
class ModelState:
    """What a watch says about its model.

    Attributes:
        name: Of the model.
        exists: Whether it is there and not being deleted.
        serving_version: The version that scores the watch.
        is_suspended: Whether the model is suspended.
        unready: Why the model does not serve; None when it does.
        store_problem: Why nothing newer is known.
    """

    name: str
    exists: bool
    serving_version: int | None = None
    is_suspended: bool = False
    unready: Problem | None = None
    store_problem: Problem | None = None


def build_watch_status(
    desired: DesiredWatch,
    model: ModelState,
    *,
    row: WatchOverview | None,
    health: Health,
    now: datetime,
) -> dict[str, Any]:
    """The complete status, as a manifest to apply to the status subresource."""
    manifest = desired.manifest
    previous = manifest.get("status") or {}
    generation = manifest["metadata"].get("generation", 0)
    status: dict[str, Any] = {"observedGeneration": generation}
    if model.store_problem is not None:
        status |= {name: previous[name] for name in _KEPT_WITHOUT_STORE if name in previous}
    elif model.exists:
        status |= _numbers(model, row, health)
    status["conditions"] = next_conditions(
        previous.get("conditions") or (),
        _findings(desired, model, health, now=now),
        generation=generation,
        now=now,
    )
    return status_manifest(manifest, _without_ticks(status, previous))


def _numbers(model: ModelState, row: WatchOverview | None, health: Health) -> dict[str, Any]:
    is_scored = health.state is not None
    opened = sum(row.open_anomalies.values()) if row else 0
    values: dict[str, Any] = {
        "modelVersion": model.serving_version,
        "series": health.series if is_scored else None,
        # "0 open" would be a finding, and nobody has looked yet.
        "openAnomalies": opened if is_scored or opened else None,
        "lastAnomalyTime": _time(row.last_anomaly_at) if row else None,
        "lastSampleTime": _time(health.last_sample_at),
        "lagSeconds": None if health.lag_seconds is None else round(health.lag_seconds),
    }
    return {name: value for name, value in values.items() if value is not None}


def _time(unix_seconds: int | None) -> str | None:
    return None if unix_seconds is None else format_time(time_of(unix_seconds))


def _without_ticks(status: dict[str, Any], previous: Mapping[str, Any]) -> dict[str, Any]:
    """The previous status when nothing is new but what goes on with every tick."""
    told, lag = previous.get("lagSeconds"), status.get("lagSeconds")
    if told is not None and lag is not None and is_another_lag(told, lag):
        return status
    # One that comes or goes is news.
    known = [name for name in _TICKING if name in previous and name in status]
    same = status | {name: previous[name] for name in known}
    return same if same == previous else status


def is_another_lag(told: int, lag: int) -> bool:
    """Whether a lag differs so much from the one told that people should hear of it.

    >>> is_another_lag(1, 9), is_another_lag(1, 30), is_another_lag(60, 5)
    (False, True, True)
    """
    least, most = sorted((told, lag))
    return most > 2 * least + _SMALL_LAG_SECONDS


def _findings(
    desired: DesiredWatch, model: ModelState, health: Health, *, now: datetime
) -> list[Finding]:
    data = data_finding(health)
    resolved = _resolved(model)
    ready = _ready(desired, model, data, resolved)
    stalled = _stalled(desired, model, data)
    waiting = (
        ready.status is not True
        and stalled.status is not True
        and ready.reason != Reason.SUSPENDED
    )
    return [
        ready,
        resolved,
        data,
        _fresh(desired.watch, health, now=now),
        _within_limit(desired.watch, health),
        Finding(ConditionType.RECONCILING, waiting, Reason.DEPENDENCY_NOT_READY, ready.message),
        stalled,
    ]


def _problem(desired: DesiredWatch, model: ModelState) -> Problem | None:
    """What is wrong with the watch itself.

    A watch may be applied before the model that gives it its source.
    """
    problem = desired.problem
    if problem is not None and problem.reason == Reason.SOURCE_MISSING and not model.exists:
        return None
    return problem


def _stalled(desired: DesiredWatch, model: ModelState, data: Finding) -> Finding:
    """Only what waiting does not mend: another spec, or another query, is needed."""
    problem = _problem(desired, model)
    if problem is not None:
        return Finding(ConditionType.STALLED, True, problem.reason, problem.message)
    is_refused = model.exists and data.reason == Reason.QUERY_REFUSED
    return Finding(ConditionType.STALLED, is_refused, data.reason, data.message)


def _resolved(model: ModelState) -> Finding:
    if model.exists:
        return Finding(
            ConditionType.MODEL_RESOLVED, True, Reason.MODEL_FOUND, f"model {model.name} exists"
        )
    return Finding(
        ConditionType.MODEL_RESOLVED,
        False,
        Reason.MODEL_NOT_FOUND,
        f"there is no AnomalyModel {model.name} in this namespace: "
        "create it, or correct spec.modelRef",
    )


def _ready(desired: DesiredWatch, model: ModelState, data: Finding, resolved: Finding) -> Finding:
    type_, problem = ConditionType.READY, _problem(desired, model)
    if problem is not None:
        return Finding(type_, False, problem.reason, problem.message)
    if resolved.status is not True:
        return Finding(type_, False, resolved.reason, resolved.message)
    if desired.watch is not None and desired.watch.spec.suspend:
        return Finding(type_, False, Reason.SUSPENDED, "spec.suspend is true")
    if model.is_suspended:
        return Finding(type_, False, Reason.SUSPENDED, f"model {model.name} is suspended")
    if model.store_problem is not None:
        return Finding(type_, False, model.store_problem.reason, model.store_problem.message)
    if model.unready is not None:
        message = f"model {model.name}: {model.unready.reason}: {model.unready.message}"
        return Finding(type_, False, Reason.MODEL_NOT_READY, message)
    if data.status is not True:
        return Finding(type_, False, data.reason, data.message)
    version = f"version {model.serving_version} of model {model.name}"
    return Finding(type_, True, Reason.SCORING, f"scored by {version}")


def fresh_until(watch: MetricWatch | None, health: Health) -> float | None:
    """Until when the newest sample of a watch is none too old, unix seconds; None without one."""
    if watch is None or health.last_sample_at is None:
        return None
    spec = watch.spec
    allowed = spec.detection.missing_after.seconds + spec.interval.seconds + spec.delay.seconds
    return health.last_sample_at + allowed


def _fresh(watch: MetricWatch | None, health: Health, *, now: datetime) -> Finding:
    type_, until = ConditionType.DATA_FRESH, fresh_until(watch, health)
    if until is None:
        return Finding(type_, None, Reason.PENDING, "no sample has been seen yet")
    if now.timestamp() <= until:
        return Finding(type_, True, Reason.FRESH, "samples arrive in time")
    last = _time(health.last_sample_at)
    return Finding(type_, False, Reason.STALE, f"the newest sample is of {last}")


def _within_limit(watch: MetricWatch | None, health: Health) -> Finding:
    type_ = ConditionType.SERIES_WITHIN_LIMIT
    if watch is None or health.state is None:
        return Finding(type_, None, Reason.PENDING, "the series have not been counted yet")
    limit = watch.spec.max_series
    if health.left_out == 0:
        return Finding(type_, True, Reason.WITHIN_LIMIT, f"at most {limit} series")
    message = (
        f"the query gives {health.left_out} series more than maxSeries ({limit}), which are not "
        "watched: raise maxSeries or narrow the query"
    )
    return Finding(type_, False, Reason.LIMIT_EXCEEDED, message)
