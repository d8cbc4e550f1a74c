"""What a person sees of when a model is trained: drift, the queue, the next run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.operator_builders import (
    CONFIG,
    NOW,
    NOW_SECONDS,
    make_health,
    make_job,
    make_model,
    make_overview,
    make_request,
    make_row,
    make_version,
    make_watch,
)

from metricwatch.store.rows import Version
from metricwatch_operator.metrics import Metrics
from metricwatch_operator.observed import Observed, Problem
from metricwatch_operator.planning.plan import plan

DAY = 86400


def _world(
    *versions: Version,
    model: dict[str, Any] | None = None,
    drift: tuple[float | None, ...] = (None,),
    queue_position: int | None = None,
) -> Observed:
    model = model or make_model()
    watches = tuple(make_watch(name) for name in ("latency", "errors", "load")[: len(drift)])
    rows = tuple(
        make_row(watch, make_health(drift=share))
        for watch, share in zip(watches, drift, strict=True)
    )
    overview = replace(make_overview(model, versions, rows), queue_position=queue_position)
    return Observed("shop", "checkout", model=model, watches=watches, overview=overview)


def _version(number: int = 1, state: str = "Serving", watches: int = 1, **changes: Any) -> Version:
    names = ("latency", "errors", "load")[:watches]
    request = make_request(make_model(), *(make_watch(name) for name in names))
    return make_version(request, number, state, **changes)


def _status(observed: Observed) -> dict[str, Any]:
    steps = plan(observed, now=NOW, config=CONFIG)
    found = next(one for one in steps.statuses if one["kind"] == "AnomalyModel")
    status: dict[str, Any] = found["status"]
    return status


def _condition(status: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in status["conditions"] if one["type"] == name)
    return found


@pytest.mark.parametrize(
    ("drift", "status", "reason"),
    [
        ((None,), "Unknown", "Pending"),
        ((0.0,), "False", "AsLearned"),
        ((0.24, None), "False", "AsLearned"),
        ((0.1, 0.25), "True", "Drifted"),
    ],
)
def test_drift_of_any_watch_is_a_condition_of_the_model(
    drift: tuple[float | None, ...], status: str, reason: str
) -> None:
    condition = _condition(_status(_world(_version(watches=len(drift)), drift=drift)), "Drifted")
    assert (condition["status"], condition["reason"]) == (status, reason)


def test_drift_names_the_worst_watch_and_says_when_it_is_answered() -> None:
    trained = NOW_SECONDS - DAY
    version = _version(watches=3, created_at=trained, trained_at=trained)
    condition = _condition(_status(_world(version, drift=(0.3, 0.8, 0.1))), "Drifted")
    assert condition["message"] == (
        "three quarters or more of the series of watch errors are no longer as learned; "
        "a new version waits: not before 2026-03-02T12:00:00Z"
    )


def test_drift_that_nobody_wants_an_answer_to_is_told_all_the_same() -> None:
    model = make_model(training={"retrainOnDrift": False})
    condition = _condition(_status(_world(_version(), model=model, drift=(1.0,))), "Drifted")
    assert condition["message"] == "all of the series of watch latency are no longer as learned"


def test_nothing_is_known_of_drift_before_a_version_serves() -> None:
    condition = _condition(_status(_world(_version(1, "Training"))), "Drifted")
    assert (condition["status"], condition["message"]) == ("Unknown", "no version serves yet")


def test_the_next_run_is_the_one_of_the_schedule() -> None:
    model = make_model(training={"schedule": "0 3 * * *", "timeZone": "Europe/Berlin"})
    status = _status(_world(_version(), model=model))
    assert status["nextTrainingTime"] == "2026-03-02T02:00:00Z"
    assert "nextTrainingTime" not in _status(_world(_version()))


def test_the_next_run_is_another_try_when_that_comes_first() -> None:
    model = make_model(training={"schedule": "0 3 * * *"})
    failed = _version(1, "Failed", reason="SourceUnavailable", created_at=NOW_SECONDS - 20)
    status = _status(_world(failed, model=model))
    assert status["nextTrainingTime"] == "2026-03-01T12:00:40Z"


def test_a_version_that_waits_for_its_turn_says_how_many_come_first() -> None:
    training = _version(2, "Training", created_at=NOW_SECONDS)
    waiting = _world(_version(), training, queue_position=CONFIG.concurrent_trainings)
    status = _status(waiting)
    assert status["queuePosition"] == CONFIG.concurrent_trainings
    assert not plan(waiting, now=NOW, config=CONFIG).creates
    message = _condition(status, "Trained")["message"]
    assert message.startswith("version 2 waits for its turn: 4 runs of other models come")


def test_a_version_whose_turn_it_is_has_no_place_in_the_queue() -> None:
    training = _version(2, "Training", created_at=NOW_SECONDS)
    next_one = _world(_version(), training, queue_position=CONFIG.concurrent_trainings - 1)
    assert "queuePosition" not in _status(next_one)
    assert plan(next_one, now=NOW, config=CONFIG).creates


def test_a_version_that_was_made_before_maintenance_does_not_begin_in_it() -> None:
    maintenance = [{"schedule": "30 11 * * *", "duration": "1h"}]
    training = _version(2, "Training", created_at=NOW_SECONDS - 3600)
    world = _world(_version(), training, queue_position=0)
    working = replace(world, watches=(make_watch(detection={"maintenance": maintenance}),))
    steps = plan(working, now=NOW, config=CONFIG)
    assert not steps.creates
    message = _condition(_status(working), "Trained")["message"]
    assert message.startswith("version 2 waits for its turn: maintenance until 2026-03-01T12:30")
    assert "queuePosition" not in _status(working)


def test_a_run_that_began_goes_on_in_maintenance_and_whoever_else_waits() -> None:
    maintenance = [{"schedule": "30 11 * * *", "duration": "1h"}]
    training = _version(2, "Training", created_at=NOW_SECONDS - 3600)
    world = _world(_version(), training, queue_position=CONFIG.concurrent_trainings)
    working = replace(
        world,
        watches=(make_watch(detection={"maintenance": maintenance}),),
        jobs=(make_job(training),),
    )
    steps = plan(working, now=NOW, config=CONFIG)
    assert not [one for one in steps.deletions if one.kind == "Job"]
    message = _condition(_status(working), "Trained")["message"]
    assert message.startswith("version 2 is being trained")


def test_what_is_known_of_training_stays_while_the_database_is_away() -> None:
    model = make_model()
    drifted = {
        "type": "Drifted",
        "status": "True",
        "reason": "Drifted",
        "message": "all",
        "lastTransitionTime": "2026-03-01T11:00:00Z",
    }
    known = {"queuePosition": 5, "nextTrainingTime": "2026-03-02T03:00:00Z"}
    model["status"] = {**known, "conditions": [drifted]}
    away = Problem("StoreUnavailable", "connection refused")
    blind = replace(_world(_version(), model=model), overview=None, store_problem=away)
    status = _status(blind)
    assert {name: status[name] for name in known} == known
    assert _condition(status, "Drifted")["status"] == "True"


def test_models_that_wait_for_their_turn_are_counted() -> None:
    metrics = Metrics()
    models = [{**make_model(name), "status": {"queuePosition": 4}} for name in ("a", "b")]
    metrics.conditions.replace([*models, make_model("c"), make_watch()])
    assert metrics.registry.get_sample_value("metricwatch_training_queue") == 2
    metrics.conditions.replace([])
    assert metrics.registry.get_sample_value("metricwatch_training_queue") == 0
