import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest
from tests.integration.store_rows import NOW, make_labels, make_world

from metricwatch.store.connection import Connection
from metricwatch.store.metrics import register_series
from metricwatch.store.orphans import forget_orphans
from metricwatch.store.partitions import (
    DAY_SECONDS,
    create_partitions,
    drop_partitions,
    ensure_partitions,
    list_partitions,
    partition_name,
)
from metricwatch.store.pool import Database
from metricwatch.store.retention import apply_retention, delete_model
from metricwatch.store.scores import Scores, read_scores, write_scores

TODAY = NOW // DAY_SECONDS


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[Connection]:
    async with database.acquire() as acquired:
        yield acquired


def make_scores(*metrics: int, ts: int = NOW, value: float = 1.0) -> Scores:
    count = len(metrics)
    return Scores(
        metric_id=np.array(metrics),
        ts=np.full(count, ts),
        value=np.full(count, value),
        expected=np.full(count, 2.0),
        lower=np.full(count, -0.25),
        upper=np.full(count, 4.0),
        rarity=np.full(count, 3.5),
        score=np.full(count, 0.5),
        anomalous=np.zeros(count, np.bool_),
    )


async def count_of(connection: Connection) -> int:
    count: int = await connection.fetchval("SELECT count(*) FROM prediction_errors")
    return count


async def test_scores_are_read_as_they_were_written(connection: Connection) -> None:
    nan = np.nan
    scores = Scores(
        metric_id=[7, 7, 8],
        ts=[NOW + 60, NOW, NOW],
        value=[1.5, nan, 1e300],
        expected=[nan, 2.0, -0.0],
        lower=[-1.0, 1.0, nan],
        upper=[4.0, 3.0, np.inf],
        rarity=[3.25, nan, 1e300],
        score=[0.5, nan, 1e300],
        anomalous=[True, False, True],
    )
    assert await write_scores(connection, version=1, scores=scores) == 3
    read = await read_scores(connection, metric_id=7, version=1, start=NOW, end=NOW + 60)
    assert read.ts.tolist() == [NOW, NOW + 60]
    np.testing.assert_array_equal(read.value, [nan, 1.5])
    np.testing.assert_array_equal(read.expected, [2.0, nan])
    np.testing.assert_array_equal(read.lower, [1.0, -1.0])
    np.testing.assert_array_equal(read.upper, [3.0, 4.0])
    np.testing.assert_array_equal(read.rarity, [nan, 3.25])
    np.testing.assert_array_equal(read.score, [nan, 0.5])
    assert read.anomalous.tolist() == [False, True]
    huge = await read_scores(connection, metric_id=8, version=1, start=NOW, end=NOW)
    assert (huge.value[0], huge.upper[0]) == (1e300, np.inf)
    assert huge.rarity[0] == pytest.approx(3e38)


async def test_nothing_is_stored_as_null_and_not_as_nan(connection: Connection) -> None:
    await write_scores(connection, version=1, scores=make_scores(7, value=np.nan))
    assert await connection.fetchval("SELECT value IS NULL FROM prediction_errors")


async def test_writing_a_tick_again_changes_nothing(connection: Connection) -> None:
    assert await write_scores(connection, version=1, scores=make_scores(1, 2)) == 2
    assert await write_scores(connection, version=1, scores=make_scores(1, 2, 3, value=9.0)) == 1
    assert await write_scores(connection, version=1, scores=make_scores(3, 3)) == 0
    read = await read_scores(connection, metric_id=1, version=1, start=NOW, end=NOW)
    assert read.value.tolist() == [1.0]


async def test_versions_store_side_by_side(connection: Connection) -> None:
    await write_scores(connection, version=1, scores=make_scores(1))
    assert await write_scores(connection, version=2, scores=make_scores(1, value=5.0)) == 1
    read = await read_scores(connection, metric_id=1, version=2, start=0, end=NOW)
    assert read.value.tolist() == [5.0]


async def test_one_time_stands_for_all(connection: Connection) -> None:
    scores = Scores([1, 2], NOW, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, False)
    assert await write_scores(connection, version=1, scores=scores) == 2


async def test_no_scores_are_no_work(connection: Connection) -> None:
    assert await write_scores(connection, version=1, scores=make_scores()) == 0


