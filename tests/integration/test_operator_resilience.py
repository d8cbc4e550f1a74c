"""What the operator does when something around it fails, and that it writes only what is new."""

from __future__ import annotations

import asyncio
import signal
import time
from dataclasses import replace
from pathlib import Path

from tests.integration.invariants import wrong_rows
from tests.integration.operator_fixture import (
    RESYNC_SECONDS,
    SYSTEM,
    WAIT_SECONDS,
    OperatorProcess,
    Stage,
    TrainerEnd,
    operator_plane,
    stage,
    wait_for,
)
from tests.integration.postgres_fixture import Postgres
from tests.integration.wrong_clock import WrongClock

from metricwatch.store.health import record_health
from metricwatch.store.pool import Database
from metricwatch.store.rows import HealthState, Slice, WatchHealth

__all__ = ["operator_plane", "stage"]


def _revisions(stage: Stage) -> dict[tuple[str, str], str]:
    return {
        (kind, one["metadata"]["name"]): one["metadata"]["resourceVersion"]
        for kind in ("AnomalyModel", "MetricWatch", "Job", "Deployment", "Secret")
        for one in stage.namespace.all(kind)
    }


def _settled(stage: Stage) -> dict[tuple[str, str], str]:
    """Revisions that did not change for some seconds, however slow the controllers are."""
    seen = {"at": time.monotonic(), "revisions": _revisions(stage)}

    def is_quiet() -> bool:
        now = _revisions(stage)
        if now != seen["revisions"]:
            seen.update(at=time.monotonic(), revisions=now)
        return time.monotonic() - float(str(seen["at"])) > 3.0

    wait_for(is_quiet, stage.describe)
    return _revisions(stage)


def _reconciles(operator: OperatorProcess) -> float:
    outcomes = ("changed", "unchanged", "failed")
    names = [f'metricwatch_reconcile_total{{outcome="{outcome}"}}' for outcome in outcomes]
    return sum(operator.metric(name) or 0.0 for name in names)


def _serve(stage: Stage) -> OperatorProcess:
    operator = stage.operator().start()
    stage.add_model()
    stage.add_watch()
    stage.wait_for_serving(1)
    stage.namespace.wait_for_condition("AnomalyModel", "checkout", "Ready", "True")
    return operator


async def test_reconciling_again_writes_nothing(stage: Stage) -> None:
    operator = _serve(stage)
    before = _settled(stage)
    uid = stage.namespace.get("AnomalyModel", "checkout")["metadata"]["uid"]
    for _ in range(3):
        done = _reconciles(operator)
        # A model at rest is looked at when somebody says that something changed.
        await stage.rows("SELECT pg_notify('metricwatch', $1)", uid)
        wait_for(lambda done=done: _reconciles(operator) > done, stage.describe)
    assert _revisions(stage) == before


async def test_a_model_at_rest_is_left_alone_until_something_changes(
    stage: Stage, database: Database
) -> None:
    operator = _serve(stage)
    row = (await stage.rows("SELECT id FROM watches"))[0]["id"]
    health = WatchHealth(watch_id=row, version=1, part=Slice(), state=HealthState.SCORING)
    async with database.acquire() as connection:
        await record_health(connection, replace(health, series=3))
    stage.namespace.wait_for_condition("MetricWatch", "latency", "Ready", "True")
    _settled(stage)
    # The pulse notices at its next beat what a look has seen, and its own moment, once in five
    # minutes, may be now; but a model that is not at rest is looked at all the time.
    seen = {"at": time.monotonic(), "looks": _reconciles(operator)}

    def is_left_alone() -> bool:
        looks = _reconciles(operator)
        if looks != seen["looks"]:
            seen.update(at=time.monotonic(), looks=looks)
        return time.monotonic() - seen["at"] > 3 * RESYNC_SECONDS

    await asyncio.to_thread(wait_for, is_left_alone, stage.describe)
    # Nobody is notified of a number that changes with a tick.
    async with database.acquire() as connection:
        await record_health(connection, replace(health, series=4))
    wait_for(
        lambda: stage.namespace.get("MetricWatch", "latency")["status"].get("series") == 4,
        stage.describe,
    )


async def test_a_restarted_operator_writes_nothing(stage: Stage) -> None:
    operator = _serve(stage)
    before = _settled(stage)
    assert operator.stop() == 0
    again = stage.operator().start()
    again.wait_until_watching()
    wait_for(lambda: _reconciles(again) >= 1, stage.describe)
    assert _settled(stage) == before
    assert len(await stage.rows("SELECT 1 FROM models")) == 1


async def test_an_operator_that_was_killed_is_continued_by_the_next(stage: Stage) -> None:
    stage.kubelet.trainer = None
    operator = stage.operator().start()
    stage.add_model()
    stage.add_watch()
    wait_for(lambda: stage.namespace.all("Job"), stage.describe)
    operator.stop(signal.SIGKILL)
    stage.kubelet.trainer = TrainerEnd()
    stage.operator().start()
    stage.wait_for_serving(1)
    assert stage.namespace.names("Job") == ["checkout-train-v1"]


async def test_a_second_replica_takes_over_when_the_leader_stops(stage: Stage) -> None:
    first = _serve(stage)
    second = stage.operator().start()
    wait_for(second.is_ready, second.tail)
    assert second.metric("metricwatch_leader") == 0.0
    assert first.stop() == 0
    second.wait_until_watching()
    stage.namespace.merge("AnomalyModel", "checkout", {"spec": {"training": {"window": "7d"}}})
    stage.wait_for_serving(2)


