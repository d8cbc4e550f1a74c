"""The Jobs of one version, step by step: a search where pods need to agree, then the training."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.operator_builders import (
    CONFIG,
    LONG_AGO,
    NOW,
    make_model,
    make_trainer_pod,
    make_watch,
    settle,
)

from metricwatch.resources import VersionState
from metricwatch_operator.observed import Observed
from metricwatch_operator.planning.plan import plan

SEARCHED = {"tuning": {"enabled": True, "parallelism": 3}, "training": {"parallelism": 2}}


def make_new(**spec: Any) -> Observed:
    """A new model after the first plans: its version is in training, its first Job made."""
    return settle(Observed("shop", "checkout", model=make_model(**spec), watches=(make_watch(),)))


def names(observed: Observed) -> list[str]:
    return sorted(job["metadata"]["name"] for job in observed.jobs)


def ended(observed: Observed, name: str, type_: str, **told: Any) -> Observed:
    """The world after a Job has ended."""
    condition = {"type": type_, "status": "True", "lastTransitionTime": LONG_AGO, **told}
    jobs = tuple(
        {**job, "status": {"conditions": [condition]}} if job["metadata"]["name"] == name else job
        for job in observed.jobs
    )
    return replace(observed, jobs=jobs)


def states(observed: Observed) -> list[VersionState]:
    assert observed.overview is not None
    return [version.state for version in observed.overview.versions]


def test_a_single_pod_searches_by_itself() -> None:
    assert names(make_new(tuning={"enabled": True})) == ["checkout-train-v1"]


def test_several_pods_search_first_and_then_train() -> None:
    world = make_new(**SEARCHED)
    assert names(world) == ["checkout-search-v1"]
    world = settle(ended(world, "checkout-search-v1", "Complete"))
    assert names(world) == ["checkout-search-v1", "checkout-train-v1"]
    assert states(world) == [VersionState.TRAINING]


def test_the_training_waits_until_the_last_pod_of_the_search_has_gone() -> None:
    world = ended(make_new(**SEARCHED), "checkout-search-v1", "SuccessCriteriaMet")
    assert names(settle(world)) == ["checkout-search-v1"]


def test_a_search_that_failed_fails_the_version_and_trains_nothing() -> None:
    world = ended(
        make_new(**SEARCHED),
        "checkout-search-v1",
        "Failed",
        reason="MaxFailedIndexesExceeded",
        message="too many failed indexes",
    )
    steps = plan(world, now=NOW, config=CONFIG)
    assert [(one.state, one.message) for one in steps.writes if hasattr(one, "state")] == [
        (VersionState.FAILED, "too many failed indexes")
    ]
    assert steps.creates == ()


def test_a_training_that_failed_after_its_search_fails_the_version() -> None:
    world = settle(ended(make_new(**SEARCHED), "checkout-search-v1", "Complete"))
    failed = ended(world, "checkout-train-v1", "Failed", reason="DeadlineExceeded", message="")
    steps = plan(failed, now=NOW, config=CONFIG)
    (move,) = [one for one in steps.writes if hasattr(one, "state")]
    assert (move.state, move.reason) == (VersionState.FAILED, "TrainingTimedOut")


def test_a_suspended_model_gives_up_what_runs_and_keeps_what_can_be_read() -> None:
    world = settle(ended(make_new(**SEARCHED), "checkout-search-v1", "Complete"))
    suspended = replace(
        world, model={**(world.model or {}), **make_model(suspend=True, **SEARCHED)}
    )
    steps = plan(suspended, now=NOW, config=CONFIG)
    assert [ref.name for ref in steps.deletions] == ["checkout-train-v1"]


def pod_of(world: Observed, phase: str) -> dict[str, Any]:
    pod = make_trainer_pod(1)
    pod["metadata"]["labels"]["batch.kubernetes.io/job-name"] = names(world)[-1]
    return {**pod, "status": {"phase": phase}}


def changed(world: Observed, phases: tuple[str, ...], **spec: Any) -> Observed:
    """The same world after another spec, with pods in these phases."""
    pods = tuple(pod_of(world, phase) for phase in phases)
    return replace(world, model={**(world.model or {}), **make_model(**spec)}, pods=pods)


MEMORY = {"resources": {"limits": {"memory": "8Gi"}}}


@pytest.mark.parametrize("phases", [(), ("Pending",), ("Failed",), ("Failed", "Pending")])
def test_a_run_with_no_pod_at_work_begins_anew_with_what_the_spec_gives_it_now(
    phases: tuple[str, ...],
) -> None:
    steps = plan(changed(make_new(), phases, training=MEMORY), now=NOW, config=CONFIG)
    assert [ref.name for ref in steps.deletions] == ["checkout-train-v1"]
    (job,) = settle(changed(make_new(), (), training=MEMORY)).jobs
    assert job["metadata"]["name"] == "checkout-train-v1"
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["memory"] == "8Gi"


def test_a_run_whose_spec_says_the_same_goes_on_whatever_its_pods_do() -> None:
    for phases in ((), ("Pending",), ("Failed",)):
        assert plan(changed(make_new(), phases), now=NOW, config=CONFIG).deletions == ()


def test_a_run_at_work_is_not_stopped_for_other_resources() -> None:
    world = changed(make_new(), ("Failed", "Running"), training=MEMORY)
    assert plan(world, now=NOW, config=CONFIG).deletions == ()


def test_a_run_with_stored_slices_is_not_cut_into_others() -> None:
    before = make_new(training={"parallelism": 2})
    again = changed(before, ("Succeeded", "Failed"), training={"parallelism": 3})
    assert plan(again, now=NOW, config=CONFIG).deletions == ()
    unstarted = changed(before, ("Pending", "Pending"), training={"parallelism": 3})
    (ref,) = plan(unstarted, now=NOW, config=CONFIG).deletions
    assert ref.name == "checkout-train-v1"


def test_a_search_begins_anew_as_well() -> None:
    training = {**SEARCHED["training"], **MEMORY}
    searched = {**SEARCHED, "training": training}
    world = changed(make_new(**SEARCHED), ("Pending",), **searched)
    (ref,) = plan(world, now=NOW, config=CONFIG).deletions
    assert ref.name == "checkout-search-v1"


def test_a_job_of_an_earlier_release_is_left_alone() -> None:
    world = changed(make_new(), ("Pending",), training=MEMORY)
    (job,) = world.jobs
    annotations = {
        name: value
        for name, value in job["metadata"]["annotations"].items()
        if name != "metricwatch.io/applied"
    }
    plain = {**job, "metadata": {**job["metadata"], "annotations": annotations}}
    assert plan(replace(world, jobs=(plain,)), now=NOW, config=CONFIG).deletions == ()
