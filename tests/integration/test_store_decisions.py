import asyncio

import pytest
from tests.integration.store_rows import NOW, World, add_version, make_anomaly, make_world

from metricwatch.store.anomalies import list_anomalies, write_anomalies
from metricwatch.store.decisions import deciding, mark_start, read_decided_until
from metricwatch.store.errors import RowMissing
from metricwatch.store.pool import Database
from metricwatch.store.rows import WHOLE, Slice
from metricwatch.store.serving import set_serving
from metricwatch.store.watches import remove_watches


@pytest.fixture
async def world(database: Database) -> World:
    async with database.acquire() as connection:
        return await make_world(connection)


async def let_serve(database: Database, world: World, version: int) -> None:
    async with database.acquire() as connection:
        row_id = await add_version(connection, world.model_id, version)
        await connection.execute("UPDATE models SET state = 'Candidate' WHERE id = $1", row_id)
        await set_serving(connection, model_id=world.model_id, version=version)


async def decide(
    database: Database, world: World, *, until: int, version: int = 1, part: Slice = WHOLE
) -> range:
    """Decide as a detector does; the ticks that fell to us, one each minute from NOW."""
    async with deciding(database, watch_id=world.watch_id, part=part, version=version) as decision:
        if not decision.serving:
            return range(0)
        since = NOW if decision.decided_until is None else decision.decided_until + 60
        await decision.decided(until)
        return range(since, until + 60, 60)


async def test_the_first_decision_finds_nothing_decided(database: Database, world: World) -> None:
    async with deciding(database, watch_id=world.watch_id, part=WHOLE, version=1) as decision:
        assert (decision.serving, decision.decided_until) == (True, None)
        await decision.decided(NOW)
    async with database.acquire() as connection:
        assert await read_decided_until(connection, watch_id=world.watch_id, part=WHOLE) == NOW


async def test_where_scoring_began_is_known_before_anything_is_decided(
    database: Database, world: World
) -> None:
    await mark_start(database, watch_id=world.watch_id, part=WHOLE, before=NOW)
    # The next detector begins later; its own start is not where scoring began.
    await mark_start(database, watch_id=world.watch_id, part=WHOLE, before=NOW + 600)
    assert await decide(database, world, until=NOW + 120) == range(NOW + 60, NOW + 180, 60)


async def test_a_start_is_marked_where_a_decision_failed_and_never_over_one_that_was_made(
    database: Database, world: World
) -> None:
    with pytest.raises(ZeroDivisionError):
        async with deciding(database, watch_id=world.watch_id, part=WHOLE, version=1):
            raise ZeroDivisionError
    await mark_start(database, watch_id=world.watch_id, part=WHOLE, before=NOW)
    await decide(database, world, until=NOW + 60)
    await mark_start(database, watch_id=world.watch_id, part=WHOLE, before=NOW + 600)
    async with database.acquire() as connection:
        until = await read_decided_until(connection, watch_id=world.watch_id, part=WHOLE)
    assert until == NOW + 60


async def test_the_start_of_a_watch_that_was_removed_is_no_error(
    database: Database, world: World
) -> None:
    async with database.acquire() as connection:
        await remove_watches(connection, model_id=world.model_id, keep=[])
    await mark_start(database, watch_id=world.watch_id, part=WHOLE, before=NOW)


async def test_anomalies_and_the_tick_commit_together(database: Database, world: World) -> None:
    async def failing() -> None:
        async with deciding(database, watch_id=world.watch_id, part=WHOLE, version=1) as decision:
            await write_anomalies(
                decision.connection,
                watch_id=world.watch_id,
                version=1,
                anomalies=[make_anomaly(world.metrics[0])],
            )
            await decision.decided(NOW)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await failing()
    async with database.acquire() as connection:
        assert await read_decided_until(connection, watch_id=world.watch_id, part=WHOLE) is None
        assert await list_anomalies(connection, model_uid="model-1") == ()


