"""Observed worlds for tests of the operator's decisions, with defaults that no test is about."""

from __future__ import annotations

import copy
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from metricwatch.assignments import TrainingRequest
from metricwatch.resources import VersionState
from metricwatch.store.rows import (
    HealthState,
    ModelOverview,
    Slice,
    TakeOver,
    Version,
    WatchHealth,
    WatchOverview,
)
from metricwatch.verdict import Outcome, Verdict
from metricwatch_operator.observed import Memory, Observed
from metricwatch_operator.planning.actions import (
    Assign,
    CreateVersion,
    Forget,
    MarkReady,
    Plan,
    Prune,
    Serve,
    SetState,
)
from metricwatch_operator.planning.conditions import format_time, time_of
from metricwatch_operator.planning.config import Config
from metricwatch_operator.planning.desired import read_desired
from metricwatch_operator.planning.names import FINALIZER, child_labels
from metricwatch_operator.planning.plan import plan

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
NOW_SECONDS = int(NOW.timestamp())
CONFIG = Config(trainer_image="trainer:1", detector_image="detector:1")
LONG_AGO = "2026-02-01T00:00:00Z"
NOTIFICATIONS = [{"name": "chat", "webhook": {"url": "https://chat.example.com"}}]
"""What this release cannot do for a watch."""


def make_model(name: str = "checkout", **spec: Any) -> dict[str, Any]:
    body = {"source": {"url": "http://vm:8428"}, **spec}
    return {
        "apiVersion": "metricwatch.io/v1alpha1",
        "kind": "AnomalyModel",
        "metadata": {
            "name": name,
            "namespace": "shop",
            "uid": f"uid-{name}",
            "generation": 1,
            "resourceVersion": "1",
            "creationTimestamp": LONG_AGO,
            "finalizers": [FINALIZER],
        },
        "spec": body,
    }


def make_watch(name: str = "latency", *, model: str = "checkout", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "metricwatch.io/v1alpha1",
        "kind": "MetricWatch",
        "metadata": {
            "name": name,
            "namespace": "shop",
            "uid": f"uid-{name}",
            "generation": 1,
            "resourceVersion": "1",
            "creationTimestamp": LONG_AGO,
        },
        "spec": {"modelRef": {"name": model}, "query": "up", **spec},
    }


def make_request(model: dict[str, Any], *watches: dict[str, Any]) -> TrainingRequest:
    """The request that these specs ask for."""
    observed = Observed("shop", model["metadata"]["name"], model=model, watches=watches)
    request = read_desired(observed, CONFIG).request
    assert request is not None
    return request


def make_version(
    request: TrainingRequest, number: int = 1, state: str = "Serving", **changes: Any
) -> Version:
    trained = NOW_SECONDS - 3600 if state in ("Serving", "Candidate", "Retired") else None
    version = Version(
        id=number,
        version=number,
        state=VersionState(state),
        reason="",
        message="",
        request=request.to_row(),
        request_hash=request.fingerprint(),
        attempt=1,
        code_version="0.1.0",
        window_start=None,
        window_end=None,
        data_hash=None,
        seed=None,
        report=None,
        created_at=NOW_SECONDS - 7200,
        trained_at=trained,
        served_at=None,
        retired_at=None,
    )
    return replace(version, **changes)


def make_health(
    version: int = 1, state: HealthState = HealthState.SCORING, **changes: Any
) -> WatchHealth:
    health = WatchHealth(
        watch_id=1,
        version=version,
        part=Slice(),
        state=state,
        series=5,
        scored_at=NOW_SECONDS,
        last_sample_at=NOW_SECONDS - 10,
        lag_seconds=1.2,
    )
    return replace(health, **changes)


def make_row(watch: dict[str, Any], *health: WatchHealth) -> WatchOverview:
    metadata = watch["metadata"]
    return WatchOverview(
        id=1,
        uid=metadata["uid"],
        namespace="shop",
        name=metadata["name"],
        generation=metadata["generation"],
        open_anomalies={},
        last_anomaly_at=None,
        health=health,
    )


