"""Pods that are not there or do not start are told of, with what to do about it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.operator_builders import (
    CONFIG,
    NOW,
    NOW_SECONDS,
    carry_out,
    make_job,
    make_model,
    make_overview,
    make_request,
    make_row,
    make_serving_world,
    make_trainer_pod,
    make_version,
    make_watch,
)

from metricwatch_operator.observed import Observed
from metricwatch_operator.planning.conditions import format_time
from metricwatch_operator.planning.plan import plan
from metricwatch_operator.planning.rollouts import read_rollout
from metricwatch_operator.planning.unstarted import PATIENCE_SECONDS, pod_trouble

MODEL, WATCH = make_model(), make_watch()
REQUEST = make_request(MODEL, WATCH)
UNSCHEDULABLE = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/3 nodes are available: 3 Insufficient cpu.",
}
REFUSED = (
    "no pod of Job checkout-train-v{0} could be made, as a rule for a quota or a limit of the "
    "namespace: kubectl describe job checkout-train-v{0} says why"
)


def _job(version: Any, *, age: float, **condition: Any) -> dict[str, Any]:
    job = make_job(version, condition=condition or None)
    job["metadata"]["creationTimestamp"] = format_time(NOW - timedelta(seconds=age))
    return job


def _training(age: float, *pods: dict[str, Any], **condition: Any) -> Observed:
    version = make_version(REQUEST, 1, "Training", created_at=NOW_SECONDS - 60)
    return Observed(
        "shop",
        "checkout",
        model=MODEL,
        watches=(WATCH,),
        jobs=(_job(version, age=age, **condition),),
        pods=pods,
        overview=make_overview(MODEL, (version,), (make_row(WATCH),)),
    )


def _trained(observed: Observed) -> str:
    statuses = plan(observed, now=NOW, config=CONFIG).statuses
    status = next(one["status"] for one in statuses if one["kind"] == "AnomalyModel")
    return str(next(one["message"] for one in status["conditions"] if one["type"] == "Trained"))


def test_a_run_without_a_pod_says_where_to_look() -> None:
    assert _trained(_training(PATIENCE_SECONDS)).endswith("; " + REFUSED.format(1))


@pytest.mark.parametrize(
    "observed",
    [
        _training(PATIENCE_SECONDS - 1),
        _training(3600, make_trainer_pod(1)),
        _training(3600, type="Complete"),
    ],
    ids=["a moment ago", "with a pod", "over"],
)
def test_a_run_is_not_said_to_lack_a_pod_when_it_has_one_or_may_yet(observed: Observed) -> None:
    assert "kubectl describe job" not in _trained(observed)


def test_a_run_without_a_pod_is_looked_at_again_when_patience_ends() -> None:
    world = _training(10)
    after = carry_out(world, plan(world, now=NOW, config=CONFIG))
    assert plan(after, now=NOW, config=CONFIG).requeue_after == PATIENCE_SECONDS - 10


def test_a_run_beside_a_serving_version_tells_its_own_trouble_only() -> None:
    world = make_serving_world()
    assert world.overview is not None
    (serving,) = world.overview.versions
    training = make_version(REQUEST, 2, "Training", created_at=NOW_SECONDS - 60)
    other = make_trainer_pod(1)
    other["status"] = {"conditions": [{**UNSCHEDULABLE, "message": "of another version"}]}
    rows = world.overview.watches
    beside = replace(
        world,
        jobs=(_job(training, age=3600),),
        pods=(other,),
        overview=make_overview(MODEL, (training, serving), rows),
    )
    told = _trained(beside)
    assert told.endswith(REFUSED.format(2))
    assert "of another version" not in told


def test_a_pod_that_cannot_be_scheduled_says_why_and_what_to_lower() -> None:
    pod = {"status": {"conditions": [UNSCHEDULABLE]}}
    assert pod_trouble([pod], resources="training.resources") == (
        "Unschedulable: 0/3 nodes are available: 3 Insufficient cpu: "
        "lower training.resources.requests, or make room"
    )


def test_a_pod_that_is_held_back_says_by_what() -> None:
    gated = {**UNSCHEDULABLE, "reason": "SchedulingGated", "message": "by kueue"}
    pod = {"status": {"conditions": [gated]}}
    assert pod_trouble([pod], resources="training.resources") == "SchedulingGated: by kueue"


@pytest.mark.parametrize(
    ("reason", "trouble"), [("ImagePullBackOff", "ImagePullBackOff: no"), ("PodInitializing", "")]
)
def test_a_waiting_container_is_trouble_unless_it_is_just_starting(
    reason: str, trouble: str
) -> None:
    waiting = {"state": {"waiting": {"reason": reason, "message": "no"}}}
    pod = {"status": {"containerStatuses": [waiting]}}
    assert pod_trouble([pod], resources="training.resources") == trouble


@pytest.mark.parametrize(
    ("status", "message"),
    [
        ("True", "0 of 1 detectors are ready; FailedCreate: exceeded quota: small"),
        ("False", "0 of 1 detectors are ready"),
    ],
)
def test_a_detector_whose_pod_is_refused_says_why(status: str, message: str) -> None:
    (deployment,) = make_serving_world().deployments
    condition = {
        "type": "ReplicaFailure",
        "status": status,
        "reason": "FailedCreate",
        "message": "exceeded quota: small",
    }
    refused = {**deployment, "status": {"observedGeneration": 1, "conditions": [condition]}}
    assert read_rollout([refused], shards=1, pods=()).message == message
