"""Whoever removes rows that a detector is writing waits for it: neither is broken off.

PostgreSQL ends one of two transactions that wait for each other; here every pair that once did is
brought to the moment at which the second has to wait, and goes on from there.
"""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from tests.integration.store_rows import (
    NOW,
    World,
    add_watch,
    make_anomaly,
    make_labels,
    make_world,
)

from metricwatch.store.anomalies import list_anomalies, write_anomalies
from metricwatch.store.connection import Connection
from metricwatch.store.decisions import Decision, deciding
from metricwatch.store.errors import RowMissing
from metricwatch.store.feedback import judge_anomalies
from metricwatch.store.metrics import register_series
from metricwatch.store.pool import Database
from metricwatch.store.retention import delete_model
from metricwatch.store.rows import WHOLE, Feedback
from metricwatch.store.watches import remove_watches

Removing = Callable[[Database, World], Awaitable[object]]


@pytest.fixture
async def world(database: Database) -> World:
    async with database.acquire() as connection:
        return await make_world(connection)


async def all_watches(database: Database, world: World) -> object:
    async with database.acquire() as connection:
        return await remove_watches(connection, model_id=world.model_id, keep=())


async def the_model(database: Database, world: World) -> object:
    return await delete_model(database, uid="model-1")


async def waits(database: Database, *, transactions: int = 1) -> None:
    """Until so many transactions wait for another one."""
    question = (
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    async with database.acquire() as connection:
        while await connection.fetchval(question) < transactions:  # noqa: ASYNC110 - only it knows
            await asyncio.sleep(0.01)


async def decide_once(database: Database, world: World) -> None:
    """A row of `decisions`, for the next one to lock."""
    async with deciding(database, watch_id=world.watch_id, part=WHOLE, version=1) as decision:
        await decision.decided(NOW - 60)


async def write_one(decision: Decision, world: World) -> None:
    written = await write_anomalies(
        decision.connection,
        watch_id=world.watch_id,
        version=1,
        anomalies=[make_anomaly(world.metrics[0])],
    )
    assert len(written) == 1
    await decision.decided(NOW)


@pytest.mark.parametrize("removing", [all_watches, the_model])
async def test_what_is_removed_while_it_is_decided_about_is_removed_afterwards(
    database: Database, world: World, removing: Removing
) -> None:
    await decide_once(database, world)
    async with deciding(database, watch_id=world.watch_id, part=WHOLE, version=1) as decision:
        removal = asyncio.ensure_future(removing(database, world))
        await waits(database)
        await write_one(decision, world)
    assert await removal
    async with database.acquire() as connection:
        assert await connection.fetch("SELECT 1 FROM watches") == []
        anomalies = await list_anomalies(connection, model_uid="model-1")
    # Those of a model go with it; those of a watch stay, and are over.
    states = [] if removing is the_model else ["resolved"]
    assert [one.anomaly.state for one in anomalies] == states


async def test_of_several_watches_of_a_system_each_may_be_decided_about(
    database: Database, world: World
) -> None:
    async with database.acquire() as connection:
        other = await add_watch(connection, world.model_id, "watch-2")
        ids = await register_series(connection, watch_id=other, labels=make_labels("a"))
    second = World(world.model_id, other, tuple(ids.values()))
    await decide_once(database, second)
    async with deciding(database, watch_id=other, part=WHOLE, version=1) as decision:
        removal = asyncio.ensure_future(all_watches(database, world))
        await waits(database)
        await write_one(decision, second)
    assert await removal == 2


async def test_series_that_are_registered_while_their_watch_is_removed_keep_nobody_waiting(
    database: Database, world: World
) -> None:
    async def register() -> dict[object, int]:
        async with database.acquire() as connection:
            labels = make_labels(*(f"pod-{number}" for number in range(40)))
            found = await register_series(connection, watch_id=world.watch_id, labels=labels)
            return dict(found)

    async with database.transaction() as holder:
        await lock_one_series(holder, world)
        registering = asyncio.ensure_future(register())
        await waits(database)
        removal = asyncio.ensure_future(all_watches(database, world))
        await waits(database, transactions=2)
    assert len(await registering) == 40
    assert await removal == 1
    with pytest.raises(RowMissing):
        await register()


async def lock_one_series(connection: Connection, world: World) -> None:
    """The last one that registering comes to, so that it holds the others meanwhile."""
    await connection.execute(
        "SELECT 1 FROM metrics WHERE watch_id = $1 ORDER BY series_id DESC LIMIT 1 FOR UPDATE",
        world.watch_id,
    )


async def test_a_person_judges_several_anomalies_that_a_detector_is_writing(
    database: Database, world: World
) -> None:
    async with database.acquire() as connection:
        rows = [make_anomaly(metric) for metric in world.metrics]
        written = await write_anomalies(
            connection, watch_id=world.watch_id, version=1, anomalies=rows
        )

    async def judge() -> None:
        async with database.acquire() as connection:
            await judge_anomalies(
                connection,
                model_id=world.model_id,
                ids=sorted(written.values(), reverse=True),
                feedback=Feedback.DISMISSED,
                reason="a deployment",
                by="somebody",
            )

    async with database.transaction() as connection:
        first = [make_anomaly(world.metrics[0], samples=2)]
        await write_anomalies(connection, watch_id=world.watch_id, version=1, anomalies=first)
        judging = asyncio.ensure_future(judge())
        await waits(database)
        others = [make_anomaly(metric, samples=2) for metric in world.metrics[1:]]
        await write_anomalies(connection, watch_id=world.watch_id, version=1, anomalies=others)
    await judging
    async with database.acquire() as connection:
        anomalies = await list_anomalies(connection, model_uid="model-1")
    remarks = [one.remark for one in anomalies if one.remark is not None]
    assert [one.feedback for one in remarks] == [Feedback.DISMISSED] * 3
    assert [one.anomaly.samples for one in anomalies] == [2, 2, 2]
