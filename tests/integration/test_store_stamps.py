"""A model's stamp changes with what the operator tells of it, and with nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.integration.store_rows import (
    NOW,
    World,
    add_model,
    add_version,
    add_watch,
    make_anomaly,
    make_world,
)

from metricwatch.resources.anomalymodel import VersionState
from metricwatch.store.anomalies import write_anomalies
from metricwatch.store.connection import Connection
from metricwatch.store.health import record_health
from metricwatch.store.models import set_state
from metricwatch.store.overview import read_model_overview
from metricwatch.store.pool import Database
from metricwatch.store.retention import delete_model
from metricwatch.store.rows import HealthState, Slice, TakeOver, WatchHealth
from metricwatch.store.serving import mark_ready, set_serving
from metricwatch.store.stamps import read_stamps

Change = Callable[[Connection, World], Awaitable[Any]]


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[Connection]:
    async with database.acquire() as acquired:
        yield acquired


@pytest.fixture
async def world(connection: Connection) -> World:
    made = await make_world(connection)
    await add_version(connection, made.model_id, 2)
    await record_health(connection, health_of(made))
    # Whole seconds tell which sharding was heard of last.
    await connection.execute("UPDATE watch_health SET updated_at = now() - interval '10 s'")
    await write_anomalies(
        connection, watch_id=made.watch_id, version=1, anomalies=[make_anomaly(made.metrics[0])]
    )
    return made


def health_of(world: World, **changes: Any) -> WatchHealth:
    health = WatchHealth(
        watch_id=world.watch_id,
        version=1,
        part=Slice(),
        state=HealthState.SCORING,
        series=3,
        scored_at=NOW,
        last_sample_at=NOW - 5,
        lag_seconds=0.25,
        drift=0.1,
    )
    return replace(health, **changes)


def reports(**changes: Any) -> Change:
    """A detector reports something else."""

    async def report(connection: Connection, world: World) -> None:
        await record_health(connection, health_of(world, **changes))

    return report


async def opens(connection: Connection, world: World) -> None:
    await write_anomalies(
        connection, watch_id=world.watch_id, version=1, anomalies=[make_anomaly(world.metrics[1])]
    )


async def gets_worse(connection: Connection, world: World) -> None:
    worse = make_anomaly(world.metrics[0], severity="critical")
    await write_anomalies(connection, watch_id=world.watch_id, version=1, anomalies=[worse])


async def ends_before_it_was_known(connection: Connection, world: World) -> None:
    """Nothing is open more than before, but the newest anomaly is a newer one."""
    over = make_anomaly(
        world.metrics[1], started_at=NOW + 60, ended_at=NOW + 120, state="resolved"
    )
    await write_anomalies(connection, watch_id=world.watch_id, version=1, anomalies=[over])


async def gets_a_version(connection: Connection, world: World) -> None:
    await add_version(connection, world.model_id, 3)


async def gets_another_state(connection: Connection, world: World) -> None:
    await set_state(
        connection,
        model_id=world.model_id,
        version=2,
        state=VersionState.CANDIDATE,
        reason="",
        message="",
    )


async def gets_a_watch(connection: Connection, world: World) -> None:
    await add_watch(connection, world.model_id, "a-second-watch")


CHANGES: dict[str, Change] = {
    "a state": reports(state=HealthState.NO_DATA),
    "a message": reports(message="the source says no"),
    "series": reports(series=4),
    "series left out": reports(left_out=2),
    "drift": reports(drift=0.5),
    "the end of drift": reports(drift=None),
    "another shard": reports(part=Slice(shards=2, shard=1)),
    "another version": reports(version=2),
    "an anomaly": opens,
    "another severity": gets_worse,
    "an anomaly that is over": ends_before_it_was_known,
    "a new version": gets_a_version,
    "a version's state": gets_another_state,
    "a watch": gets_a_watch,
}


@pytest.mark.parametrize("what", CHANGES)
async def test_what_is_told_of_a_model_changes_its_stamp_and_no_other(
    database: Database, connection: Connection, world: World, what: str
) -> None:
    await add_model(connection, "model-2")
    before, told = await read_stamps(database), await read_model_overview(database, "model-1")
    await CHANGES[what](connection, world)
    after = await read_stamps(database)
    assert await read_model_overview(database, "model-1") != told
    assert before["model-1"] != after["model-1"]
    assert before["model-2"] == after["model-2"]


async def test_a_tick_like_the_one_before_changes_no_stamp(
    database: Database, connection: Connection, world: World
) -> None:
    before = await read_stamps(database)
    later = health_of(world, scored_at=NOW + 15, last_sample_at=NOW + 10, lag_seconds=0.5)
    await record_health(connection, later)
    goes_on = make_anomaly(world.metrics[0], last_anomalous_at=NOW + 15, samples=2, peak_score=9.0)
    await write_anomalies(connection, watch_id=world.watch_id, version=1, anomalies=[goes_on])
    assert await read_stamps(database) == before


async def test_only_the_sharding_heard_of_last_counts(
    database: Database, connection: Connection, world: World
) -> None:
    halves = [Slice(shards=2, shard=shard) for shard in (0, 1)]
    for part in halves:
        await record_health(connection, health_of(world, part=part))
    before = await read_stamps(database)
    # Somebody who has just been replaced says a last word, and the others go on.
    await record_health(connection, health_of(world, series=99))
    assert await read_stamps(database) != before
    for part in halves:
        await record_health(connection, health_of(world, part=part))
    assert await read_stamps(database) == before


async def test_the_life_of_a_version_changes_the_stamp_at_each_step(
    database: Database, connection: Connection, world: World
) -> None:
    seen = [(await read_stamps(database))["model-1"]]
    await gets_another_state(connection, world)
    seen.append((await read_stamps(database))["model-1"])
    await mark_ready(connection, model_id=world.model_id, version=2)
    seen.append((await read_stamps(database))["model-1"])
    await set_serving(connection, model_id=world.model_id, version=2, how=TakeOver.PROMOTED)
    seen.append((await read_stamps(database))["model-1"])
    assert len(set(seen)) == len(seen)


async def test_a_model_that_is_gone_has_no_stamp(database: Database, world: World) -> None:
    assert await read_stamps(database) != {}
    await delete_model(database, uid="model-1")
    assert await read_stamps(database) == {}
