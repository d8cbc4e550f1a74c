"""When a version is made, serves, or is given up."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.operator_builders import (
    CONFIG,
    NOTIFICATIONS,
    NOW,
    NOW_SECONDS,
    available,
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

from metricwatch.resources import VersionState
from metricwatch_operator.observed import Observed
from metricwatch_operator.planning.actions import CreateVersion, Prune, Serve, SetState
from metricwatch_operator.planning.answering import SUPERSEDED
from metricwatch_operator.planning.backoff import retry_at
from metricwatch_operator.planning.conditions import format_time, time_of
from metricwatch_operator.planning.desired import read_desired
from metricwatch_operator.planning.names import COMPONENT_LABEL
from metricwatch_operator.planning.trainer_runs import Phase, Run
from metricwatch_operator.planning.versions import Decision, decide

FAILED = {"type": "Failed", "reason": "PodFailurePolicy", "message": "exit code 10"}


def _decide(observed: Observed) -> Decision:
    return decide(observed, read_desired(observed, CONFIG), now=NOW, config=CONFIG)


def _world(*states: str, model: dict[str, Any] | None = None, **changes: Any) -> Observed:
    """A world whose newest version is in the last of the states; changes go to that version."""
    model, watch = model or make_model(), make_watch()
    request = make_request(model, watch)
    versions = [make_version(request, number, state) for number, state in enumerate(states, 1)]
    if changes:
        versions[-1] = replace(versions[-1], **changes)
    overview = make_overview(model, tuple(versions), (make_row(watch),))
    return Observed("shop", "checkout", model=model, watches=(watch,), overview=overview)


def _newest(observed: Observed) -> Any:
    assert observed.overview is not None
    return observed.overview.versions[0]


def _created(decision: Decision) -> list[CreateVersion]:
    return [write for write in decision.writes if isinstance(write, CreateVersion)]


def test_the_first_version_is_made_when_there_is_none() -> None:
    (create,) = _created(_decide(_world()))
    assert (create.version, create.attempt, create.reason) == (1, 1, "Created")


def test_nothing_is_made_while_the_newest_version_is_for_this_request() -> None:
    for state in ("Training", "Candidate", "Serving"):
        assert _created(_decide(_world(state))) == [], state


def test_a_model_without_watches_trains_nothing() -> None:
    assert _decide(replace(_world(), watches=())).writes == ()


def test_a_suspended_model_trains_and_detects_nothing() -> None:
    decision = _decide(_world("Serving", "Training", model=make_model(suspend=True)))
    assert (decision.train, decision.detect) == (None, ())
    assert _created(_decide(_world(model=make_model(suspend=True)))) == []


def test_a_changed_window_makes_a_version_and_says_why() -> None:
    observed = _world("Serving")
    changed = replace(observed, model=make_model(training={"window": "7d"}))
    (create,) = _created(_decide(changed))
    assert (create.version, create.reason) == (2, "SpecChanged")
    assert create.message == "training.window 14d → 7d"


def test_a_changed_detection_policy_makes_no_version() -> None:
    observed = _world("Serving")
    policy = make_watch(detection={"falseAlarmsPerWeek": 4, "direction": "above"})
    assert _decide(replace(observed, watches=(policy,))).writes == ()


def test_a_watch_that_cannot_be_supported_keeps_its_place_in_the_request() -> None:
    observed = _world("Serving")
    unsupported = make_watch(notifications=NOTIFICATIONS)
    assert _decide(replace(observed, watches=(unsupported,))).writes == ()


def test_watches_that_arrive_together_are_waited_for() -> None:
    fresh = make_watch()
    fresh["metadata"]["creationTimestamp"] = format_time(time_of(NOW_SECONDS - 1))
    decision = _decide(replace(_world(), watches=(fresh,)))
    assert decision.writes == ()
    assert decision.look_in == pytest.approx(2.0)


def test_going_back_to_the_spec_that_serves_gives_up_the_version_in_between() -> None:
    observed = _world("Serving")
    other = make_request(make_model(training={"window": "7d"}), make_watch())
    newer = make_version(other, 2, "Training")
    overview = make_overview(
        make_model(), (*_versions(observed), newer), (make_row(make_watch()),)
    )
    decision = _decide(replace(observed, overview=overview))
    (write,) = decision.writes
    assert isinstance(write, SetState)
    assert (write.version, write.state, write.reason) == (2, VersionState.FAILED, SUPERSEDED)
    assert decision.train is None


def _versions(observed: Observed) -> tuple[Any, ...]:
    assert observed.overview is not None
    return observed.overview.versions


def test_an_older_version_in_training_is_given_up_for_a_newer_one() -> None:
    decision = _decide(_world("Training", "Training"))
    (write,) = decision.writes
    assert isinstance(write, SetState)
    assert (write.version, write.reason) == (1, SUPERSEDED)
    assert decision.train is not None
    assert decision.train.version == 2


def test_an_older_candidate_is_retired_for_a_newer_one() -> None:
    (write,) = _decide(_world("Candidate", "Candidate")).writes
    assert isinstance(write, SetState)
    assert (write.version, write.state) == (1, VersionState.RETIRED)


def test_a_candidate_goes_on_while_a_newer_version_for_the_same_request_is_trained() -> None:
    decision = _decide(_world("Serving", "Candidate", "Training"))
    assert decision.writes == ()
    assert [one.version for one in decision.detect] == [1, 2]


def test_a_trained_version_becomes_a_candidate_when_its_job_is_complete() -> None:
    observed = _world("Training", trained_at=NOW_SECONDS)
    job = make_job(_newest(observed), condition={"type": "Complete"})
    (write,) = _decide(replace(observed, jobs=(job,))).writes
    assert isinstance(write, SetState)
    assert write.state is VersionState.CANDIDATE


def test_a_complete_job_without_a_result_is_a_failure() -> None:
    observed = _world("Training")
    job = make_job(_newest(observed), condition={"type": "Complete"})
    (write,) = _decide(replace(observed, jobs=(job,))).writes
    assert isinstance(write, SetState)
    assert (write.state, write.reason) == (VersionState.FAILED, "TrainingFailed")


def test_a_result_counts_even_when_its_job_was_deleted() -> None:
    (write,) = _decide(_world("Training", trained_at=NOW_SECONDS)).writes
    assert isinstance(write, SetState)
    assert write.state is VersionState.CANDIDATE


def test_a_job_of_a_lost_database_counts_for_nothing() -> None:
    observed = _world("Training", created_at=NOW_SECONDS - 5)
    namesake = make_job(replace(_newest(observed), created_at=0), condition={"type": "Complete"})
    decision = _decide(replace(observed, jobs=(namesake,)))
    assert decision.writes == ()
    assert decision.train is not None


def test_a_failed_job_fails_its_version_in_the_trainers_words() -> None:
    observed = _world("Training")
    pod = make_trainer_pod(1, 10, reason="NotEnoughData", message="3 of 288 samples")
    job = make_job(_newest(observed), condition=FAILED)
    decision = _decide(replace(observed, jobs=(job,), pods=(pod,)))
    (write,) = decision.writes
    assert isinstance(write, SetState)
    assert (write.reason, write.message) == ("NotEnoughData", "3 of 288 samples")
    assert decision.news == (("TrainingFailed", "version 1: NotEnoughData: 3 of 288 samples"),)


def test_a_candidate_serves_when_all_its_detectors_are_ready() -> None:
    world = make_serving_world()
    changed = make_model(training={"window": "7d"})
    candidate = make_version(make_request(changed, make_watch()), 2, "Candidate")
    overview = make_overview(changed, (*_versions(world), candidate), (make_row(make_watch()),))
    observed = replace(world, model=changed, overview=overview)
    assert not any(isinstance(one, Serve) for one in _decide(observed).writes)
    second = _relabelled(world.deployments[0], 2)
    decision = _decide(replace(observed, deployments=(*world.deployments, second)))
    assert [one.version for one in decision.writes if isinstance(one, Serve)] == [2]
    assert ("VersionServing", "version 2 serves, after version 1: training.window 14d → 7d") in (
        decision.news
    )


def _relabelled(deployment: Any, version: int, **status: Any) -> dict[str, Any]:
    labels = {**deployment["metadata"]["labels"], "metricwatch.io/version": str(version)}
    metadata = {
        **deployment["metadata"],
        "labels": labels,
        "name": f"checkout-detector-v{version}-0",
    }
    made = available({**deployment, "metadata": metadata})
    made["status"] |= status
    return made


def test_a_candidate_whose_detectors_never_get_ready_fails_beside_a_serving_version() -> None:
    world = make_serving_world()
    request = make_request(make_model(training={"window": "7d"}), make_watch())
    candidate = make_version(request, 2, "Candidate")
    overview = make_overview(
        make_model(), (*_versions(world), candidate), (make_row(make_watch()),)
    )
    late = {
        "availableReplicas": 0,
        "conditions": [{"type": "Progressing", "reason": "ProgressDeadlineExceeded"}],
    }
    stuck = _relabelled(world.deployments[0], 2, **late)
    observed = replace(
        world,
        model=make_model(training={"window": "7d"}),
        overview=overview,
        deployments=(*world.deployments, stuck),
    )
    (write,) = _decide(observed).writes
    assert isinstance(write, SetState)
    assert (write.version, write.reason) == (2, "DetectorNotReady")


def test_the_first_candidate_is_never_given_up() -> None:
    observed = _world("Candidate")
    world = make_serving_world()
    late = {
        "availableReplicas": 0,
        "conditions": [{"type": "Progressing", "reason": "ProgressDeadlineExceeded"}],
    }
    stuck = _relabelled(world.deployments[0], 1, **late)
    assert _decide(replace(observed, deployments=(stuck,))).writes == ()


@pytest.mark.parametrize(
    ("attempt", "minutes"), [(1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (50, 60)]
)
def test_retries_come_after_a_doubling_delay_of_at_most_an_hour(
    attempt: int, minutes: int
) -> None:
    version = make_version(make_request(make_model(), make_watch()), 1, "Failed", attempt=attempt)
    due = retry_at(version, Run(Phase.FAILED, "SourceUnavailable", exit_code=20, ended_at=1000))
    assert due == 1000 + 60 * minutes


@pytest.mark.parametrize("code", [10, 11])
def test_data_and_request_problems_are_not_retried_by_themselves(code: int) -> None:
    version = make_version(make_request(make_model(), make_watch()), 1, "Failed")
    assert (
        retry_at(version, Run(Phase.FAILED, "NotEnoughData", exit_code=code, ended_at=1)) is None
    )


def test_a_data_problem_is_retried_when_the_trainer_names_a_time() -> None:
    version = make_version(make_request(make_model(), make_watch()), 1, "Failed")
    run = Run(Phase.FAILED, "NotEnoughData", exit_code=10, retry_after=600.0, ended_at=1000)
    assert retry_at(version, run) == 1600


def test_a_due_retry_makes_the_next_attempt() -> None:
    (create,) = _created(_decide(_world("Failed", reason="SourceUnavailable", attempt=2)))
    assert (create.version, create.attempt, create.reason) == (2, 3, "Retry")


def test_a_retry_that_is_not_due_is_looked_at_again_in_time() -> None:
    decision = _decide(_world("Failed", reason="SourceUnavailable", created_at=NOW_SECONDS - 20))
    assert decision.writes == ()
    assert decision.look_in == pytest.approx(40.0)
    assert decision.retry_at == NOW_SECONDS + 40


def test_a_changed_spec_does_not_wait_for_the_retry_delay() -> None:
    observed = _world("Failed", reason="NotEnoughData", created_at=NOW_SECONDS)
    changed = replace(observed, model=make_model(training={"window": "1d"}))
    (create,) = _created(_decide(changed))
    assert (create.attempt, create.reason) == (1, "SpecChanged")


def _annotated(text: str) -> dict[str, Any]:
    model = make_model()
    model["metadata"]["annotations"] = {"metricwatch.io/retrain-requested-at": text}
    return model


def test_a_request_for_training_newer_than_the_version_makes_one() -> None:
    asked = format_time(time_of(NOW_SECONDS - 60))
    (create,) = _created(_decide(replace(_world("Serving"), model=_annotated(asked))))
    assert create.reason == "RetrainRequested"


def test_a_request_for_training_from_before_the_version_is_over() -> None:
    asked = format_time(time_of(NOW_SECONDS - 5000))
    assert _decide(replace(_world("Serving"), model=_annotated(asked))).writes == ()


@pytest.mark.parametrize(
    ("text", "note"),
    [("yesterday", "is no RFC 3339 time"), ("2030-01-01T00:00:00Z", "lies in the future")],
)
def test_a_request_for_training_that_makes_no_sense_is_remarked_on(text: str, note: str) -> None:
    decision = _decide(replace(_world("Serving"), model=_annotated(text)))
    assert decision.writes == ()
    assert note in decision.note


def test_old_versions_beyond_the_limit_are_pruned() -> None:
    observed = _world(*["Retired"] * 7, "Serving", model=make_model(versionHistoryLimit=3))
    assert Prune("uid-checkout", 3) in _decide(observed).writes


def test_a_version_whose_detector_still_ends_is_pruned_later() -> None:
    observed = _world(*["Retired"] * 7, "Serving", model=make_model(versionHistoryLimit=3))
    ending = make_trainer_pod(1)
    ending["metadata"]["labels"][COMPONENT_LABEL] = "detector"
    ending["metadata"]["deletionTimestamp"] = format_time(NOW)
    assert Prune("uid-checkout", 3, (1,)) in _decide(replace(observed, pods=(ending,))).writes
    # The pods of trainers that ended stay for days, and write nothing more.
    observed = replace(observed, pods=(make_trainer_pod(1, 0),))
    assert Prune("uid-checkout", 3) in _decide(observed).writes
