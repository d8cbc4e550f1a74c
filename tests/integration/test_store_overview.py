import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from tests.integration.store_rows import (
    NOW,
    add_model,
    add_version,
    add_watch,
    make_anomaly,
    make_world,
)

from metricwatch.resources.anomalymodel import VersionState
from metricwatch.store.anomalies import write_anomalies
from metricwatch.store.connection import Connection
from metricwatch.store.health import read_health, record_health
from metricwatch.store.models import set_state
from metricwatch.store.overview import read_model_overview
from metricwatch.store.pool import Database
from metricwatch.store.rows import AnomalyState, HealthState, Slice, WatchHealth
from metricwatch.store.systems import count_system_series


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[Connection]:
    async with database.acquire() as acquired:
        yield acquired


def make_health(watch_id: int, **changes: object) -> WatchHealth:
    health = WatchHealth(
        watch_id=watch_id,
        version=1,
        part=Slice(),
        state=HealthState.SCORING,
        message="",
        series=3,
        left_out=1,
        scored_at=NOW,
        last_sample_at=NOW - 5,
        lag_seconds=0.25,
    )
    return replace(health, **changes)


async def test_an_unknown_model_has_no_overview(database: Database) -> None:
    assert await read_model_overview(database, "nobody") is None


async def test_a_model_without_anything_has_an_empty_overview(database: Database) -> None:
    async with database.acquire() as connection:
        model_id = await add_model(connection)
    overview = await read_model_overview(database, "model-1")
    assert overview is not None
    assert (overview.id, overview.uid, overview.namespace, overview.name, overview.generation) == (
        model_id,
        "model-1",
        "shop",
        "checkout",
        1,
    )
    assert (overview.serving_version, overview.versions, overview.watches) == (None, (), ())


async def test_an_overview_shows_versions_watches_anomalies_and_health(database: Database) -> None:
    async with database.acquire() as connection:
        world = await make_world(connection)
        await add_version(connection, world.model_id, 2)
        await add_watch(connection, world.model_id, "a-second-watch")
        a, b, c = world.metrics
        await write_anomalies(
            connection,
            watch_id=world.watch_id,
            version=1,
            anomalies=[
                make_anomaly(a),
                make_anomaly(b, severity="critical"),
                make_anomaly(
                    c, started_at=NOW + 60, state=AnomalyState.RESOLVED, ended_at=NOW + 120
                ),
            ],
        )
        await connection.execute(
            "UPDATE anomaly_points SET state = 'acknowledged' WHERE metric_id = $1", a
        )
        await record_health(connection, make_health(world.watch_id))
    overview = await read_model_overview(database, "model-1")
    assert overview is not None
    assert overview.serving_version == 1
    assert [(one.version, one.state) for one in overview.versions] == [
        (2, VersionState.TRAINING),
        (1, VersionState.SERVING),
    ]
    assert overview.versions[1].report == {"totals": {"series": 3}}
    second, first = overview.watches
    assert (second.uid, second.open_anomalies, second.last_anomaly_at, second.health) == (
        "a-second-watch",
        {},
        None,
        (),
    )
    assert (first.uid, first.name) == ("watch-1", "name-of-watch-1")
    assert first.open_anomalies == {"warning": 1, "critical": 1}
    assert first.last_anomaly_at == NOW + 60
    (health,) = first.health_of(1)
    assert replace(health, updated_at=0) == make_health(world.watch_id)
    assert first.health_of(2) == ()


async def test_an_overview_waits_for_nobody(database: Database) -> None:
    async with database.acquire() as connection:
        await make_world(connection)
    async with database.transaction() as other:
        for table in ("models_info", "models", "watches"):
            await other.execute(f"SELECT * FROM {table} FOR UPDATE")
        assert await read_model_overview(database, "model-1") is not None


