"""Conditions of an AnomalyModel: what is the case, in a word and in a sentence each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metricwatch.resources import ConditionType, Reason, VersionState
from metricwatch.store.rows import Version
from metricwatch_operator.planning.conditions import Finding, format_time, time_of
from metricwatch_operator.planning.facts import Facts
from metricwatch_operator.planning.health import Health, worst_data_finding
from metricwatch_operator.planning.trainer_runs import Phase, Run, pod_trouble
from metricwatch_operator.planning.versions import SUPERSEDED


def model_findings(facts: Facts, previous: Mapping[str, Any]) -> list[Finding]:
    """Every condition; `previous` is the status as it was told last."""
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
