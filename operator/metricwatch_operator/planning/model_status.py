"""Status of an AnomalyModel: what is true about it, for people and for `kubectl wait`.

While the database is away the facts that come from it stay as they were told last;
`StoreAvailable` and `Ready` say why nothing is newer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from statistics import median
from typing import Any

from metricwatch.resources import ConditionType, Reason, VersionState
from metricwatch.store.rows import Version
from metricwatch_operator.objects import Manifest
from metricwatch_operator.observed import Observed, Problem
from metricwatch_operator.planning.conditions import (
    Finding,
    format_time,
    next_conditions,
    time_of,
)
from metricwatch_operator.planning.desired import Desired
from metricwatch_operator.planning.estimates import estimate_detector_memory
from metricwatch_operator.planning.health import Health, worst_data_finding
from metricwatch_operator.planning.trainer_runs import Phase, Run, pod_trouble
from metricwatch_operator.planning.versions import SUPERSEDED, Decision

_MORE_THAN_HISTORY = 2
_LONGEST_MESSAGE = 1024
_KEPT_WITHOUT_STORE = (
    "servingVersion",
    "candidateVersion",
    "lastTrainingTime",
    "nextTrainingTime",
    "series",
    "estimatedDetectorMemory",
    "lastFailure",
    "versions",
)


@dataclass(frozen=True, slots=True)
class Facts:
    """What the status of a model is made from."""

    observed: Observed
    desired: Desired
    decision: Decision
    healths: Mapping[str, Health]
    now: datetime

    @property
    def versions(self) -> tuple[Version, ...]:
        """Newest first."""
        return self.observed.overview.versions if self.observed.overview else ()

    @property
    def serving(self) -> Version | None:
        """The version that serves."""
        number = self.observed.overview.serving_version if self.observed.overview else None
        return next((one for one in self.versions if one.version == number), None)

    @property
    def problem(self) -> Problem | None:
        """Why the spec cannot be brought about."""
        return self.desired.problem or self.observed.memory.refusal

    @property
    def is_suspended(self) -> bool:
        """Whether the model is suspended."""
        return self.desired.model is not None and self.desired.model.spec.suspend


def build_model_status(facts: Facts) -> dict[str, Any]:
    """The complete status, as a manifest to apply to the status subresource."""
    manifest = facts.observed.model
    if manifest is None:
        raise ValueError("there is no model to write a status of")
    previous = manifest.get("status") or {}
    generation = manifest["metadata"].get("generation", 0)
    status: dict[str, Any] = {"observedGeneration": generation}
    status["watches"] = len(facts.observed.watches)
    if facts.observed.store_problem is not None:
        status |= {name: previous[name] for name in _KEPT_WITHOUT_STORE if name in previous}
    else:
        status |= _stored_facts(facts)
    status["conditions"] = next_conditions(
        previous.get("conditions") or (),
        _findings(facts, previous),
        generation=generation,
        now=facts.now,
    )
    return status_manifest(manifest, status)


def status_manifest(manifest: Manifest, status: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest that carries a status, and whose uid tells which object it was made for."""
    metadata = manifest["metadata"]
    return {
        "apiVersion": manifest["apiVersion"],
        "kind": manifest["kind"],
        "metadata": {name: metadata[name] for name in ("name", "namespace", "uid")},
        "status": dict(status),
    }


def _stored_facts(facts: Facts) -> dict[str, Any]:
    candidate = next((one for one in facts.versions if one.state is VersionState.CANDIDATE), None)
    trained = [one.trained_at for one in facts.versions if one.trained_at is not None]
    failed = next(
        (
            one
            for one in facts.versions
            if one.state in (VersionState.FAILED, VersionState.REJECTED)
            and one.reason != SUPERSEDED
        ),
        None,
    )
    limit = facts.desired.model.spec.version_history_limit if facts.desired.model else 5
    found: dict[str, Any] = {
        "servingVersion": facts.serving.version if facts.serving else None,
        "candidateVersion": candidate.version if candidate else None,
        "lastTrainingTime": _time(max(trained, default=None)),
        "nextTrainingTime": _time(facts.decision.retry_at),
        "series": sum(one.series for one in facts.healths.values()) if facts.serving else None,
        "estimatedDetectorMemory": estimate_detector_memory(
            facts.desired, facts.versions, facts.healths
        ),
        "lastFailure": _failure(failed, facts) if failed else None,
        "versions": [_version(one) for one in facts.versions[: limit + _MORE_THAN_HISTORY]],
    }
    return {name: value for name, value in found.items() if value is not None}


