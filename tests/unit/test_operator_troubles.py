"""Models and watches in trouble are told by name, by the statuses that the operator writes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.operator_builders import (
    CONFIG,
    NOW,
    NOW_SECONDS,
    available,
    carry_out,
    make_health,
    make_model,
    make_overview,
    make_request,
    make_row,
    make_version,
    make_watch,
)

from metricwatch.store.rows import HealthState
from metricwatch_operator.metrics import Metrics
from metricwatch_operator.observed import Observed, Problem
from metricwatch_operator.planning.plan import plan
from metricwatch_operator.troubles import MOST_NAMED, Kind, troubles_of

MODEL, WATCH = make_model(), make_watch()
REQUEST = make_request(MODEL, WATCH)


def troubles(
    *versions: Any,
    health: HealthState | None = HealthState.SCORING,
    model: dict[str, Any] = MODEL,
    watch: dict[str, Any] = WATCH,
    **observed: Any,
) -> list[tuple[Kind, str, str]]:
    """Kind, watch and reason of what is wrong in such a world, once its detectors are ready."""
    rows = (make_row(watch, make_health(state=health)),) if health else (make_row(watch),)
    overview = make_overview(model, versions, rows)
    world = {"model": model, "watches": (watch,), "overview": overview, **observed}
    before = Observed("shop", "checkout", **world)
    started = carry_out(before, plan(before, now=NOW, config=CONFIG))
    running = tuple(available(dict(one)) for one in started.deployments)
    # Looked at anew: what the first look wrote about versions is not this test's.
    ready = replace(started, deployments=running, overview=before.overview)
    after = carry_out(ready, plan(ready, now=NOW, config=CONFIG))
    assert after.model is not None
    resources = (after.model, *after.watches)
    assert all("status" in resource for resource in resources)
    found = [trouble for resource in resources for trouble in troubles_of(resource)]
    assert all((one.namespace, one.model) == ("shop", "checkout") for one in found)
    return [(one.kind, one.watch, one.reason) for one in found]


def failed(number: int = 1, **changes: Any) -> Any:
    told = {"reason": "NotEnoughData", "message": "too short", "attempt": 1, **changes}
    return make_version(REQUEST, number, "Failed", **told)


def test_what_serves_and_scores_has_no_trouble() -> None:
    assert troubles(make_version(REQUEST)) == []


def test_a_model_without_a_version_is_told_with_its_watch() -> None:
    assert troubles(make_version(REQUEST, state="Training")) == [
        (Kind.NOT_SERVING, "", "Training"),
        (Kind.NOT_SCORED, "latency", "ModelNotReady"),
    ]


def test_a_first_training_that_failed_is_told_with_its_reason() -> None:
    assert (Kind.TRAINING_FAILED, "", "NotEnoughData") in troubles(failed())


def test_a_failed_training_is_told_although_an_older_version_serves() -> None:
    serving = make_version(REQUEST, 1)
    assert troubles(serving, failed(2)) == [(Kind.TRAINING_FAILED, "", "NotEnoughData")]


def test_another_try_does_not_make_a_failure_forgotten_before_it_has_succeeded() -> None:
    serving = make_version(REQUEST, 1)
    again = make_version(REQUEST, 3, "Training")
    assert (Kind.TRAINING_FAILED, "", "NotEnoughData") in troubles(serving, failed(2), again)


def test_a_version_that_took_over_since_ends_the_trouble() -> None:
    serving = make_version(REQUEST, 2)
    assert troubles(failed(1), serving, health=None) == [
        (Kind.NOT_SCORED, "latency", "Pending"),
    ]


@pytest.mark.parametrize(
    ("state", "reason"), [("Rejected", "RecallTooLow"), ("Failed", "CrashLoop")]
)
def test_a_trained_version_that_was_refused_is_told_apart_from_failed_training(
    state: str, reason: str
) -> None:
    refused = make_version(REQUEST, 2, state, reason=reason, trained_at=NOW_SECONDS - 600)
    assert troubles(make_version(REQUEST, 1), refused) == [(Kind.VERSION_REFUSED, "", reason)]


def test_a_run_that_another_spec_made_pointless_is_no_trouble() -> None:
    serving = make_version(REQUEST, 1)
    assert troubles(serving, failed(2, reason="Superseded")) == []


def test_a_watch_whose_source_is_away_is_told() -> None:
    found = troubles(make_version(REQUEST), health=HealthState.SOURCE_UNAVAILABLE)
    assert found == [(Kind.NOT_SCORED, "latency", "SourceUnavailable")]


def test_without_a_database_every_watch_says_so() -> None:
    problem = Problem("StoreUnavailable", "PostgreSQL does not answer")
    found = troubles(make_version(REQUEST), overview=None, store_problem=problem)
    assert (Kind.NOT_SCORED, "latency", "StoreUnavailable") in found


def test_detectors_of_the_serving_version_that_are_not_ready_are_told_by_their_watches() -> None:
    version = make_version(REQUEST)
    overview = make_overview(MODEL, (version,), (make_row(WATCH, make_health()),))
    before = Observed("shop", "checkout", model=MODEL, watches=(WATCH,), overview=overview)
    after = carry_out(before, plan(before, now=NOW, config=CONFIG))
    assert after.model is not None
    assert list(troubles_of(after.model)) == []
    (trouble,) = troubles_of(after.watches[0])
    assert (trouble.kind, trouble.reason) == (Kind.NOT_SCORED, "ModelNotReady")


def test_what_is_suspended_is_no_trouble() -> None:
    suspended = make_model(suspend=True)
    assert troubles(make_version(REQUEST, state="Retired"), model=suspended) == []


def test_a_model_that_nobody_uses_is_no_trouble() -> None:
    before = Observed("shop", "checkout", model=MODEL, overview=make_overview(MODEL))
    after = carry_out(before, plan(before, now=NOW, config=CONFIG))
    assert after.model is not None
    assert "conditions" in after.model["status"]
    assert list(troubles_of(after.model)) == []


def test_what_has_no_status_yet_is_no_trouble() -> None:
    assert list(troubles_of(MODEL)) == []
    assert list(troubles_of(WATCH)) == []


def unready(number: int) -> dict[str, Any]:
    condition = {"type": "Ready", "status": "False", "reason": "NoData"}
    return {**make_watch(f"w-{number:04d}"), "status": {"conditions": [condition]}}


def test_troubles_are_exported_by_name_until_they_are_over() -> None:
    metrics = Metrics()
    metrics.look_at([unready(1)])
    labels = {"watch_namespace": "shop", "watch": "w-0001", "model": "checkout"}
    value = metrics.registry.get_sample_value
    assert value("metricwatch_watch_not_scored", {**labels, "reason": "NoData"}) == 1
    ready = {"kind": "MetricWatch", "type": "Ready", "status": "False"}
    assert value("metricwatch_condition", ready) == 1
    metrics.look_at([])
    assert value("metricwatch_watch_not_scored", {**labels, "reason": "NoData"}) is None


def test_an_outage_of_everything_is_told_by_so_many_names_only() -> None:
    metrics = Metrics()
    metrics.look_at(unready(number) for number in range(MOST_NAMED + 50))
    (family,) = (
        one for one in metrics.registry.collect() if one.name == "metricwatch_watch_not_scored"
    )
    assert len(family.samples) == MOST_NAMED
    ready = {"kind": "MetricWatch", "type": "Ready", "status": "False"}
    assert metrics.registry.get_sample_value("metricwatch_condition", ready) == MOST_NAMED + 50
