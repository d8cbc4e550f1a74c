"""Conditions of an AnomalyModel: what is the case, in a word and in a sentence each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from metricwatch.resources import ConditionType, Reason, VersionState
from metricwatch.store.rows import Version
from metricwatch_operator.planning.answering import SUPERSEDED, answers, newest_of
from metricwatch_operator.planning.conditions import Finding, format_time, time_of
from metricwatch_operator.planning.facts import Facts
from metricwatch_operator.planning.gate import Verdict
from metricwatch_operator.planning.health import Health, drift_finding, worst_data_finding
from metricwatch_operator.planning.policies import Violation
from metricwatch_operator.planning.taking_over import pods_of
from metricwatch_operator.planning.trainer_runs import Phase, Run, job_of
from metricwatch_operator.planning.triggers import DRIFTED
from metricwatch_operator.planning.unstarted import pod_trouble, podless_trouble
from metricwatch_operator.planning.version_status import verdict_of
from metricwatch_operator.planning.versions import is_job_of

_FROM_STORE = (
    ConditionType.TRAINED,
    ConditionType.GATE_PASSED,
    ConditionType.DETECTOR_AVAILABLE,
    ConditionType.DATA_AVAILABLE,
    ConditionType.DRIFTED,
)
_REFUSED = (VersionState.FAILED, VersionState.REJECTED)


def model_findings(facts: Facts, previous: Mapping[str, Any]) -> list[Finding]:
    """Every condition; `previous` is the status as it was told last."""
    store = _store(facts)
    if store.status is False:
        kept = {one["type"]: one for one in previous.get("conditions") or ()}
        stored = [_keep(kept, one) for one in _FROM_STORE]
        waiting = Finding(
            ConditionType.RECONCILING, True, Reason.PROGRESSING_WITH_RETRY, store.message
        )
        ready = Finding(ConditionType.READY, False, store.reason, store.message)
        stalled = _stalled(facts)
        return [ready, *stored, store, waiting, stalled]
    trained, detector, data = _trained(facts), _detector(facts), _data(facts)
    return [
        _ready(facts, trained, detector),
        trained,
        _gate_passed(facts),
        detector,
        data,
        _drifted(facts),
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
    newest = newest_of(facts.versions)
    if newest is None:
        if request is None and not facts.observed.watches:
            return Finding(
                type_, None, Reason.NO_WATCHES, "no MetricWatch refers to this model yet"
            )
        return Finding(type_, False, Reason.NOT_TRAINED, "no version has been trained yet")
    done = (VersionState.CANDIDATE, VersionState.SERVING)
    good = next(
        (one for one in facts.versions if one.state in done and _is_wanted(one, facts)), None
    )
    if newest.state is VersionState.TRAINING and (good is None or _is_wanted(newest, facts)):
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
    held = facts.decision.wish.held
    why = f": {held.message}" if held else ""
    message = f"a version for this spec is not trained yet{why}"
    return Finding(type_, False, Reason.NOT_TRAINED, message)


def _is_wanted(version: Version, facts: Facts) -> bool:
    """Whether a version was trained for what is wanted now."""
    request = facts.desired.request
    return request is not None and answers(version, request)


def _gate_passed(facts: Facts) -> Finding:
    """What the gate says of the version trained last, by the limits as they are now."""
    type_, model = ConditionType.GATE_PASSED, facts.desired.model
    newest = next((one for one in facts.versions if one.trained_at is not None), None)
    if newest is None or model is None:
        return Finding(type_, None, Reason.PENDING, "no version has been trained yet")
    found = verdict_of(newest, facts)
    status = {Verdict.SUCCESSFUL: True, Verdict.FAILED: False}.get(found.verdict)
    message = f"version {newest.version}: {found.message}"
    if status is False and newest.state in (VersionState.CANDIDATE, VersionState.SERVING):
        message += f"; failurePolicy is {model.spec.quality_gate.failure_policy}"
    return Finding(type_, status, found.reason, message)


def _training_message(facts: Facts, version: Version) -> str:
    run = facts.decision.runs.get(version.version, Run(Phase.ABSENT))
    message = f"version {version.version} is being trained"
    if facts.decision.turn is not None:
        message = f"version {version.version} waits for its turn: {facts.decision.turn.message}"
    if version.message:
        message += f" ({version.message})"
    if run.reason:
        return f"{message}; an attempt ended with {run.reason}: {run.message}"
    trouble = _start_trouble(facts, version)
    return f"{message}; {trouble}" if trouble else message


def _start_trouble(facts: Facts, version: Version) -> str:
    """Why the pods of a run do not start; empty when they do, or are not to yet."""
    pods = tuple(pods_of(facts.observed, version.version, component="trainer"))
    job = job_of(job for job in facts.observed.jobs if is_job_of(job, version))
    return podless_trouble(job, pods, now=facts.now) or pod_trouble(
        pods, resources="training.resources"
    )


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
        waits = facts.decision.waits or Violation(Reason.DETECTOR_STARTING, "ready")
        return Finding(type_, False, waits.reason, f"version {shown.version}: {waits.message}")
    if rollout.ready:
        message = f"all detectors of version {shown.version} are ready"
        return Finding(type_, True, Reason.DETECTOR_READY, message)
    message = f"version {shown.version}: {rollout.message}"
    return Finding(type_, rollout.serving, Reason.DETECTOR_NOT_READY, message)


def _data(facts: Facts) -> Finding:
    names = {watch.uid: watch.manifest["metadata"]["name"] for watch in facts.desired.watches}
    newest = newest_of(facts.versions)
    run = facts.decision.runs.get(newest.version) if newest else None
    if facts.serving is None and run is not None and _is_about_data(run.reason):
        return Finding(ConditionType.DATA_AVAILABLE, False, run.reason, run.message)
    return worst_data_finding(
        [(name, facts.healths.get(uid, Health())) for uid, name in names.items()]
    )


def _drifted(facts: Facts) -> Finding:
    overview, serving = facts.observed.overview, facts.serving
    if overview is None or serving is None:
        return Finding(ConditionType.DRIFTED, None, Reason.PENDING, "no version serves yet")
    finding = drift_finding(
        (watch.name, watch.health_of(serving.version)) for watch in overview.watches
    )
    wanted = facts.decision.wish
    if finding.status and wanted.reason == DRIFTED and wanted.held is not None:
        return replace(
            finding, message=f"{finding.message}; a new version waits: {wanted.held.message}"
        )
    return finding


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
        waiting = detector if facts.decision.detect else trained
        if waiting.status is True:
            waiting = detector
        return Finding(type_, False, waiting.reason, waiting.message)
    if detector.status is not True:
        return Finding(type_, False, detector.reason, detector.message)
    message = f"version {serving.version} serves{_beside(facts, serving)}"
    return Finding(type_, True, Reason.SERVING, message)


def _beside(facts: Facts, serving: Version) -> str:
    """What goes on beside the serving version."""
    standing, waits = facts.decision.standing, facts.decision.waits
    if standing.contender is not None and waits is not None:
        return f"; version {standing.contender.version}: {waits.message}"
    if standing.is_pinned and standing.elected is not None:
        return f"; spec.version pins, so version {standing.elected.version} waits"
    newest = newest_of(facts.versions)
    over = (VersionState.RETIRED, VersionState.SERVING)
    if newest is None or newest is serving or newest.state in over:
        return ""
    reason = f" ({newest.reason})" if newest.reason and newest.state in _REFUSED else ""
    return f"; version {newest.version}: {newest.state}{reason}"


def _reconciling(facts: Facts) -> Finding:
    type_, decision = ConditionType.RECONCILING, facts.decision
    quiet = Finding(type_, False, "")
    if facts.problem is not None or facts.is_suspended or _is_as_asked(facts):
        return quiet
    if decision.retry_at is not None:
        at = format_time(time_of(decision.retry_at))
        return Finding(
            type_, True, Reason.PROGRESSING_WITH_RETRY, f"training is tried again at {at}"
        )
    newest, contender = newest_of(facts.versions), decision.standing.contender
    if newest is not None and newest.state is VersionState.TRAINING:
        return Finding(type_, True, Reason.PROGRESSING, _training_message(facts, newest))
    waits = decision.waits
    # What waits for a person is at rest.
    if contender is not None and (waits is None or waits.reason != Reason.AWAITING_PROMOTION):
        message = f"version {contender.version}: {waits.message if waits else 'takes over'}"
        return Finding(type_, True, Reason.PROGRESSING, message)
    if decision.wish.reason:
        held = f": {decision.wish.held.message}" if decision.wish.held else ""
        message = f"a version is about to be trained{held}"
        return Finding(type_, True, Reason.PROGRESSING, message)
    return quiet


def _is_as_asked(facts: Facts) -> bool:
    """Whether what serves is what the spec asks for.

    A version that is trained beside it, every night perhaps, is no work towards the spec: who
    waits for the spec to be brought about (Flux does, again and again) is not to wait for that.
    """
    serving, model = facts.serving, facts.desired.model
    if serving is None or model is None:
        return False
    if model.spec.version is not None:
        return serving.version == model.spec.version
    return _is_wanted(serving, facts)


def _stalled(facts: Facts) -> Finding:
    type_, problem = ConditionType.STALLED, facts.problem or facts.decision.problem
    if problem is not None:
        return Finding(type_, True, problem.reason, problem.message)
    newest = newest_of(facts.versions)
    if newest is None or newest.state is not VersionState.FAILED or newest.reason == SUPERSEDED:
        return Finding(type_, False, "")
    if facts.decision.wish.reason or facts.is_suspended or not _is_wanted(newest, facts):
        return Finding(type_, False, "")
    message = f"version {newest.version}: {newest.message}; it is not tried again by itself"
    return Finding(type_, True, newest.reason or Reason.TRAINING_FAILED, message)