def make_overview(
    model: dict[str, Any],
    versions: tuple[Version, ...] = (),
    watches: tuple[WatchOverview, ...] = (),
) -> ModelOverview:
    serving = next((one.version for one in versions if one.state is VersionState.SERVING), None)
    return ModelOverview(
        id=1,
        uid=model["metadata"]["uid"],
        namespace="shop",
        name=model["metadata"]["name"],
        generation=1,
        serving_version=serving,
        versions=tuple(sorted(versions, key=lambda one: -one.version)),
        watches=watches,
    )


def make_job(
    version: Version, *, model: str = "checkout", condition: dict[str, Any] | None = None
) -> dict[str, Any]:
    number = version.version
    told = {"status": "True", "lastTransitionTime": LONG_AGO, **(condition or {})}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": f"{model}-train-v{number}",
            "namespace": "shop",
            "uid": f"uid-job-{number}",
            "labels": child_labels(model, component="trainer", version=number),
            "annotations": {
                "metricwatch.io/version-created": format_time(time_of(version.created_at))
            },
        },
        "spec": {"activeDeadlineSeconds": 3600},
        "status": {"conditions": [told] if condition else []},
    }


def make_trainer_pod(version: int, code: int | None = None, **verdict: Any) -> dict[str, Any]:
    """A trainer pod; with an exit code, and a verdict when there are words for one."""
    message = ""
    if verdict:
        message = (
            Verdict(**{"outcome": Outcome.FAILED, "message": "", "version": version, **verdict})
            .encode()
            .decode()
        )
    state: dict[str, Any] = {"running": {}}
    if code is not None:
        state = {"terminated": {"exitCode": code, "message": message, "finishedAt": LONG_AGO}}
    return {
        "kind": "Pod",
        "metadata": {
            "name": f"pod-{version}",
            "uid": f"uid-pod-{version}",
            "labels": child_labels("checkout", component="trainer", version=version),
        },
        "status": {"containerStatuses": [{"name": "trainer", "state": state}]},
    }


def available(deployment: dict[str, Any]) -> dict[str, Any]:
    """A Deployment as it looks when all its replicas are ready."""
    live = copy.deepcopy(deployment)
    live["metadata"] |= {"uid": f"uid-{live['metadata']['name']}", "generation": 1}
    replicas = live["spec"]["replicas"]
    live["status"] = {
        "observedGeneration": 1,
        "replicas": replicas,
        "updatedReplicas": replicas,
        "availableReplicas": replicas,
    }
    return live


def carry_out(observed: Observed, steps: Plan, *, now: int = NOW_SECONDS) -> Observed:
    """The world after a plan, as the next look finds it."""
    overview = observed.overview
    memory = observed.memory
    for step in steps.writes:
        match step:
            case Forget():
                overview = None
            case Assign():
                kept = {row.uid: row for row in (overview.watches if overview else ())}
                rows = [make_row({"metadata": _watch_metadata(one)}) for one in step.watches]
                merged = {row.uid: kept.get(row.uid, row) for row in rows} | {
                    uid: row for uid, row in kept.items() if uid in step.keep
                }
                base = overview or make_overview(
                    {"metadata": {"uid": step.uid, "name": step.name}}
                )
                overview = replace(base, watches=tuple(merged[uid] for uid in sorted(merged)))
                memory = replace(memory, assignments=step.digest)
            case _:
                assert overview is not None
                overview = _move(overview, step, now=now)
    if steps.database_secret is not None:
        memory = replace(memory, database_secret=True, provided=steps.database_secret)
    return replace(
        observed,
        overview=overview,
        memory=memory,
        model=_with_status(_with_finalizer(observed.model, steps), steps),
        watches=tuple(_with_status(watch, steps) or {} for watch in observed.watches),
        jobs=_children(observed.jobs, steps, steps.creates),
        deployments=_children(observed.deployments, steps, steps.applies),
    )


def _watch_metadata(watch: Any) -> dict[str, Any]:
    return {"uid": watch.uid, "name": watch.name, "generation": watch.generation}


