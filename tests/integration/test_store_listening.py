import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.integration.postgres_fixture import Postgres
from tests.integration.store_rows import (
    add_version,
    make_anomaly,
    make_result,
    make_settings,
    make_world,
)

from metricwatch.resources.anomalymodel import VersionState
from metricwatch.store.anomalies import write_anomalies
from metricwatch.store.health import record_health
from metricwatch.store.listen import listen
from metricwatch.store.models import create_version, record_training, set_state
from metricwatch.store.notify import notify_model
from metricwatch.store.pool import Database
from metricwatch.store.retention import delete_model
from metricwatch.store.rows import HealthState, Slice, WatchHealth
from metricwatch.store.serving import set_serving
from metricwatch.store.watches import remove_watches, upsert_watch

SENTINEL = "sentinel"


class Heard:
    """What a listener was told, one by one."""

    def __init__(self, database: Database) -> None:
        self.queue: asyncio.Queue[str | None] = asyncio.Queue()
        self.task = asyncio.create_task(listen(database, self.queue.put_nowait, longest_pause=0.2))

    async def next(self) -> str | None:
        async with asyncio.timeout(30):
            return await self.queue.get()

    async def until_sentinel(self, database: Database) -> list[str | None]:
        """Everything that was sent up to now: notifications arrive in order of commit."""
        async with database.acquire() as connection:
            await connection.execute("SELECT pg_notify('metricwatch', $1)", SENTINEL)
        heard: list[str | None] = []
        while (one := await self.next()) != SENTINEL:
            heard.append(one)
        return heard


@pytest.fixture
async def heard(database: Database) -> AsyncIterator[Heard]:
    listener = Heard(database)
    assert await listener.next() is None
    yield listener
    listener.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await listener.task


async def test_every_change_that_others_wait_for_is_told_once(
    database: Database, heard: Heard
) -> None:
    async with database.acquire() as connection:
        world = await make_world(connection)
        row_id = await add_version(connection, world.model_id, 2, trained=False)
    await heard.until_sentinel(database)
    model, watch = {"model_id": world.model_id}, {"watch_id": world.watch_id}
    health = WatchHealth(**watch, version=1, part=Slice(), state=HealthState.SCORING)
    same = make_settings()
    named = {"uid": "watch-1", "namespace": "shop", "name": "name-of-watch-1", "generation": 1}
    changed = make_settings(delaySeconds=5)
    steps = [
        (upsert_watch, {**model, **named, "settings": same}, 0),
        (upsert_watch, {**model, **named, "settings": changed}, 1),
        (create_version, {**model, "version": 3, "request": {}, "request_hash": "x"}, 1),
        (create_version, {**model, "version": 3, "request": {}, "request_hash": "x"}, 0),
        (record_training, {"version_id": row_id, "result": make_result(), "artifacts": []}, 1),
        (set_state, {**model, "version": 2, "state": VersionState.CANDIDATE}, 1),
        (set_state, {**model, "version": 2, "state": VersionState.CANDIDATE}, 0),
        (set_serving, {**model, "version": 2}, 1),
        (set_serving, {**model, "version": 2}, 0),
        (
            write_anomalies,
            {**watch, "version": 2, "anomalies": [make_anomaly(world.metrics[0])]},
            1,
        ),
        (write_anomalies, {**watch, "version": 2, "anomalies": []}, 0),
        (remove_watches, {**model, "keep": ["watch-1"]}, 0),
    ]
    for function, arguments, times in steps:
        async with database.acquire() as connection:
            await function(connection, **arguments)
        told = await heard.until_sentinel(database)
        assert told == ["model-1"] * times, function.__name__
    async with database.acquire() as connection:
        for state in (HealthState.STARTING, HealthState.STARTING, HealthState.SCORING):
            await record_health(
                connection, WatchHealth(**watch, version=1, part=Slice(), state=state)
            )
        await record_health(connection, health)
    assert await heard.until_sentinel(database) == ["model-1", "model-1"]
    async with database.acquire() as connection:
        await remove_watches(connection, **model, keep=[])
    assert await heard.until_sentinel(database) == ["model-1"]
    await delete_model(database, uid="model-1")
    assert await heard.until_sentinel(database) == ["model-1"]


async def test_what_is_rolled_back_is_not_told(database: Database, heard: Heard) -> None:
    async with database.acquire() as connection:
        world = await make_world(connection)
    await heard.until_sentinel(database)

    async def failing() -> None:
        async with database.transaction() as connection:
            await notify_model(connection, world.model_id)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await failing()
    assert await heard.until_sentinel(database) == []


async def test_a_listener_that_lost_its_connection_says_that_anything_may_have_changed(
    database: Database, heard: Heard, postgres: Postgres
) -> None:
    postgres.restart()
    assert await heard.next() is None
    assert await heard.until_sentinel(database) == []


async def test_a_listener_comes_back_after_a_long_absence(
    database: Database, heard: Heard, postgres: Postgres
) -> None:
    postgres.stop()
    await asyncio.sleep(1)
    assert heard.queue.empty()
    postgres.start()
    assert await heard.next() is None


async def test_a_listener_may_start_before_the_server(
    database: Database, postgres: Postgres
) -> None:
    postgres.stop()
    listener = Heard(database)
    await asyncio.sleep(0.5)
    postgres.start()
    assert await listener.next() is None
    listener.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await listener.task


async def test_a_listener_whose_connection_was_ended_by_the_server_listens_again(
    database: Database, heard: Heard
) -> None:
    async with database.acquire() as connection:
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    assert await heard.next() is None