async def test_models_wait_for_their_training_in_the_order_of_their_versions(
    database: Database,
) -> None:
    async with database.acquire() as connection:
        ids = {uid: await add_model(connection, uid) for uid in ("a", "b", "c", "d")}
        for uid in ("b", "a", "c"):
            await add_version(connection, ids[uid], trained=False)
        await add_version(connection, ids["d"], serving=True)

    async def positions() -> dict[str, int | None]:
        found = {}
        for uid in ids:
            overview = await read_model_overview(database, uid)
            assert overview is not None
            found[uid] = overview.queue_position
        return found

    assert await positions() == {"b": 0, "a": 1, "c": 2, "d": None}
    async with database.acquire() as connection:
        await connection.execute("UPDATE models_info SET suspended = true WHERE uid = 'b'")
    # It is passed over, and finds its old place when it goes on.
    assert await positions() == {"b": 0, "a": 0, "c": 1, "d": None}
    async with database.acquire() as connection:
        await set_state(connection, model_id=ids["a"], version=1, state=VersionState.FAILED)
    assert await positions() == {"b": 0, "a": None, "c": 0, "d": None}
    async with database.acquire() as connection:
        await connection.execute(
            "UPDATE models_info SET suspended = false; "
            "UPDATE models SET created_at = now() - interval '25 hours' "
            f"WHERE model_id = {ids['b']}"
        )
    # Nobody has looked after it for a day: others do not wait for it any longer.
    assert (await positions())["c"] == 0


async def test_drift_is_kept_as_it_was_told_last(connection: Connection) -> None:
    world = await make_world(connection)
    for drift in (None, 0.3, None, 0.25):
        await record_health(connection, make_health(world.watch_id, drift=drift))
        (health,) = await read_health(connection, watch_id=world.watch_id)
        assert health.drift == (None if drift is None else pytest.approx(drift))


async def test_health_keeps_the_last_times_while_there_is_nothing_new(
    connection: Connection,
) -> None:
    world = await make_world(connection)
    await record_health(connection, make_health(world.watch_id))
    away = make_health(
        world.watch_id,
        state=HealthState.SOURCE_UNAVAILABLE,
        message="connection refused",
        scored_at=None,
        last_sample_at=None,
        lag_seconds=None,
    )
    await record_health(connection, away)
    (health,) = await read_health(connection, watch_id=world.watch_id)
    assert (health.state, health.message) == (HealthState.SOURCE_UNAVAILABLE, "connection refused")
    assert (health.scored_at, health.last_sample_at, health.lag_seconds) == (NOW, NOW - 5, None)


async def test_health_of_an_earlier_sharding_is_not_shown(connection: Connection) -> None:
    world = await make_world(connection)
    for part in (Slice(1, 0), Slice(2, 0), Slice(2, 1)):
        await record_health(connection, make_health(world.watch_id, part=part))
    await record_health(connection, make_health(world.watch_id, version=2))
    await connection.execute(
        "UPDATE watch_health SET updated_at = now() - interval '1 minute' "
        "WHERE shards = 1 AND version = 1"
    )
    shown = await read_health(connection, watch_id=world.watch_id)
    assert [(one.version, one.part) for one in shown] == [
        (2, Slice(1, 0)),
        (1, Slice(2, 0)),
        (1, Slice(2, 1)),
    ]


async def test_health_of_a_removed_watch_is_no_error(connection: Connection) -> None:
    await record_health(connection, make_health(4711))
    assert await connection.fetchval("SELECT count(*) FROM watch_health") == 0


async def test_the_series_of_a_system_are_those_the_serving_version_scores(
    connection: Connection,
) -> None:
    world = await make_world(connection)
    other = await add_watch(connection, world.model_id, "watch-2")
    payment = await add_watch(connection, world.model_id, "watch-3", system="payment")
    for watch_id in (world.watch_id, other, payment):
        await record_health(connection, make_health(watch_id))
        await record_health(connection, make_health(watch_id, version=2, series=100))
    key = {"model_id": world.model_id}
    assert await count_system_series(connection, **key, system="checkout") == 6
    assert await count_system_series(connection, **key, system="payment") == 3
    assert await count_system_series(connection, **key, system="other") == 0


async def test_many_at_once_record_health_without_conflict(database: Database) -> None:
    async with database.acquire() as connection:
        world = await make_world(connection)

    async def record(state: HealthState) -> None:
        async with database.acquire() as connection:
            await record_health(connection, make_health(world.watch_id, state=state))

    await asyncio.gather(*(record(state) for state in HealthState))
    async with database.acquire() as connection:
        assert len(await read_health(connection, watch_id=world.watch_id)) == 1