def _version(version: Version) -> dict[str, Any]:
    report = version.report or {}
    has_window = version.window_start is not None and version.window_end is not None
    window = {"from": _time(version.window_start), "to": _time(version.window_end)}
    # Empty words are left out: the API server would keep them, and a diff would show them for
    # ever.
    values: dict[str, Any] = {
        "version": version.version,
        "state": str(version.state),
        "reason": version.reason,
        "message": version.message[:_LONGEST_MESSAGE],
        "trainedAt": _time(version.trained_at),
        "window": window if has_window else None,
        "algorithm": str(report.get("family") or version.request["algorithm"]["type"]),
        "families": report.get("families"),
        "quality": _quality(report),
        "dataHash": version.data_hash or "",
    }
    return {name: value for name, value in values.items() if value not in (None, "", {})}


def _quality(report: Mapping[str, Any]) -> dict[str, float]:
    """The trainer's numbers, of all watches together."""
    found = {name: report[name] for name in ("trained", "leftOut") if name in report}
    errors = [
        watch["errorToPersistence"]
        for watch in report.get("watches") or ()
        if "errorToPersistence" in watch
    ]
    if errors:
        found["errorToPersistence"] = round(median(errors), 4)
    return {name: float(value) for name, value in found.items()}


def _failure(version: Version, facts: Facts) -> dict[str, Any]:
    run = facts.decision.runs.get(version.version)
    at = (run.ended_at if run else None) or version.trained_at or version.created_at
    return {
        "reason": version.reason or Reason.TRAINING_FAILED.value,
        "message": version.message[:_LONGEST_MESSAGE],
        "version": version.version,
        "time": _time(at),
    }


def _time(unix_seconds: int | None) -> str | None:
    return None if unix_seconds is None else format_time(time_of(unix_seconds))


def _findings(facts: Facts, previous: Mapping[str, Any]) -> list[Finding]:
    store = _store(facts)
    if store.status is False:
        kept = {one["type"]: one for one in previous.get("conditions") or ()}
        stored = [_keep(kept, ConditionType.TRAINED), _keep(kept, ConditionType.DATA_AVAILABLE)]
        detector = _keep(kept, ConditionType.DETECTOR_AVAILABLE)
        waiting = Finding(
            ConditionType.RECONCILING, True, Reason.PROGRESSING_WITH_RETRY, store.message
        )
        ready = Finding(ConditionType.READY, False, store.reason, store.message)
        stalled = _stalled(facts)
        return [ready, stored[0], detector, stored[1], store, waiting, stalled]
    trained, detector, data = _trained(facts), _detector(facts), _data(facts)
    return [
        _ready(facts, trained, detector),
        trained,
        detector,
        data,
        store,
        _reconciling(facts),
        _stalled(facts),
    ]


def _keep(kept: Mapping[str, Mapping[str, Any]], type_: ConditionType) -> Finding:
    before = kept.get(type_.value)
    if before is None:
        return Finding(type_, None, Reason.PENDING)
    status = {"True": True, "False": False}.get(before["status"])
    return Finding(type_, status, before["reason"], before.get("message", ""))


def _store(facts: Facts) -> Finding:
    problem = facts.observed.store_problem
    if problem is not None:
        return Finding(ConditionType.STORE_AVAILABLE, False, problem.reason, problem.message)
    return Finding(
        ConditionType.STORE_AVAILABLE, True, Reason.STORE_REACHABLE, "PostgreSQL answers"
    )


def _trained(facts: Facts) -> Finding:
    type_, request = ConditionType.TRAINED, facts.desired.request
    newest = facts.versions[0] if facts.versions else None
    if newest is None:
        if request is None and not facts.observed.watches:
            return Finding(
                type_, None, Reason.NO_WATCHES, "no MetricWatch refers to this model yet"
            )
        return Finding(type_, False, Reason.NOT_TRAINED, "no version has been trained yet")
    wanted = request.fingerprint() if request else None
    done = (VersionState.CANDIDATE, VersionState.SERVING)
    good = next(
        (one for one in facts.versions if one.state in done and one.request_hash == wanted), None
    )
    if newest.state is VersionState.TRAINING and (good is None or newest.request_hash == wanted):
        return Finding(type_, good is not None, Reason.TRAINING, _training_message(facts, newest))
    if good is not None:
        return Finding(
            type_, True, Reason.TRAINED, f"version {good.version} is trained{_note(facts)}"
        )
    if newest.state in (VersionState.FAILED, VersionState.REJECTED):
        reason = newest.reason or Reason.TRAINING_FAILED
        return Finding(type_, False, reason, f"version {newest.version}: {newest.message}")
    if request is None:
        return Finding(type_, True, Reason.TRAINED, f"version {newest.version} is trained")
    return Finding(type_, False, Reason.NOT_TRAINED, "a version for this spec is not trained yet")


def _training_message(facts: Facts, version: Version) -> str:
    run = facts.decision.runs.get(version.version, Run(Phase.ABSENT))
    message = f"version {version.version} is being trained"
    if version.message:
        message += f" ({version.message})"
    if run.reason:
        return f"{message}; an attempt ended with {run.reason}: {run.message}"
    trouble = pod_trouble(facts.observed.pods) if facts.serving is None else ""
    return f"{message}; {trouble}" if trouble else message