async def test_two_batches_go_into_one_transaction(database: Database) -> None:
    async with database.transaction() as connection:
        assert await write_scores(connection, version=1, scores=make_scores(1)) == 1
        assert await write_scores(connection, version=1, scores=make_scores(2)) == 1
        assert await write_scores(connection, version=2, scores=make_scores(3)) == 1
    async with database.acquire() as connection:
        assert await count_of(connection) == 3


async def test_a_rolled_back_transaction_leaves_no_scores(database: Database) -> None:
    async def failing() -> None:
        async with database.transaction() as connection:
            await write_scores(connection, version=1, scores=make_scores(1))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await failing()
    async with database.acquire() as connection:
        assert await count_of(connection) == 0


async def test_columns_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="broadcast"):
        Scores([1, 2, 3], NOW, [1.0, 2.0], 1.0, 1.0, 1.0, 1.0, 1.0, False).encode()


async def test_a_sample_of_a_day_without_partition_makes_one(connection: Connection) -> None:
    scores = Scores(
        [1, 1, 1], [NOW, NOW - 3 * DAY_SECONDS, 0], 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, False
    )
    assert await write_scores(connection, version=1, scores=scores) == 3
    assert await list_partitions(connection) == (
        partition_name(0),
        partition_name(TODAY - 3),
        partition_name(TODAY),
    )


async def test_the_last_and_the_first_second_of_a_day_are_two_days(connection: Connection) -> None:
    midnight = TODAY * DAY_SECONDS
    scores = Scores([1, 1], [midnight - 1, midnight], 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, False)
    await write_scores(connection, version=1, scores=scores)
    rows = await connection.fetch("SELECT tableoid::regclass::text AS t FROM prediction_errors")
    assert {row["t"] for row in rows} == {partition_name(TODAY - 1), partition_name(TODAY)}


async def test_many_writers_of_a_new_day_lose_nothing(database: Database) -> None:
    async def write(metric: int) -> int:
        async with database.transaction() as connection:
            first = await write_scores(connection, version=1, scores=make_scores(metric))
            tomorrow = make_scores(metric, ts=NOW + DAY_SECONDS)
            return first + await write_scores(connection, version=1, scores=tomorrow)

    assert await asyncio.gather(*(write(metric) for metric in range(8))) == [2] * 8
    async with database.acquire() as connection:
        assert await count_of(connection) == 16
        assert len(await list_partitions(connection)) == 2


async def test_partitions_are_made_ahead_once(database: Database) -> None:
    async def ensure() -> None:
        async with database.acquire() as connection:
            await ensure_partitions(connection, now=NOW, days_ahead=3)

    await asyncio.gather(*(ensure() for _ in range(4)))
    async with database.acquire() as connection:
        assert await list_partitions(connection) == tuple(
            partition_name(day) for day in range(TODAY - 1, TODAY + 4)
        )


async def test_old_days_go_and_new_ones_stay(database: Database) -> None:
    async with database.acquire() as connection:
        await create_partitions(connection, days=range(TODAY - 3, TODAY + 1))
    before = (TODAY - 1) * DAY_SECONDS + 1
    names = (partition_name(TODAY - 3), partition_name(TODAY - 2))
    assert await drop_partitions(database, before=before) == names
    assert await drop_partitions(database, before=before) == ()
    async with database.acquire() as connection:
        assert await list_partitions(connection) == (
            partition_name(TODAY - 1),
            partition_name(TODAY),
        )
        assert await connection.fetchval("SELECT to_regclass($1)", names[0]) is None


async def test_writers_go_on_while_an_old_day_goes(database: Database) -> None:
    async with database.acquire() as connection:
        await create_partitions(connection, days=(TODAY - 3, TODAY))

    async def write() -> int:
        total = 0
        for metric in range(100):
            async with database.acquire() as connection:
                total += await write_scores(connection, version=1, scores=make_scores(metric))
        return total

    written, dropped = await asyncio.gather(
        write(), drop_partitions(database, before=NOW - DAY_SECONDS)
    )
    assert (written, dropped) == (100, (partition_name(TODAY - 3),))


async def test_a_drop_that_was_interrupted_is_finished(database: Database) -> None:
    detached, again = partition_name(TODAY - 3), partition_name(TODAY - 2)
    async with database.acquire() as connection:
        await create_partitions(connection, days=(TODAY - 3, TODAY - 2, TODAY))
        await connection.execute(f"ALTER TABLE prediction_errors DETACH PARTITION {detached}")
    async with database.transaction() as reader:
        # A reader in the way: DETACH … CONCURRENTLY commits its first half and waits, then fails.
        await reader.execute("SELECT count(*) FROM prediction_errors")
        async with database.acquire() as connection:
            await connection.execute("SET lock_timeout = '100ms'")
            with pytest.raises(Exception, match="lock timeout"):
                await connection.execute(
                    f"ALTER TABLE prediction_errors DETACH PARTITION {again} CONCURRENTLY"
                )
    assert await drop_partitions(database, before=NOW - DAY_SECONDS) == (detached, again)


