"""When a version is trained, on a real API server and a real database."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from tests.integration.operator_fixture import (
    Stage,
    TrainerEnd,
    operator_plane,
    stage,
    wait_for,
)

from metricwatch.store.health import record_health
from metricwatch.store.pool import Database
from metricwatch.store.rows import HealthState, Slice, WatchHealth

__all__ = ["operator_plane", "stage"]
MODEL = "AnomalyModel"


def _serve_first_version(stage: Stage, **spec: Any) -> None:
    stage.operator().start()
    stage.add_model(**spec)
    stage.add_watch()
    stage.wait_for_serving(1)


async def _grow_old(stage: Stage, days: int) -> None:
    """As if every version had been trained so many days ago."""
    await stage.rows(
        "UPDATE models SET created_at = created_at - make_interval(days => $1), "
        "trained_at = trained_at - make_interval(days => $1)",
        days,
    )


def _status(stage: Stage, name: str = "checkout") -> dict[str, Any]:
    return dict(stage.namespace.get(MODEL, name).get("status") or {})


def _message(stage: Stage, condition: str, name: str = "checkout") -> str:
    found = stage.namespace.conditions(MODEL, name).get(condition, {})
    return str(found.get("message", ""))


async def _versions(stage: Stage) -> int:
    return len(await stage.rows("SELECT 1 FROM models"))


def _was_told(stage: Stage, words: str) -> bool:
    return any(words in note for _, note in stage.namespace.events())


async def test_a_schedule_that_was_due_brings_one_version(stage: Stage) -> None:
    _serve_first_version(stage)
    await _grow_old(stage, 2)
    schedule = {"schedule": "0 3 * * *", "timeZone": "Europe/Berlin"}
    stage.namespace.merge(MODEL, "checkout", {"spec": {"training": schedule}})
    told = "version 2: schedule 0 3 * * * Europe/Berlin, due at"
    wait_for(lambda: _was_told(stage, told), stage.describe)
    wait_for(lambda: "nextTrainingTime" in _status(stage), stage.describe)
    await asyncio.sleep(2.5)
    assert await _versions(stage) == 2


async def test_watches_that_are_added_one_after_another_bring_one_version(stage: Stage) -> None:
    stage.operator(METRICWATCH_WATCHES_SETTLE_SECONDS="3").start()
    stage.add_model()
    stage.add_watch()
    stage.wait_for_serving(1)
    for name in ("errors", "load", "queue"):
        stage.add_watch(name)
        await asyncio.sleep(0.5)
    stage.wait_for_serving(2)
    assert await _versions(stage) == 2
    assert _was_told(stage, "watch errors added, watch load added, watch queue added")


async def test_a_watch_that_goes_trains_nothing(stage: Stage) -> None:
    stage.add_model()
    stage.add_watch()
    stage.add_watch("errors")
    stage.operator().start()
    stage.wait_for_serving(1)
    stage.namespace.delete("MetricWatch", "errors")
    wait_for(lambda: _status(stage).get("watches") == 1, stage.describe)
    await asyncio.sleep(2.5)
    assert await _versions(stage) == 1
    stage.namespace.wait_for_condition(MODEL, "checkout", "Trained", "True", reason="Trained")


async def test_drift_that_detectors_report_brings_a_version(
    stage: Stage, database: Database
) -> None:
    _serve_first_version(stage)
    (row,) = await stage.rows("SELECT id FROM watches")
    health = WatchHealth(
        watch_id=row["id"],
        version=1,
        part=Slice(),
        state=HealthState.SCORING,
        series=10,
        scored_at=int(time.time()),
        drift=0.5,
    )
    async with database.acquire() as connection:
        await record_health(connection, health)
    stage.namespace.wait_for_condition(MODEL, "checkout", "Drifted", "True", reason="Drifted")
    wait_for(lambda: "a new version waits: not before" in _message(stage, "Drifted"))
    assert await _versions(stage) == 1
    await _grow_old(stage, 3)
    wait_for(
        lambda: _was_told(stage, "version 2: half or more of the series of watch latency"),
        stage.describe,
    )


async def test_nothing_is_trained_in_maintenance(stage: Stage) -> None:
    stage.operator().start()
    stage.add_model()
    maintenance = [{"schedule": "* * * * *", "duration": "10m"}]
    stage.add_watch(detection={"maintenance": maintenance})
    wait_for(lambda: "maintenance until" in _message(stage, "Reconciling"), stage.describe)
    assert await _versions(stage) == 0
    stage.namespace.merge("MetricWatch", "latency", {"spec": {"detection": {"maintenance": []}}})
    stage.wait_for_serving(1)


async def test_models_wait_for_their_turn(stage: Stage) -> None:
    stage.kubelet.trainer = None
    operator = stage.operator(METRICWATCH_CONCURRENT_TRAININGS="1").start()
    stage.add_model("first")
    stage.add_watch("one", model="first")
    wait_for(lambda: stage.namespace.names("Job") == ["first-train-v1"], stage.describe)
    stage.add_model("second")
    stage.add_watch("two", model="second")
    wait_for(lambda: _status(stage, "second").get("queuePosition") == 1, stage.describe)
    assert stage.namespace.names("Job") == ["first-train-v1"]
    assert "waits for its turn: 1 runs" in _message(stage, "Trained", "second")
    wait_for(lambda: operator.metric("metricwatch_training_queue") == 1.0, operator.tail)

    stage.kubelet.trainer = TrainerEnd()
    stage.wait_for_serving(1, "first")
    stage.wait_for_serving(1, "second")
    assert "queuePosition" not in _status(stage, "second")


async def test_the_delay_before_another_try_survives_the_operator(stage: Stage) -> None:
    stage.kubelet.trainer = TrainerEnd(10, "TooLittleHistory", "3 of 96", retry_after=600)
    first = stage.operator()
    first.start()
    stage.add_model()
    stage.add_watch()
    stage.namespace.wait_for_condition(
        MODEL, "checkout", "Reconciling", "True", reason="ProgressingWithRetry"
    )
    due = _status(stage)["nextTrainingTime"]
    assert first.stop() == 0
    stage.operator().start().wait_until_watching()
    await asyncio.sleep(2.5)
    assert await _versions(stage) == 1
    assert _status(stage)["nextTrainingTime"] == due

    # More memory is no other spec, but a reason to try at once.
    stage.kubelet.trainer = TrainerEnd()
    resources = {"training": {"resources": {"limits": {"memory": "8Gi"}}}}
    stage.namespace.merge(MODEL, "checkout", {"spec": resources})
    stage.wait_for_serving(2)
    rows = await stage.rows("SELECT attempt FROM models WHERE version = 2")
    assert rows == [{"attempt": 1}]