async def test_a_version_that_does_not_serve_decides_nothing(
    database: Database, world: World
) -> None:
    assert await decide(database, world, until=NOW + 60, version=2) == range(0)
    async with database.acquire() as connection:
        assert await connection.fetchval("SELECT count(*) FROM decisions") == 0


async def test_two_replicas_at_once_decide_each_tick_once(
    database: Database, world: World
) -> None:
    ticks = [
        *(decide(database, world, until=NOW + 60 * number) for number in range(20)),
        *(decide(database, world, until=NOW + 60 * number) for number in range(20)),
    ]
    decided = [tick for part in await asyncio.gather(*ticks) for tick in part]
    assert sorted(decided) == [NOW + 60 * number for number in range(20)]


async def test_around_a_change_of_version_each_tick_is_decided_by_exactly_one(
    database: Database, world: World
) -> None:
    async def run(version: int) -> dict[int, int]:
        mine: dict[int, int] = {}
        for number in range(30):
            ticks = await decide(database, world, until=NOW + 60 * number, version=version)
            mine |= dict.fromkeys(ticks, version)
        return mine

    async def change() -> None:
        await asyncio.sleep(0.05)
        await let_serve(database, world, 2)

    old, new, _ = await asyncio.gather(run(1), run(2), change())
    assert old.keys() & new.keys() == set()
    # Whatever neither had decided when its run was over falls to the one that serves now.
    rest = set(await decide(database, world, until=NOW + 60 * 29, version=2))
    assert rest | old.keys() | new.keys() == {NOW + 60 * number for number in range(30)}
    assert await decide(database, world, until=NOW + 60 * 40, version=1) == range(0)


async def test_who_waits_for_the_lock_sees_that_another_version_serves(
    database: Database, world: World
) -> None:
    await decide(database, world, until=NOW)
    async with deciding(database, watch_id=world.watch_id, part=WHOLE, version=1) as first:
        late = asyncio.create_task(decide(database, world, until=NOW + 60, version=1))
        async with database.acquire() as connection:
            while not await connection.fetchval(  # noqa: ASYNC110 - only the server knows
                "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            ):
                await asyncio.sleep(0.01)
        await let_serve(database, world, 2)
        await first.decided(NOW + 60)
    assert await late == range(0)
    assert await decide(database, world, until=NOW + 120, version=2) == range(
        NOW + 120, NOW + 180, 60
    )


async def test_a_decision_never_goes_back(database: Database, world: World) -> None:
    await decide(database, world, until=NOW + 600)
    async with deciding(database, watch_id=world.watch_id, part=WHOLE, version=1) as decision:
        await decision.decided(NOW)
    async with database.acquire() as connection:
        assert (
            await read_decided_until(connection, watch_id=world.watch_id, part=WHOLE) == NOW + 600
        )


async def test_shards_decide_on_their_own(database: Database, world: World) -> None:
    await decide(database, world, until=NOW + 60, part=Slice(2, 0))
    assert await decide(database, world, until=NOW + 60, part=Slice(2, 1)) == range(
        NOW, NOW + 120, 60
    )


async def test_a_new_number_of_shards_goes_on_where_the_slowest_shard_stood(
    database: Database, world: World
) -> None:
    await decide(database, world, until=NOW + 60)
    await decide(database, world, until=NOW + 600, part=Slice(2, 0))
    await decide(database, world, until=NOW + 300, part=Slice(2, 1))
    for part in (Slice(3, 1), WHOLE):
        decided = await decide(database, world, until=NOW + 660, part=part)
        assert decided == range(NOW + 360, NOW + 720, 60)


async def test_a_removed_watch_is_not_decided(database: Database, world: World) -> None:
    await decide(database, world, until=NOW)
    async with database.acquire() as connection:
        await remove_watches(connection, model_id=world.model_id, keep=[])
    with pytest.raises(RowMissing):
        await decide(database, world, until=NOW + 60)


def test_a_slice_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="no shard 2 of 2"):
        Slice(2, 2)
