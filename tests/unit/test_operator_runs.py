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
from metricwatch_operator.planning.trainer_runs import (
    Phase,
    has_ended,
    job_of,
    read_run,
)

VERSION = make_version(make_request(make_model(), make_watch()), 1, "Training")


def _job(type_: str = "", **condition: Any) -> dict[str, Any]:
    return make_job(VERSION, condition={"type": type_, **condition} if type_ else None)


def _shared_job(type_: str = "", *, shards: int = 4, **told: Any) -> dict[str, Any]:
    """A Job whose pods share a run; `told` is what its status says besides."""
    job = _job(type_, reason="MaxFailedIndexesExceeded", message="too many failed indexes")
    job["spec"]["completions"] = shards
    job["status"] |= told
    return job


def _pod_of(index: int, code: int | None = None, *, at: int = 0, **verdict: Any) -> dict[str, Any]:
    pod = make_trainer_pod(1, code, **verdict)
    pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"] = str(index)
    pod["metadata"]["labels"]["batch.kubernetes.io/job-name"] = "checkout-train-v1"
    if code is not None:
        ended = pod["status"]["containerStatuses"][0]["state"]["terminated"]
        ended["finishedAt"] = f"2026-02-02T00:00:{at:02d}Z"
    return pod


def _search_job(type_: str = "", **condition: Any) -> dict[str, Any]:
    job = _job(type_, **condition)
    job["metadata"]["name"] = "checkout-search-v1"
    env = [{"name": "METRICWATCH_PHASE", "value": "search"}]
    job["spec"]["template"] = {"spec": {"containers": [{"name": "trainer", "env": env}]}}
    return job


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


def test_a_shard_that_was_given_up_is_named() -> None:
    pods = [
        _pod_of(2, 20, at=1, reason="SourceUnavailable", message="250 series: refused"),
        _pod_of(0, 143, at=5, reason="Stopped", message="asked to stop"),
    ]
    run = read_run(_shared_job("Failed", failedIndexes="2"), pods)
    assert (run.phase, run.reason) == (Phase.FAILED, "SourceUnavailable")
    assert run.message == "shard 2 of 4: 250 series: refused"


def test_pods_that_were_asked_to_stop_are_not_to_blame() -> None:
    pods = [
        _pod_of(1, 10, at=1, reason="NoSeries", message="nothing"),
        _pod_of(3, 143, at=9, reason="Stopped", message="asked to stop"),
    ]
    assert read_run(_shared_job("Failed"), pods).message == "shard 1 of 4: nothing"


def test_shards_are_named_when_their_pods_are_gone() -> None:
    run = read_run(_shared_job("Failed", failedIndexes="0,2-3"), ())
    assert run.message == "too many failed indexes (shards 0, 2, 3)"


def test_bugs_of_different_shards_do_not_add_up() -> None:
    pods = [_pod_of(index, 70, reason="Bug", message="oops") for index in range(3)]
    assert read_run(_shared_job(), pods).phase is Phase.ACTIVE
    again = [*pods, *(_pod_of(1, 70, reason="Bug", message="oops") for _ in range(2))]
    run = read_run(_shared_job(), again)
    assert (run.phase, run.message) == (Phase.FAILED, "shard 1 of 4: oops")


def test_a_shard_that_succeeded_in_the_end_is_no_trouble() -> None:
    pods = [_pod_of(1, 20, reason="SourceUnavailable", message="refused")]
    assert read_run(_shared_job(), pods).reason == "SourceUnavailable"
    assert read_run(_shared_job(completedIndexes="0-1"), pods).reason == ""


def test_the_pod_that_ended_last_speaks_for_all() -> None:
    pods = [
        _pod_of(0, 0, reason="SliceTrained", message="shard 0 of 2 learned 3 series"),
        _pod_of(1, 0, reason="Trained", message="learned 7 series"),
        _pod_of(2, 0, reason="SliceTrained", message="shard 2 of 2 learned 0 series"),
    ]
    assert read_run(_shared_job("Complete"), pods).message == "learned 7 series"


def test_a_killed_shard_says_what_it_was_at() -> None:
    pod = _pod_of(1, 137, reason="Unfinished", message="at 250 series of watch latency")
    pod["status"]["containerStatuses"][0]["state"]["terminated"]["reason"] = "OOMKilled"
    run = read_run(_shared_job("Failed", failedIndexes="1"), (pod,))
    assert run.reason == "OOMKilled"
    assert run.message.startswith("shard 1 of 4: the trainer was killed")
    assert "250 series of watch latency" in run.message


def test_a_shard_that_ended_without_a_verdict_says_what_it_was_at() -> None:
    pod = _pod_of(1, 137, reason="Unfinished", message="at 250 series of watch latency")
    run = read_run(_shared_job("Failed", failedIndexes="1"), (pod,))
    assert run.reason == "TrainingFailed"
    assert run.message == (
        "shard 1 of 4: the trainer ended with exit code 137 at 250 series of watch latency and "
        "left no verdict"
    )


def test_a_run_goes_on_after_its_search() -> None:
    assert read_run(_search_job("Complete"), ()).phase is Phase.ACTIVE
    assert read_run(_search_job(), ()).phase is Phase.ACTIVE


def test_a_search_that_failed_fails_the_run() -> None:
    pod = make_trainer_pod(1, 20, reason="StoreUnavailable", message="refused")
    pod["metadata"]["labels"]["batch.kubernetes.io/job-name"] = "checkout-search-v1"
    run = read_run(_search_job("Failed", reason="MaxFailedIndexesExceeded"), (pod,))
    assert (run.phase, run.reason) == (Phase.FAILED, "StoreUnavailable")


def test_a_search_that_took_too_long_names_its_fields() -> None:
    run = read_run(_search_job("Failed", reason="DeadlineExceeded", message=""), ())
    assert run.reason == "TrainingTimedOut"
    assert "tuning.timeout" in run.message


def test_the_training_tells_how_a_run_fares_once_it_has_begun() -> None:
    search, training = _search_job("Complete"), _job()
    assert job_of([training, search]) is training
    assert job_of([search]) is search
    assert job_of([]) is None


def test_pods_of_the_search_say_nothing_about_the_training() -> None:
    pod = make_trainer_pod(1, 20, reason="StoreUnavailable", message="refused")
    pod["metadata"]["labels"]["batch.kubernetes.io/job-name"] = "checkout-search-v1"
    assert read_run(_job(), (pod,)).reason == ""


@pytest.mark.parametrize(
    ("type_", "ended"),
    [("Complete", True), ("Failed", True), ("FailureTarget", True), ("", False)],
)
def test_a_job_has_ended_when_its_outcome_is_certain(type_: str, ended: bool) -> None:
    assert has_ended(_job(type_)) is ended
    assert has_ended(_search_job(type_)) is ended


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
