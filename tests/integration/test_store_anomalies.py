import asyncio
import math
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from tests.integration.store_rows import (
    NOW,
    World,
    add_watch,
    make_anomaly,
    make_labels,
    make_world,
)

from metricwatch.series import shard_of
from metricwatch.store.anomalies import list_anomalies, load_open, write_anomalies
from metricwatch.store.connection import Connection
from metricwatch.store.metrics import read_series, register_series
from metricwatch.store.pool import Database
from metricwatch.store.rows import AnomalyRow, AnomalyState, Slice, SystemAnomaly
from metricwatch.store.systems import (
    lock_system,
    open_members,
    read_open_system,
    write_system_anomaly,
)


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[Connection]:
    async with database.acquire() as acquired:
        yield acquired


@pytest.fixture
async def world(connection: Connection) -> World:
    return await make_world(connection, pods=6)


async def write(
    connection: Connection, world: World, *anomalies: AnomalyRow, version: int = 1
) -> dict[int, int]:
    return await write_anomalies(
        connection, watch_id=world.watch_id, version=version, anomalies=anomalies
    )


async def stored(connection: Connection) -> list[AnomalyRow]:
    found = await list_anomalies(connection, model_uid="model-1")
    return [one.anomaly for one in reversed(found)]


async def test_an_anomaly_is_read_as_it_was_written(connection: Connection, world: World) -> None:
    anomaly = make_anomaly(world.metrics[0])
    ids = await write(connection, world, anomaly)
    (read,) = await load_open(connection, watch_id=world.watch_id)
    assert ids == {world.metrics[0]: read.id}
    assert read.anomaly == anomaly
    assert (read.model_id, read.watch_uid, read.watch_name) == (
        world.model_id,
        "watch-1",
        "name-of-watch-1",
    )
    assert (read.labels, read.system, read.version) == (make_labels("pod-0")[0], "checkout", 1)
    assert read.system_anomaly_id is None


async def test_an_anomaly_of_missing_data_has_no_values(
    connection: Connection, world: World
) -> None:
    nothing = make_anomaly(
        world.metrics[0], direction="missing", peak_value=math.nan, peak_expected=math.nan
    )
    await write(connection, world, nothing)
    assert await connection.fetchval("SELECT peak_value IS NULL FROM anomaly_points")
    (read,) = await stored(connection)
    assert math.isnan(read.peak_value)


async def test_writing_again_changes_nothing_and_keeps_the_row(
    connection: Connection, world: World
) -> None:
    anomaly = make_anomaly(world.metrics[0])
    first = await write(connection, world, anomaly)
    assert await write(connection, world, anomaly) == first
    assert await stored(connection) == [anomaly]


async def test_an_anomaly_goes_on_and_ends_under_the_version_that_opened_it(
    connection: Connection, world: World
) -> None:
    anomaly = make_anomaly(world.metrics[0])
    await write(connection, world, anomaly)
    longer = replace(
        anomaly, last_anomalous_at=NOW + 60, samples=2, kind="collective", severity="critical"
    )
    await write(connection, world, longer, version=2)
    assert await stored(connection) == [longer]
    over = replace(longer, state=AnomalyState.RESOLVED, ended_at=NOW + 120)
    await write(connection, world, over, version=2)
    (read,) = await list_anomalies(connection, model_uid="model-1")
    assert (read.anomaly, read.version) == (over, 1)
    assert await load_open(connection, watch_id=world.watch_id) == ()


@pytest.mark.parametrize("end", [AnomalyState.RESOLVED, AnomalyState.EXPIRED])
async def test_what_is_over_stays_over(
    connection: Connection, world: World, end: AnomalyState
) -> None:
    over = make_anomaly(world.metrics[0], state=end, ended_at=NOW + 60)
    await write(connection, world, over)
    assert await write(connection, world, make_anomaly(world.metrics[0], samples=9)) == {}
    assert await stored(connection) == [over]


