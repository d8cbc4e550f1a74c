"""The questions that are asked after every fault find what they are there to find."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from tests.integration.invariants import (
    Cluster,
    leaked_sessions,
    missed_ticks,
    undecided,
    wrong_objects,
    wrong_rows,
)
from tests.integration.store_rows import NOW, add_version, make_anomaly, make_world

from metricwatch.store.anomalies import write_anomalies
from metricwatch.store.connection import Connection
from metricwatch.store.decisions import deciding
from metricwatch.store.pool import Database
from metricwatch.store.rows import WHOLE
from metricwatch.store.scores import Scores, write_scores

TICK = NOW // 60 * 60
OPEN = (
    "INSERT INTO anomaly_points (model_id, watch_uid, watch_name, metric_id, labels, system, "
    "version, kind, state, severity, direction, started_at, last_anomalous_at, peak_at, ended_at, "
    "samples) SELECT model_id, watch_uid, watch_name, metric_id, labels, system, version, kind, "
    "'resolved', severity, direction, started_at - interval '1 m', started_at, started_at, "
    "started_at + interval '1 s', 1 FROM anomaly_points"
)


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[Connection]:
    """A model that serves, with three series, three ticks decided and one anomaly open."""
    async with database.acquire() as acquired:
        world = await make_world(acquired)
        for second in (0, 60, 120):
            scores = Scores(
                world.metrics, TICK + second, 1.0, 1.0, 0.0, 2.0, 1.0, 0.5, anomalous=False
            )
            await write_scores(acquired, version=1, scores=scores)
        async with deciding(database, watch_id=world.watch_id, part=WHOLE, version=1) as right:
            anomaly = make_anomaly(world.metrics[0], started_at=TICK)
            await write_anomalies(
                right.connection, watch_id=world.watch_id, version=1, anomalies=[anomaly]
            )
            await right.decided(TICK + 120)
        yield acquired


async def test_a_world_without_a_fault_has_nothing_wrong(connection: Connection) -> None:
    assert await wrong_rows(connection) == []
    assert await missed_ticks(connection, since=TICK, until=TICK + 120) == []
    assert await undecided(connection, until=TICK + 120) == []


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("UPDATE models_info SET serving_version = NULL", "checkout names version "),
        ("UPDATE models SET state = 'Retired'", "checkout names version 1"),
        ("DELETE FROM model_artifacts", "version 1 is Serving, nothing learned"),
        (OPEN, "overlap"),
        ("UPDATE anomaly_points SET peak_at = peak_at - interval '1 h'", "times are in order"),
        ("UPDATE anomaly_points SET samples = 2", "has 2 samples"),
        ("DELETE FROM metrics WHERE id = (SELECT metric_id FROM anomaly_points)", "open without"),
        (
            "INSERT INTO anomaly_system (model_id, system, state, severity, started_at, members) "
            "SELECT id, 'checkout', 'open', 'warning', now(), 3 FROM models_info",
            "says 3 members",
        ),
        ("UPDATE prediction_errors SET version = 2", "3 scores of series"),
        ("DELETE FROM metrics WHERE id <> (SELECT min(id) FROM metrics)", "3 scores of series"),
        (
            "INSERT INTO watch_health (watch_id, version, shards, shard, state) "
            "SELECT id, 7, 1, 0, 'Scoring' FROM watches",
            "version 7",
        ),
        (
            "CREATE SCHEMA metricwatch_optuna; CREATE TABLE metricwatch_optuna.studies AS "
            "SELECT 'model-1/2/watch-1' AS study_name",
            "study model-1/2/watch-1",
        ),
    ],
)
async def test_a_wrong_row_is_found(connection: Connection, fault: str, said: str) -> None:
    await connection.execute(fault)
    assert any(said in one for one in await wrong_rows(connection)), await wrong_rows(connection)


async def test_a_second_run_of_a_model_is_found(connection: Connection) -> None:
    (row,) = await connection.fetch("SELECT id FROM models_info")
    for version in (2, 3):
        await add_version(connection, row["id"], version, trained=False)
    assert any("trains versions {2,3}" in one for one in await wrong_rows(connection))


async def test_a_tick_that_was_not_scored_or_not_decided_is_found(connection: Connection) -> None:
    assert len(await missed_ticks(connection, since=TICK, until=TICK + 180)) == 3
    assert len(await undecided(connection, until=TICK + 180)) == 1
    await connection.execute("DELETE FROM decisions")
    assert len(await undecided(connection, until=TICK)) == 1


async def test_a_session_that_nobody_should_have_is_found(
    connection: Connection, database_url: str
) -> None:
    known = {"test": 5}
    assert await leaked_sessions(connection, most=known) == []
    stray = await asyncpg.connect(database_url, server_settings={"application_name": "stray"})
    try:
        assert await leaked_sessions(connection, most=known) == ["1 sessions of stray"]
        assert await leaked_sessions(connection, most={**known, "str": 1}) == []
    finally:
        await stray.close()


def _object(name: str, *, uid: str = "", owner: str = "", **labels: str) -> dict[str, Any]:
    return {
        "metadata": {
            "name": name,
            "uid": uid,
            "generation": 1,
            "labels": {f"metricwatch.io/{key}": value for key, value in labels.items()},
            **({"ownerReferences": [{"uid": owner}]} if owner else {}),
        },
        "spec": {},
    }


def _pod(name: str, component: str, *, job: str = "") -> dict[str, Any]:
    pod = _object(name, owner="replica-set")
    pod["metadata"]["labels"]["app.kubernetes.io/component"] = component
    pod["metadata"]["labels"]["batch.kubernetes.io/job-name"] = job
    return {**pod, "status": {"phase": "Running"}}


@pytest.fixture
def cluster() -> Cluster:
    model = _object("checkout", uid="model-1")
    status = {"observedGeneration": 1, "servingVersion": 1, "conditions": [{"type": "Ready"}]}
    detector = _object("checkout-detector-v1-0", owner="model-1", version="1")
    return Cluster(
        models=[{**model, "status": status}],
        watches=[],
        jobs=[],
        deployments=[detector],
        pods=[_pod("checkout-detector-v1-0-abc-def", "detector")],
        secrets=[_object("checkout-database", owner="model-1")],
    )


async def test_objects_at_rest_have_nothing_wrong(
    connection: Connection, cluster: Cluster
) -> None:
    assert await wrong_objects(connection, cluster) == []


JOB = _object("checkout-train-v1", owner="model-1", version="1")
PODS = [_pod("checkout-train-v1-0-a", "trainer", job="checkout-train-v1")] * 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"models": []}, "rows of model model-1, which is gone"),
        ({"secrets": [_object("left", owner="nobody")]}, "left belongs to nobody"),
        ({"pods": [_pod("other-1", "detector")]}, "pod other-1 belongs to nothing"),
        ({"deployments": []}, "version 1 of checkout serves without a detector"),
        (
            {"deployments": [_object("d", owner="model-1", version="4")]},
            "d runs version 4: None",
        ),
        ({"jobs": [_object("t", owner="model-1", version="9")]}, "t is of a version that is gone"),
        ({"jobs": [JOB]}, "checkout-train-v1 trains a version that is Serving"),
        ({"jobs": [JOB], "pods": PODS}, "2 pods train slice  of checkout-train-v1 at once"),
        ({"watches": [_object("w")]}, "w: the status is of None"),
    ],
)
async def test_a_wrong_object_is_found(
    connection: Connection, cluster: Cluster, change: dict[str, Any], said: str
) -> None:
    found = await wrong_objects(connection, dataclasses.replace(cluster, **change))
    assert said in found


async def test_a_status_that_says_something_else_than_the_rows_is_found(
    connection: Connection, cluster: Cluster
) -> None:
    status = {
        "observedGeneration": 1,
        "servingVersion": 2,
        "conditions": [{"type": "Ready", "observedGeneration": 0}],
    }
    changed = {**cluster.models[0], "status": status}
    found = await wrong_objects(connection, dataclasses.replace(cluster, models=[changed]))
    assert "checkout says that 2 serves, not 1" in found
    assert "checkout: Ready is of an older generation" in found
