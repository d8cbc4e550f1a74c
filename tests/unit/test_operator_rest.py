"""How often a model is looked at without any event."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.unit.operator_builders import (
    CONFIG,
    NOW,
    NOW_SECONDS,
    make_health,
    make_model,
    make_overview,
    make_request,
    make_row,
    make_serving_world,
    make_version,
    make_watch,
    plan,
    settle,
)

from metricwatch.resources import parse_watch
from metricwatch.store.rows import HealthState, ModelOverview
from metricwatch_operator.observed import Observed, Problem
from metricwatch_operator.planning.conditions import format_time
from metricwatch_operator.planning.health import Health
from metricwatch_operator.planning.rest import (
    AFTER_A_WRITE_SECONDS,
    REST_SECONDS,
    WHILE_NOTHING_SERVES_SECONDS,
    WHILE_SAMPLES_ARE_LATE_SECONDS,
    WHILE_THE_STORE_IS_AWAY_SECONDS,
    own_moment,
)
from metricwatch_operator.planning.watch_status import fresh_until


def wait_of(observed: Observed, *, later: float = 0) -> float:
    wait = plan(observed, now=NOW + timedelta(seconds=later), config=CONFIG).requeue_after
    assert wait is not None
    return wait


def at_rest(*health: Any, **spec: Any) -> Observed:
    """A world with nothing to do, whose watch reports this."""
    world = settle(make_serving_world(**spec))
    assert world.overview is not None
    rows = tuple(replace(row, health=health or row.health) for row in world.overview.watches)
    return settle(replace(world, overview=replace(world.overview, watches=rows)))


def overview_of(observed: Observed) -> ModelOverview:
    assert observed.overview is not None
    return observed.overview


def test_a_model_at_rest_is_looked_at_once_in_five_minutes_at_its_own_moment() -> None:
    world = at_rest(make_health(last_sample_at=None))
    first = wait_of(world)
    assert 0 < first <= REST_SECONDS
    assert wait_of(world, later=first) == pytest.approx(REST_SECONDS)
    # Looked at in between, it keeps its moment.
    assert wait_of(world, later=first / 2) == pytest.approx(first / 2)


def test_models_have_different_moments() -> None:
    waits = [own_moment(Observed("shop", f"model-{n}"), now=NOW) for n in range(5000)]
    in_each_second = [sum(int(wait) == second for wait in waits) for second in range(300)]
    # 17 would be even.
    assert max(in_each_second) <= 40


def test_a_write_is_looked_after_at_once() -> None:
    model, watch = make_model(), make_watch()
    overview = make_overview(model, (), (make_row(watch),))
    fresh = Observed("shop", "checkout", model=model, watches=(watch,), overview=overview)
    assert wait_of(fresh) == AFTER_A_WRITE_SECONDS


def test_while_the_database_is_away_the_pulse_is_what_hears_of_its_return() -> None:
    away = replace(at_rest(), overview=None, store_problem=Problem("StoreUnavailable", "refused"))
    assert wait_of(away) == WHILE_THE_STORE_IS_AWAY_SECONDS


def test_a_version_in_training_on_trial_or_just_promoted_is_looked_after_closely() -> None:
    world = at_rest()
    (serving,) = overview_of(world).versions
    # Deployed already, so that nothing is left to write.
    trained = replace(serving, version=2, state=serving.state.CANDIDATE, trained_at=NOW_SECONDS)
    held = {"rollout": {"autoPromote": False}}
    trial = settle(
        replace(at_rest(**held), overview=replace(overview_of(world), versions=(trained, serving)))
    )
    assert wait_of(trial) <= CONFIG.resync_seconds
    before = replace(serving, state=serving.state.RETIRED)
    promoted = replace(serving, version=2, served_at=NOW_SECONDS - 60, replaced=1)
    watched = replace(
        overview_of(world), versions=(promoted, before), serving_version=promoted.version
    )
    assert wait_of(settle(replace(world, overview=watched))) <= CONFIG.resync_seconds


def test_before_anything_serves_a_run_under_way_is_looked_at_each_minute() -> None:
    model, watch = make_model(), make_watch()
    version = make_version(make_request(model, watch), 1, "Training")
    overview = make_overview(model, (version,), (make_row(watch),))
    world = Observed("shop", "checkout", model=model, watches=(watch,), overview=overview)
    assert wait_of(settle(world)) == WHILE_NOTHING_SERVES_SECONDS


def test_a_model_that_nobody_watches_rests_too() -> None:
    model = make_model()
    world = Observed("shop", "checkout", model=model, overview=make_overview(model))
    settled = settle(world)
    assert wait_of(settled) == own_moment(settled, now=NOW)


def test_samples_that_stop_are_missed_on_time() -> None:
    watch = parse_watch(make_watch())
    until = fresh_until(watch, Health(last_sample_at=0))
    assert until is not None
    newest = NOW_SECONDS - int(until) + 20
    world = at_rest(make_health(last_sample_at=newest))
    wait = wait_of(world)
    assert wait <= 21
    (status,) = plan(world, now=NOW + timedelta(seconds=21), config=CONFIG).statuses
    told = {one["type"]: one for one in status["status"]["conditions"]}
    assert told["DataFresh"]["status"] == "False"


def test_late_samples_are_waited_for_unless_their_detector_says_that_there_are_none() -> None:
    old = NOW_SECONDS - 10_000
    late = at_rest(make_health(last_sample_at=old))
    assert wait_of(late) <= WHILE_SAMPLES_ARE_LATE_SECONDS
    silent = at_rest(make_health(last_sample_at=old, state=HealthState.NO_DATA))
    assert wait_of(silent) == own_moment(silent, now=NOW)


def test_a_run_that_is_asked_for_in_the_future_begins_on_time() -> None:
    world = at_rest(make_health(last_sample_at=None))
    assert world.model is not None
    when = NOW + timedelta(seconds=10)
    metadata = world.model["metadata"] | {
        "annotations": {"metricwatch.io/retrain-requested-at": format_time(when)}
    }
    asked = settle(replace(world, model={**world.model, "metadata": metadata}))
    assert wait_of(asked) <= 10
    steps = plan(asked, now=when + timedelta(seconds=1), config=CONFIG)
    assert [type(step).__name__ for step in steps.writes] == ["CreateVersion"]


def test_a_schedule_is_kept_by_a_model_at_rest() -> None:
    # NOW is noon.
    world = at_rest(make_health(last_sample_at=None), training={"schedule": "1 12 * * *"})
    assert wait_of(world) <= 60