async def test_an_acknowledged_anomaly_stays_so_until_it_ends(
    connection: Connection, world: World
) -> None:
    anomaly = make_anomaly(world.metrics[0])
    await write(connection, world, anomaly)
    await connection.execute("UPDATE anomaly_points SET state = 'acknowledged'")
    await write(connection, world, replace(anomaly, samples=5))
    (read,) = await load_open(connection, watch_id=world.watch_id)
    assert (read.anomaly.state, read.anomaly.samples) == (AnomalyState.ACKNOWLEDGED, 5)
    await write(connection, world, replace(anomaly, state=AnomalyState.EXPIRED, ended_at=NOW + 60))
    (over,) = await stored(connection)
    assert over.state is AnomalyState.EXPIRED


async def test_of_several_states_in_one_call_the_last_counts(
    connection: Connection, world: World
) -> None:
    anomaly = make_anomaly(world.metrics[0])
    over = replace(anomaly, state=AnomalyState.RESOLVED, ended_at=NOW + 120)
    await write(connection, world, anomaly, replace(anomaly, samples=2), over)
    assert await stored(connection) == [over]


async def test_one_may_end_and_the_next_begin_in_one_call(
    connection: Connection, world: World
) -> None:
    first = make_anomaly(world.metrics[0])
    await write(connection, world, first)
    over = replace(first, state=AnomalyState.RESOLVED, ended_at=NOW + 60)
    second = make_anomaly(world.metrics[0], started_at=NOW + 300)
    await write(connection, world, second, over)
    assert await stored(connection) == [over, second]


async def test_a_series_has_one_open_anomaly_even_when_two_versions_disagree_on_its_start(
    connection: Connection, world: World
) -> None:
    other = make_anomaly(world.metrics[1])
    theirs = make_anomaly(world.metrics[0], last_anomalous_at=NOW + 60)
    await write(connection, world, theirs, other)
    mine = make_anomaly(world.metrics[0], started_at=NOW - 60)
    await write(connection, world, mine, version=2)
    assert await stored(connection) == [
        mine,
        replace(theirs, state=AnomalyState.RESOLVED, ended_at=NOW + 60),
        other,
    ]


async def test_a_series_that_is_gone_takes_no_other_down(
    connection: Connection, world: World
) -> None:
    ids = await write(connection, world, make_anomaly(999_999), make_anomaly(world.metrics[0]))
    assert set(ids) == {world.metrics[0]}
    assert await write(connection, world) == {}


async def test_open_anomalies_are_loaded_by_the_shard_that_owns_their_series(
    connection: Connection, world: World
) -> None:
    await write(connection, world, *(make_anomaly(metric) for metric in world.metrics))
    labels = await read_series(connection, watch_id=world.watch_id)
    for shard in range(3):
        part = await load_open(connection, watch_id=world.watch_id, part=Slice(3, shard))
        assert [one.anomaly.metric_id for one in part] == [
            metric for metric in sorted(labels) if shard_of(labels[metric], 3) == shard
        ]


async def test_anomalies_are_listed_by_watch_time_and_state(
    connection: Connection, world: World
) -> None:
    a, b, c = world.metrics[:3]
    over = make_anomaly(a, state=AnomalyState.RESOLVED, ended_at=NOW + 60)
    await write(connection, world, over, make_anomaly(b), make_anomaly(c, started_at=NOW + 600))

    async def listed(**options: object) -> list[int]:
        found = await list_anomalies(connection, model_uid="model-1", **options)
        return [one.anomaly.metric_id for one in found]

    assert await listed() == [c, b, a]
    assert await listed(limit=1) == [c]
    assert await listed(only_open=True) == [c, b]
    assert await listed(start=NOW + 61) == [c, b]
    assert await listed(start=NOW, end=NOW + 599) == [b, a]
    assert await listed(watch_uid="watch-1") == [c, b, a]
    assert await listed(watch_uid="watch-2") == []
    assert await list_anomalies(connection, model_uid="other") == ()


