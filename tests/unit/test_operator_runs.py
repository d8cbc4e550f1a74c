"""What became of a trainer Job, read from the Job and its pods."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.operator_builders import (
    make_job,
    make_model,
    make_request,
    make_serving_world,
    make_trainer_pod,
    make_version,
    make_watch,
)

from metricwatch_operator.planning.rollouts import read_rollout
from metricwatch_operator.planning.trainer_runs import Phase, pod_trouble, read_run

VERSION = make_version(make_request(make_model(), make_watch()), 1, "Training")


def _job(type_: str = "", **condition: Any) -> dict[str, Any]:
    return make_job(VERSION, condition={"type": type_, **condition} if type_ else None)


def test_no_job_is_absent() -> None:
    assert read_run(None, ()).phase is Phase.ABSENT


def test_a_job_without_a_verdict_is_active() -> None:
    assert read_run(_job(), ()).phase is Phase.ACTIVE


@pytest.mark.parametrize("type_", ["Complete", "SuccessCriteriaMet"])
def test_a_complete_job_succeeded(type_: str) -> None:
    assert read_run(_job(type_), ()).phase is Phase.SUCCEEDED


def test_a_trainer_that_succeeded_says_what_it_learned() -> None:
    pod = make_trainer_pod(1, 0, reason="Trained", message="learned 12 series (seasonal)")
    assert read_run(_job("Complete"), (pod,)).message == "learned 12 series (seasonal)"


@pytest.mark.parametrize("type_", ["Failed", "FailureTarget"])
def test_a_failed_job_tells_its_pods_verdict(type_: str) -> None:
    pod = make_trainer_pod(1, 11, reason="QueryRefused", message="parse error")
    run = read_run(_job(type_, reason="PodFailurePolicy", message="policy"), (pod,))
    assert (run.phase, run.reason, run.message) == (Phase.FAILED, "QueryRefused", "parse error")
    assert run.is_final


def test_a_job_that_ran_out_of_time_names_the_field_to_change() -> None:
    run = read_run(_job("Failed", reason="DeadlineExceeded", message="too long"), ())
    assert run.reason == "TrainingTimedOut"
    assert "training.timeout (3600 s)" in run.message


def test_a_failed_job_whose_pods_are_gone_tells_what_the_job_says() -> None:
    run = read_run(_job("Failed", reason="BackoffLimitExceeded", message="6 times"), ())
    assert (run.reason, run.message) == ("TrainingFailed", "6 times")
    assert not run.is_final


def test_a_trainer_that_was_killed_for_memory_names_the_field_to_change() -> None:
    pod = make_trainer_pod(1, 137)
    pod["status"]["containerStatuses"][0]["state"]["terminated"]["reason"] = "OOMKilled"
    run = read_run(_job("Failed", reason="BackoffLimitExceeded", message=""), (pod,))
    assert run.reason == "OOMKilled"
    assert "training.resources.limits.memory" in run.message


def test_a_message_that_is_no_verdict_is_not_repeated() -> None:
    pod = make_trainer_pod(1, 1)
    state = pod["status"]["containerStatuses"][0]["state"]["terminated"]
    state["message"] = "Traceback: password=hunter2"
    run = read_run(_job("Failed", reason="BackoffLimitExceeded", message=""), (pod,))
    assert "hunter2" not in run.message


def test_an_active_run_tells_why_its_last_attempt_ended() -> None:
    pod = make_trainer_pod(1, 20, reason="SourceUnavailable", message="refused")
    run = read_run(_job(), (pod,))
    assert (run.phase, run.reason) == (Phase.ACTIVE, "SourceUnavailable")


@pytest.mark.parametrize(("times", "phase"), [(2, Phase.ACTIVE), (3, Phase.FAILED)])
def test_a_bug_counts_as_failure_after_two_retries(times: int, phase: Phase) -> None:
    pods = [make_trainer_pod(1, 70, reason="Bug", message="division by zero")] * times
    assert read_run(_job(), pods).phase is phase


def test_of_several_attempts_the_newest_counts() -> None:
    old = make_trainer_pod(1, 20, reason="SourceUnavailable", message="old")
    new = make_trainer_pod(1, 10, reason="NotEnoughData", message="new")
    terminated = new["status"]["containerStatuses"][0]["state"]["terminated"]
    terminated["finishedAt"] = "2026-02-02T00:00:00Z"
    assert read_run(_job("Failed", reason="PodFailurePolicy"), (new, old)).message == "new"


def test_a_pod_that_cannot_be_scheduled_says_why() -> None:
    condition = {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/3 nodes",
    }
    assert pod_trouble([{"status": {"conditions": [condition]}}]) == "Unschedulable: 0/3 nodes"


@pytest.mark.parametrize(
    ("reason", "trouble"), [("ImagePullBackOff", "ImagePullBackOff: no"), ("PodInitializing", "")]
)
def test_a_waiting_container_is_trouble_unless_it_is_just_starting(
    reason: str, trouble: str
) -> None:
    waiting = {"state": {"waiting": {"reason": reason, "message": "no"}}}
    assert pod_trouble([{"status": {"containerStatuses": [waiting]}}]) == trouble


def test_a_rollout_needs_every_shard() -> None:
    deployments = make_serving_world().deployments
    assert read_rollout(deployments, shards=1, pods=()).ready
    rollout = read_rollout(deployments, shards=2, pods=())
    assert (rollout.ready, rollout.message) == (False, "1 of 2 detectors are ready")


def test_a_rollout_that_the_controller_has_not_seen_yet_is_not_ready() -> None:
    (deployment,) = make_serving_world().deployments
    newer = {**deployment, "metadata": {**deployment["metadata"], "generation": 2}}
    rollout = read_rollout([newer], shards=1, pods=())
    assert (rollout.ready, rollout.serving) == (False, True)