async def test_a_late_sample_of_a_day_that_was_detached_is_kept(database: Database) -> None:
    name = partition_name(TODAY)
    async with database.acquire() as connection:
        await write_scores(connection, version=1, scores=make_scores(1))
        await connection.execute(f"ALTER TABLE prediction_errors DETACH PARTITION {name}")
        assert await write_scores(connection, version=1, scores=make_scores(2)) == 1
        assert await count_of(connection) == 2


async def test_retention_forgets_old_scores_and_series_not_seen_for_as_long(
    database: Database,
) -> None:
    async with database.acquire() as connection:
        world = await make_world(connection)
        await create_partitions(connection, days=(TODAY - 20, TODAY))
        old, alarming, _ = world.metrics
        await connection.execute(
            "UPDATE metrics SET last_seen = to_timestamp($1) WHERE id = ANY ($2)",
            NOW - 15 * DAY_SECONDS,
            [old, alarming],
        )
        await connection.execute(
            """INSERT INTO anomaly_points (model_id, watch_uid, watch_name, metric_id, labels,
                system, version, kind, state, severity, direction, started_at, last_anomalous_at,
                peak_at, samples)
            VALUES ($1, 'w', 'w', $2, '{}', 's', 1, 'point', 'open', 'warning', 'above',
                now(), now(), now(), 1)""",
            world.model_id,
            alarming,
        )
    forgotten = await apply_retention(database, now=NOW, score_days=14)
    assert (forgotten.partitions, forgotten.series) == ((partition_name(TODAY - 20),), 1)
    async with database.acquire() as connection:
        rows = await connection.fetch("SELECT id FROM metrics ORDER BY id")
        assert [row["id"] for row in rows] == sorted(world.metrics[1:])
        ids = await register_series(
            connection, watch_id=world.watch_id, labels=make_labels("pod-0")
        )
        # Ids are never given twice: old scores cannot come back under another series.
        assert next(iter(ids.values())) > max(world.metrics)


async def test_scores_of_series_that_are_gone_are_found_between_all_others_and_deleted(
    database: Database,
) -> None:
    async with database.acquire() as connection:
        world = await make_world(connection, pods=90)
        for day in range(2):
            for version in (1, 2):
                scores = make_scores(*world.metrics, ts=NOW - day * DAY_SECONDS)
                await write_scores(connection, version=version, scores=scores)
        assert await forget_orphans(database) == 0
        gone = world.metrics[::2]
        await connection.execute("DELETE FROM metrics WHERE id = ANY ($1)", gone)
    forgotten = await apply_retention(database, now=NOW, score_days=14)
    assert forgotten.orphans == len(gone) * 2 * 2
    async with database.acquire() as connection:
        rows = await connection.fetch("SELECT DISTINCT metric_id FROM prediction_errors")
        assert {row["metric_id"] for row in rows} == {*world.metrics} - {*gone}
        assert await count_of(connection) == len(rows) * 2 * 2


async def test_a_deleted_model_leaves_nothing(database: Database) -> None:
    async with database.acquire() as connection:
        world = await make_world(connection)
        await write_scores(connection, version=1, scores=make_scores(*world.metrics, 999_999))
    assert await delete_model(database, uid="model-1") is True
    assert await delete_model(database, uid="model-1") is False
    async with database.acquire() as connection:
        rows = await connection.fetch("SELECT metric_id FROM prediction_errors")
        assert [row["metric_id"] for row in rows] == [999_999]
        for table in ("models_info", "models", "model_artifacts", "watches", "metrics"):
            assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 0


async def test_a_deleted_model_takes_its_scores_of_several_days_and_many_series_along(
    database: Database,
) -> None:
    async with database.acquire() as connection:
        world = await make_world(connection, pods=45)
        for day in range(3):
            scores = make_scores(*world.metrics, 999_999, ts=NOW - day * DAY_SECONDS)
            await write_scores(connection, version=day + 1, scores=scores)
    assert await delete_model(database, uid="model-1") is True
    async with database.acquire() as connection:
        assert await count_of(connection) == 3