def _note(facts: Facts) -> str:
    return f"; {facts.decision.note}" if facts.decision.note else ""


def _detector(facts: Facts) -> Finding:
    type_ = ConditionType.DETECTOR_AVAILABLE
    if facts.is_suspended:
        return Finding(type_, False, Reason.SUSPENDED, "spec.suspend is true")
    shown = facts.serving or next(iter(facts.decision.detect), None)
    if shown is None:
        return Finding(type_, False, Reason.NOT_TRAINED, "there is no version to detect with yet")
    rollout = facts.decision.rollouts.get(shown.version)
    if rollout is None:
        return Finding(type_, None, Reason.PENDING)
    if shown is not facts.serving:
        message = f"version {shown.version}: {rollout.message or 'ready'}"
        return Finding(type_, False, Reason.DETECTOR_STARTING, message)
    if rollout.ready:
        message = f"all detectors of version {shown.version} are ready"
        return Finding(type_, True, Reason.DETECTOR_READY, message)
    message = f"version {shown.version}: {rollout.message}"
    return Finding(type_, rollout.serving, Reason.DETECTOR_NOT_READY, message)


def _data(facts: Facts) -> Finding:
    names = {watch.uid: watch.manifest["metadata"]["name"] for watch in facts.desired.watches}
    run = facts.decision.runs.get(facts.versions[0].version) if facts.versions else None
    if facts.serving is None and run is not None and _is_about_data(run.reason):
        return Finding(ConditionType.DATA_AVAILABLE, False, run.reason, run.message)
    return worst_data_finding(
        [(name, facts.healths.get(uid, Health())) for uid, name in names.items()]
    )


def _is_about_data(reason: str) -> bool:
    return reason in (
        Reason.SECRET_MISSING,
        Reason.SOURCE_UNAVAILABLE,
        Reason.SOURCE_UNAUTHORIZED,
        Reason.QUERY_REFUSED,
        Reason.NOT_ENOUGH_DATA,
        Reason.NO_DATA,
    )


def _ready(facts: Facts, trained: Finding, detector: Finding) -> Finding:
    type_, problem, serving = ConditionType.READY, facts.problem, facts.serving
    if problem is not None:
        return Finding(type_, False, problem.reason, problem.message)
    if facts.is_suspended:
        return Finding(type_, False, Reason.SUSPENDED, "spec.suspend is true")
    if serving is None:
        waiting = detector if detector.reason == Reason.DETECTOR_STARTING else trained
        if waiting.status is True:
            waiting = detector
        return Finding(type_, False, waiting.reason, waiting.message)
    if detector.status is not True:
        return Finding(type_, False, detector.reason, detector.message)
    message = f"version {serving.version} serves"
    newest = facts.versions[0]
    if newest is not serving and newest.state not in (VersionState.RETIRED, VersionState.SERVING):
        message += f"; version {newest.version}: {newest.state}"
        if newest.state is VersionState.FAILED:
            message += f" ({newest.reason})"
    return Finding(type_, True, Reason.SERVING, message)


def _reconciling(facts: Facts) -> Finding:
    type_, decision = ConditionType.RECONCILING, facts.decision
    quiet = Finding(type_, False, "")
    if facts.problem is not None or facts.is_suspended:
        return quiet
    newest = facts.versions[0] if facts.versions else None
    if decision.retry_at is not None:
        at = format_time(time_of(decision.retry_at))
        return Finding(
            type_, True, Reason.PROGRESSING_WITH_RETRY, f"training is tried again at {at}"
        )
    if newest is not None and newest.state in (VersionState.TRAINING, VersionState.CANDIDATE):
        return Finding(
            type_, True, Reason.PROGRESSING, f"version {newest.version}: {newest.state}"
        )
    if facts.desired.request is not None and (newest is None or decision.look_in is not None):
        return Finding(type_, True, Reason.PROGRESSING, "a version is about to be trained")
    return quiet


def _stalled(facts: Facts) -> Finding:
    type_, problem = ConditionType.STALLED, facts.problem
    if problem is not None:
        return Finding(type_, True, problem.reason, problem.message)
    newest = facts.versions[0] if facts.versions else None
    failed = newest is not None and newest.state is VersionState.FAILED
    current = failed and newest is not None and newest.reason != SUPERSEDED
    wanted = facts.desired.request.fingerprint() if facts.desired.request else None
    if not current or newest is None or newest.request_hash != wanted:
        return Finding(type_, False, "")
    if facts.decision.retry_at is not None or facts.is_suspended:
        return Finding(type_, False, "")
    message = f"version {newest.version}: {newest.message}; it is not tried again by itself"
    return Finding(type_, True, newest.reason or Reason.TRAINING_FAILED, message)