async def test_a_system_anomaly_gathers_members_of_several_watches_and_ends(
    connection: Connection, world: World
) -> None:
    ids = await write(connection, world, *(make_anomaly(metric) for metric in world.metrics[:2]))
    await add_watch(connection, world.model_id, "watch-2", system="payment")
    members = await open_members(connection, model_id=world.model_id, system="checkout")
    assert [member[0] for member in members] == sorted(ids.values())
    assert members[0][1:] == (NOW, "warning")
    assert await open_members(connection, model_id=world.model_id, system="payment") == []

    key = {"model_id": world.model_id, "system": "checkout"}
    assert await read_open_system(connection, **key) is None
    anomaly = SystemAnomaly(
        system="checkout",
        started_at=NOW,
        ended_at=None,
        state=AnomalyState.OPEN,
        severity="warning",
        members=tuple(sorted(ids.values())),
    )
    row_id = await write_system_anomaly(connection, model_id=world.model_id, anomaly=anomaly)
    assert (
        await write_system_anomaly(connection, model_id=world.model_id, anomaly=anomaly) == row_id
    )
    found = await read_open_system(connection, **key)
    assert found is not None
    assert (found.id, found.anomaly) == (row_id, anomaly)
    opened = await load_open(connection, watch_id=world.watch_id)
    assert {one.system_anomaly_id for one in opened} == {row_id}

    over = replace(anomaly, state=AnomalyState.RESOLVED, ended_at=NOW + 60)
    assert await write_system_anomaly(connection, model_id=world.model_id, anomaly=over) == row_id
    assert await read_open_system(connection, **key) is None
    assert await write_system_anomaly(connection, model_id=world.model_id, anomaly=anomaly) is None
    assert await connection.fetchval("SELECT members FROM anomaly_system") == 2


async def test_two_watches_of_a_system_that_write_at_once_do_not_wait_for_each_other(
    database: Database,
) -> None:
    async with database.acquire() as connection:
        world = await make_world(connection)
        second_watch = await add_watch(connection, world.model_id, "watch-2")
        series = make_labels("x")
        ids = await register_series(connection, watch_id=second_watch, labels=series)
        first, second = make_anomaly(world.metrics[0]), make_anomaly(ids[series[0]])
        rows = await write(connection, world, first)
        rows |= await write_anomalies(
            connection, watch_id=second_watch, version=1, anomalies=[second]
        )

    async def go_on(watch_id: int, anomaly: AnomalyRow, paused: asyncio.Event) -> None:
        """Write an anomaly of one watch, then group the system: members of both watches."""
        async with database.transaction() as connection:
            longer = replace(anomaly, samples=2)
            await write_anomalies(connection, watch_id=watch_id, version=1, anomalies=[longer])
            await paused.wait()
            await lock_system(connection, model_id=world.model_id, system="checkout")
            whole = SystemAnomaly(
                system="checkout",
                started_at=NOW,
                ended_at=None,
                state=AnomalyState.OPEN,
                severity="warning",
                members=tuple(rows.values()),
            )
            await write_system_anomaly(connection, model_id=world.model_id, anomaly=whole)

    go = asyncio.Event()
    both = asyncio.gather(
        go_on(world.watch_id, first, go), go_on(second_watch, second, go), return_exceptions=True
    )
    await asyncio.sleep(0.3)
    go.set()
    assert await both == [None, None]
    async with database.acquire() as connection:
        assert {one.samples for one in await stored(connection)} == {2}


async def test_two_who_decide_about_a_system_take_turns(database: Database) -> None:
    async with database.acquire() as connection:
        world = await make_world(connection)
    probe = "SELECT pg_try_advisory_xact_lock(hashtextextended('system:checkout', $1))"
    async with database.transaction() as first:
        await lock_system(first, model_id=world.model_id, system="checkout")
        async with database.transaction() as second:
            await lock_system(second, model_id=world.model_id, system="payment")
            assert await second.fetchval(probe, world.model_id) is False
    async with database.transaction() as third:
        assert await third.fetchval(probe, world.model_id) is True