async def test_a_replica_that_may_not_touch_the_lease_never_calls_itself_ready(
    stage: Stage,
) -> None:
    operator = stage.operator(METRICWATCH_LEASE_NAME="somebody-elses").start()
    wait_for(lambda: "cannot take the lease" in operator.tail(), operator.tail)
    assert not operator.is_ready()
    assert operator.metric("metricwatch_leader") == 0.0


async def test_an_operator_that_lost_the_lease_ends_at_once(stage: Stage) -> None:
    operator = _serve(stage)
    path = f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases/metricwatch-operator"
    stolen = {"spec": {"holderIdentity": "somebody-else", "leaseDurationSeconds": 60}}
    headers = {"Content-Type": "application/merge-patch+json"}
    assert stage.namespace.client.patch(path, json=stolen, headers=headers).is_success
    assert operator.process is not None
    assert operator.process.wait(WAIT_SECONDS) == 1


async def test_a_database_that_is_away_is_told_and_changes_no_child(
    stage: Stage, postgres: Postgres
) -> None:
    _serve(stage)
    children = stage.namespace.names("Deployment")
    postgres.stop()
    stage.namespace.wait_for_condition(
        "AnomalyModel", "checkout", "StoreAvailable", "False", reason="StoreUnavailable"
    )
    status = stage.namespace.get("AnomalyModel", "checkout")["status"]
    assert status["servingVersion"] == 1
    assert stage.namespace.names("Deployment") == children

    stage.namespace.merge("AnomalyModel", "checkout", {"spec": {"training": {"window": "7d"}}})
    postgres.start()
    stage.namespace.wait_for_condition("AnomalyModel", "checkout", "StoreAvailable", "True")
    stage.wait_for_serving(2)


async def test_a_database_without_tables_is_told_and_waited_for(
    stage: Stage, empty_database_url: str
) -> None:
    operator = stage.operator(METRICWATCH_DATABASE_URL=empty_database_url).start()
    stage.add_model()
    said = stage.namespace.wait_for_condition(
        "AnomalyModel", "checkout", "StoreAvailable", "False", reason="StoreSchemaMismatch"
    )
    assert "metricwatch migrate" in said["message"]
    wait_for(operator.is_ready, operator.tail)


async def test_an_api_server_that_restarts_is_waited_for(stage: Stage) -> None:
    operator = _serve(stage)
    stage.plane.restart()
    stage.namespace.merge("AnomalyModel", "checkout", {"spec": {"training": {"window": "7d"}}})

    def serves() -> bool:
        # Away for longer than the Lease allows, the leader ends itself, sooner or later, and a
        # kubelet starts it again.
        assert operator.process is not None
        if operator.process.poll() is not None:
            operator.start()
        return stage.namespace.get("AnomalyModel", "checkout")["status"]["servingVersion"] == 2

    wait_for(serves, stage.describe)


async def test_a_secret_value_is_never_logged(stage: Stage) -> None:
    operator = _serve(stage)
    text = operator.log.read_text()
    assert "version 1 serves" in text
    assert "secret@" not in text


async def test_without_a_list_of_namespaces_all_are_watched(stage: Stage) -> None:
    # Models of other tests are still in training there, and no kubelet of this one runs them.
    stage.operator(METRICWATCH_NAMESPACES="", METRICWATCH_CONCURRENT_TRAININGS="100").start()
    stage.add_model()
    stage.add_watch()
    stage.wait_for_serving(1)


async def test_a_quota_that_leaves_no_room_is_told_and_its_end_is_noticed(stage: Stage) -> None:
    quotas = f"/api/v1/namespaces/{stage.namespace.name}/resourcequotas"
    hard = {"count/jobs.batch": "0"}
    quota = {"metadata": {"name": "full"}, "spec": {"hard": hard}}
    assert stage.namespace.client.post(quotas, json=quota).is_success
    # The part of the quota controller, which does not run here.
    counted = {"status": {"hard": hard, "used": hard}}
    headers = {"Content-Type": "application/merge-patch+json"}
    path = f"{quotas}/full/status"
    assert stage.namespace.client.patch(path, json=counted, headers=headers).is_success
    stage.operator().start()
    stage.add_model()
    stage.add_watch()
    said = stage.namespace.wait_for_condition(
        "AnomalyModel", "checkout", "Stalled", "True", reason="Forbidden"
    )
    assert "full" in said["message"]
    assert stage.namespace.client.delete(f"{quotas}/full").is_success
    stage.wait_for_serving(1)
    wait_for(lambda: "Stalled" not in stage.namespace.conditions("AnomalyModel", "checkout"))


async def test_operators_whose_clocks_are_minutes_off_take_turns_and_bring_versions_to_serve(
    stage: Stage, database: Database, tmp_path: Path
) -> None:
    clocks = [WrongClock(tmp_path / name) for name in ("ahead", "behind")]
    for clock, seconds in zip(clocks, (300, -300), strict=True):
        clock.set(seconds)
    ahead, behind = [stage.operator(**clock.variables) for clock in clocks]
    ahead.start()
    stage.add_model()
    stage.add_watch()
    stage.wait_for_serving(1)
    behind.start()
    wait_for(behind.is_ready, behind.tail)
    # The Lease was renewed at times ten minutes from now, by its clock; and it is held.
    assert behind.metric("metricwatch_leader") == 0.0
    ahead.stop(signal.SIGKILL)
    wait_for(lambda: behind.metric("metricwatch_leader") == 1.0, behind.tail)
    stage.namespace.merge("AnomalyModel", "checkout", {"spec": {"algorithm": {"type": "zscore"}}})
    stage.wait_for_serving(2)
    stage.namespace.wait_for_condition("AnomalyModel", "checkout", "Ready", "True")
    async with database.acquire() as connection:
        assert await wrong_rows(connection) == []