def _move(overview: ModelOverview, step: Any, *, now: int) -> ModelOverview:
    versions = {one.version: one for one in overview.versions}
    serving = overview.serving_version
    match step:
        case CreateVersion():
            made = make_version(step.request, step.version, "Training")
            versions[step.version] = replace(
                made,
                attempt=step.attempt,
                reason=step.reason,
                message=step.message,
                created_at=now,
            )
        case SetState():
            retires = step.state is VersionState.RETIRED
            changes: dict[str, Any] = {"ready_at": None} if step.state == "Candidate" else {}
            versions[step.version] = replace(
                versions[step.version],
                state=step.state,
                reason=str(step.reason),
                message=step.message,
                retired_at=now if retires else None,
                **changes,
            )
        case MarkReady():
            before = versions[step.version]
            versions[step.version] = replace(before, ready_at=before.ready_at or now)
        case Serve():
            versions = _take_over(versions, step, serving=serving, now=now)
            serving = step.version
        case Prune():
            over = [
                one
                for one in sorted(versions, reverse=True)[1:]
                if versions[one].state in ("Retired", "Failed", "Rejected")
                and one not in step.protect
            ]
            for number in over[step.keep :]:
                del versions[number]
    ordered = tuple(versions[number] for number in sorted(versions, reverse=True))
    return replace(overview, versions=ordered, serving_version=serving)


def _take_over(
    versions: dict[int, Version], step: Serve, *, serving: int | None, now: int
) -> dict[int, Version]:
    """As the store does it: who was rejected stays so, who is rolled back becomes so."""
    changed = dict(versions)
    if serving is not None:
        before, is_back = versions[serving], step.how is TakeOver.ROLLED_BACK
        marked = is_back or before.reason != ""
        changed[serving] = replace(
            before,
            state=VersionState.REJECTED if marked else VersionState.RETIRED,
            reason=step.reason if is_back or not before.reason else before.reason,
            message=step.message,
            retired_at=now,
        )
    after = versions[step.version]
    changed[step.version] = replace(
        after,
        state=VersionState.SERVING,
        served_at=now,
        retired_at=None,
        replaced=serving if step.how is TakeOver.PROMOTED else None,
        reason=after.reason if after.state is VersionState.REJECTED else "",
    )
    return changed


def _with_finalizer(model: Any, steps: Plan) -> Any:
    if model is None or steps.finalizer is None:
        return model
    finalizers = [FINALIZER] if steps.finalizer else []
    return {**model, "metadata": {**model["metadata"], "finalizers": finalizers}}


def _with_status(manifest: Any, steps: Plan) -> Any:
    for status in steps.statuses:
        if manifest is not None and status["metadata"]["uid"] == manifest["metadata"]["uid"]:
            manifest = {**manifest, "status": status["status"]}
    return manifest


def _children(live: Any, steps: Plan, written: Any) -> tuple[Any, ...]:
    deleted = {(ref.kind, ref.name) for ref in steps.deletions}
    found = {
        one["metadata"]["name"]: one
        for one in live
        if (one["kind"], one["metadata"]["name"]) not in deleted
    }
    for manifest in written:
        name = manifest["metadata"]["name"]
        before = found.get(name, {})
        uid = {"uid": f"uid-{name}", "generation": 1}
        merged = {**before, **manifest, "metadata": {**manifest["metadata"], **uid}}
        found[name] = copy.deepcopy(merged)
    return tuple(found[name] for name in sorted(found))


def make_serving_world(**spec: Any) -> Observed:
    """A model that serves its first version, with nothing left to do."""
    model, watch = make_model(**spec), make_watch()
    version = make_version(make_request(model, watch))
    observed = Observed(
        "shop",
        "checkout",
        model=model,
        watches=(watch,),
        overview=make_overview(model, (version,), (make_row(watch, make_health()),)),
        memory=Memory(),
    )
    return settle(observed)


def settle(observed: Observed, *, rounds: int = 10, ready: bool = True) -> Observed:
    """The world after so many plans that nothing is left to do."""
    for _ in range(rounds):
        steps = plan(observed, now=NOW, config=CONFIG)
        if steps.is_empty:
            return observed
        observed = carry_out(observed, steps)
        if ready:
            deployments = tuple(available(dict(one)) for one in observed.deployments)
            observed = replace(observed, deployments=deployments)
    raise AssertionError(f"there is always something to do: {steps}")
