"""Why a version is wanted: one rule a reason, and the first that holds is told.

| Rule | Reason | A version is wanted because |
|---|---|---|
| `is_first` | Created | there is none |
| `spec_changed` | SpecChanged, WatchesAdded | none was trained for what the spec asks for now |
| `was_asked_for` | RetrainRequested | a person asked, after the last run was over |
| `was_mended` | SpecChanged | the last run failed, and what it runs with is another now |
| `failed` | Retry | the last run brought nothing |
| `is_scheduled` | Scheduled | `training.schedule` was due after the last run was over |
| `has_drifted` | Drifted | a quarter of a watch's series are no longer as they were learned |
| `has_new_series` | SeriesAdded | a quarter of a watch's series are not in the serving version |

While a version is being trained only another spec is a reason for a newer one. Whether it is made
now is for `holds` to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metricwatch.assignments import TrainingRequest
from metricwatch.reported import read_report
from metricwatch.resources import RETRAIN_ANNOTATION, Scope
from metricwatch_operator.planning.answering import differ_in_watches_alone, read_request
from metricwatch_operator.planning.backoff import ended_at, retry_at
from metricwatch_operator.planning.changes import describe_changes
from metricwatch_operator.planning.conditions import format_time, parse_time, time_of
from metricwatch_operator.planning.health import ENOUGH_DRIFT, drift_message, drifted_share
from metricwatch_operator.planning.policies import Chain, Violation
from metricwatch_operator.planning.schedules import latest_due
from metricwatch_operator.planning.situation import Situation

CREATED = "Created"
SPEC_CHANGED = "SpecChanged"
WATCHES_ADDED = "WatchesAdded"
RETRAIN_REQUESTED = "RetrainRequested"
RETRY = "Retry"
SCHEDULED = "Scheduled"
DRIFTED = "Drifted"
SERIES_ADDED = "SeriesAdded"
_ENOUGH_NEW_SERIES = 0.25
_CLOCKS_DIFFER_SECONDS = 30
"""A run that began so shortly before the schedule was due is the one that was due: the times of
versions are the database's."""
# Of these a run depends in no way.
_ABOUT_WHEN = ("schedule", "timeZone", "retrainOnDrift")


def is_first(given: Situation) -> Violation | None:
    """There is no version yet."""
    return None if given.versions else Violation(CREATED, "the first version")


def spec_changed(given: Situation) -> Violation | None:
    """No version was trained for what the spec asks for."""
    if given.answer is not None:
        return None
    before = given.newest or given.versions[0]
    changes = describe_changes(before.request, given.request.to_row())
    if differ_in_watches_alone(before, given.request):
        return Violation(WATCHES_ADDED, changes)
    return Violation(SPEC_CHANGED, changes)


def was_asked_for(given: Situation) -> Violation | None:
    """A person asked for a run after the last one was over."""
    asked, _ = read_retrain_annotation(given.model.metadata.annotations, now=given.now)
    if asked is None or given.is_training or given.newest is None:
        return None
    # When it *ended*: the clocks of user and database differ by less than a training run takes.
    if asked <= ended_at(given.newest, given.run):
        return None
    return Violation(RETRAIN_REQUESTED, f"asked for by {RETRAIN_ANNOTATION}")


def was_mended(given: Situation) -> Violation | None:
    """The last run failed, and a limit, a timeout or a Secret has changed since."""
    if not given.has_failed or given.newest is None:
        return None
    asked = read_request(given.newest)
    if asked is None:
        return Violation(SPEC_CHANGED, "another release asks for it")
    before, after = _what_runs(asked), _what_runs(given.request)
    return None if before == after else Violation(SPEC_CHANGED, describe_changes(before, after))


def failed(given: Situation) -> Violation | None:
    """The last run brought nothing, and another one may."""
    if not given.has_failed or given.newest is None:
        return None
    if retry_at(given.newest, given.run, labelled_at=given.labelled_at) is None:
        return None
    return Violation(RETRY, f"another try after: {given.newest.message}")


def is_scheduled(given: Situation) -> Violation | None:
    """The schedule was due after the last run was over: once, however often it was."""
    training = given.model.spec.training
    if not training.schedule or given.is_training or given.newest is None:
        return None
    due = latest_due(training.schedule, training.time_zone, given.now)
    if due - _CLOCKS_DIFFER_SECONDS <= given.last_training:
        return None
    line = f"schedule {training.schedule} {training.time_zone}"
    return Violation(SCHEDULED, f"{line}, due at {format_time(time_of(due))}")


def has_drifted(given: Situation) -> Violation | None:
    """The serving version reports that its data is no longer what it learned."""
    if not given.model.spec.training.retrain_on_drift or given.is_training:
        return None
    for watch, health in given.health:
        share = drifted_share(health)
        if share is not None and share >= ENOUGH_DRIFT:
            return Violation(DRIFTED, drift_message(share, watch.name))
    return None


def has_new_series(given: Situation) -> Violation | None:
    """Many series of a watch came after the serving version was trained.

    Not with scope multivariate: a detector counts its systems among the series.
    """
    if given.serving is None or given.is_training:
        return None
    if given.request.scope is Scope.MULTIVARIATE:
        return None
    found = _series_found(given.serving.report)
    for watch, health in given.health:
        series = sum(one.series for one in health)
        new = series - found.get(watch.uid, series)
        if series and new >= _ENOUGH_NEW_SERIES * series:
            told = f"{new} of {series} series of watch {watch.name} are not in the version"
            return Violation(SERIES_ADDED, told)
    return None


TRIGGERS: Chain[Situation] = (
    is_first,
    spec_changed,
    was_asked_for,
    was_mended,
    failed,
    is_scheduled,
    has_drifted,
    has_new_series,
)


def read_retrain_annotation(
    annotations: Mapping[str, str], *, now: float
) -> tuple[float | None, str]:
    """When a person asked for a run, unix seconds, and what is wrong with how it was asked."""
    text = annotations.get(RETRAIN_ANNOTATION)
    if not text:
        return None, ""
    asked = _unix_seconds(text)
    if asked is None:
        return None, f"annotation {RETRAIN_ANNOTATION}: {text[:64]!r} is no RFC 3339 time"
    if asked > now:
        return None, f"annotation {RETRAIN_ANNOTATION} lies in the future"
    return asked, ""


def asked_for_later(annotations: Mapping[str, str], *, now: float) -> float | None:
    """When a run that a person asked for in the future is due, unix seconds."""
    asked = _unix_seconds(annotations.get(RETRAIN_ANNOTATION, ""))
    return asked if asked is not None and asked > now else None


def _unix_seconds(text: str) -> float | None:
    try:
        return parse_time(text).timestamp()
    except ValueError:
        return None


def _what_runs(request: TrainingRequest) -> dict[str, Any]:
    row = request.to_row()
    row["training"] = {
        name: value for name, value in row["training"].items() if name not in _ABOUT_WHEN
    }
    row["watches"] = sorted(row["watches"], key=lambda watch: str(watch["uid"]))
    return row


def _series_found(report: Mapping[str, Any] | None) -> dict[str, int]:
    """How many series the training run of a version found, by the uid of their watch."""
    found: dict[str, int] = {}
    for watch in read_report(report).watches:
        found[watch.uid] = found.get(watch.uid, 0) + watch.found
    return found
