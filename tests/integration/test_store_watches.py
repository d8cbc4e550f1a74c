from collections.abc import AsyncIterator

import pytest
from tests.integration.store_rows import (
    NOW,
    add_model,
    add_watch,
    make_anomaly,
    make_labels,
    make_settings,
    make_world,
)

from metricwatch.series import series_id
from metricwatch.store.anomalies import list_anomalies, write_anomalies
from metricwatch.store.connection import Connection
from metricwatch.store.errors import RowMissing
from metricwatch.store.metrics import read_series, register_series
from metricwatch.store.models import upsert_model
from metricwatch.store.pool import Database
from metricwatch.store.rows import AnomalyState
from metricwatch.store.watches import load_watches, remove_watches, upsert_watch


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[Connection]:
    async with database.acquire() as acquired:
        yield acquired


async def test_a_watch_is_read_as_it_was_written(connection: Connection) -> None:
    model_id = await add_model(connection)
    await add_watch(connection, model_id)
    (row,) = await load_watches(connection, model_uid="model-1")
    assert (row.uid, row.namespace, row.name, row.generation) == (
        "watch-1",
        "shop",
        "name-of-watch-1",
        1,
    )
    assert row.settings == make_settings()
    assert row.problem == ""


async def test_a_watch_is_written_only_when_it_changed(connection: Connection) -> None:
    model_id = await add_model(connection)
    watch = {"model_id": model_id, "uid": "w", "namespace": "shop", "name": "w"}
    assert await upsert_watch(connection, **watch, generation=1, settings=make_settings())
    assert not await upsert_watch(connection, **watch, generation=1, settings=make_settings())
    assert await upsert_watch(connection, **watch, generation=2, settings=make_settings())
    assert await upsert_watch(
        connection, **watch, generation=2, settings=make_settings(suspend=True)
    )
    (row,) = await load_watches(connection, model_uid="model-1")
    assert row.settings is not None
    assert (row.generation, row.settings.suspend) == (2, True)


async def test_a_watch_that_cannot_be_read_takes_no_other_down(connection: Connection) -> None:
    model_id = await add_model(connection)
    await add_watch(connection, model_id, "bad")
    await add_watch(connection, model_id, "good")
    await connection.execute(
        """UPDATE watches SET settings = jsonb_set(settings, '{intervalSeconds}', '0')
        WHERE uid = 'bad'"""
    )
    bad, good = await load_watches(connection, model_uid="model-1")
    assert (bad.settings, bad.problem.split(":")[0]) == (None, "settings.intervalSeconds")
    assert good.settings == make_settings()


async def test_what_a_newer_release_adds_to_a_watch_is_passed_over(connection: Connection) -> None:
    model_id = await add_model(connection)
    await add_watch(connection, model_id)
    await connection.execute("""UPDATE watches SET settings = settings || '{"later": 1}'""")
    (row,) = await load_watches(connection, model_uid="model-1")
    assert row.settings == make_settings()


async def test_a_removed_watch_resolves_its_open_anomalies_and_keeps_them(
    connection: Connection,
) -> None:
    world = await make_world(connection)
    await write_anomalies(
        connection,
        watch_id=world.watch_id,
        version=1,
        anomalies=[make_anomaly(world.metrics[0], last_anomalous_at=NOW + 60)],
    )
    await add_watch(connection, world.model_id, "watch-2")
    assert await remove_watches(connection, model_id=world.model_id, keep=["watch-2"]) == 1
    assert await remove_watches(connection, model_id=world.model_id, keep=["watch-2"]) == 0
    assert [row.uid for row in await load_watches(connection, model_uid="model-1")] == ["watch-2"]
    (stored,) = await list_anomalies(connection, model_uid="model-1")
    assert stored.watch_uid == "watch-1"
    assert stored.labels == make_labels("pod-0")[0]
    assert stored.anomaly.metric_id == 0
    assert (stored.anomaly.state, stored.anomaly.ended_at) == (AnomalyState.RESOLVED, NOW + 60)


async def test_a_watch_that_moves_to_another_model_leaves_its_past_there(
    connection: Connection,
) -> None:
    world = await make_world(connection)
    await write_anomalies(
        connection,
        watch_id=world.watch_id,
        version=1,
        anomalies=[make_anomaly(world.metrics[0])],
    )
    other = await upsert_model(connection, uid="model-2", namespace="shop", name="b", generation=1)
    new_id = await add_watch(connection, other, "watch-1", model_uid="model-2")
    assert new_id != world.watch_id
    assert await load_watches(connection, model_uid="model-1") == ()
    assert await read_series(connection, watch_id=new_id) == {}
    (stored,) = await list_anomalies(connection, model_uid="model-1")
    assert stored.anomaly.state is AnomalyState.RESOLVED
    # The model it came from removes what it does not know any more: this watch is not its own.
    assert await remove_watches(connection, model_id=world.model_id, keep=[]) == 0
    assert len(await load_watches(connection, model_uid="model-2")) == 1


async def test_series_keep_their_ids(connection: Connection) -> None:
    watch_id = await add_watch(connection, await add_model(connection))
    a, b, c = make_labels("a", "b", "c")
    first = await register_series(connection, watch_id=watch_id, labels=[a, b])
    again = await register_series(connection, watch_id=watch_id, labels=[c, b, a, a])
    assert {again[a], again[b]} == set(first.values())
    assert again[c] not in first.values()
    assert await read_series(connection, watch_id=watch_id) == {
        again[one]: one for one in (a, b, c)
    }
    stored = await connection.fetch("SELECT id, series_id FROM metrics")
    assert {row["id"]: row["series_id"] for row in stored} == {
        again[one]: series_id(one) for one in (a, b, c)
    }


async def test_a_series_with_a_hostile_label_takes_no_other_down(connection: Connection) -> None:
    watch_id = await add_watch(connection, await add_model(connection))
    hostile = (("pod", "a\x00'; DROP TABLE metrics; -- \\u0000 ü💥"),)
    ids = await register_series(connection, watch_id=watch_id, labels=[hostile, *make_labels("b")])
    stored = await read_series(connection, watch_id=watch_id)
    assert stored[ids[hostile]] == (("pod", "a�'; DROP TABLE metrics; -- \\u0000 ü💥"),)
    assert len(stored) == 2
    again = await register_series(connection, watch_id=watch_id, labels=[hostile])
    assert again[hostile] == ids[hostile]


async def test_no_series_is_registered_for_a_removed_watch(connection: Connection) -> None:
    with pytest.raises(RowMissing, match="removed"):
        await register_series(connection, watch_id=7, labels=make_labels("a"))
    assert await register_series(connection, watch_id=7, labels=[]) == {}


async def test_seeing_a_series_again_is_remembered(connection: Connection) -> None:
    watch_id = await add_watch(connection, await add_model(connection))
    await register_series(connection, watch_id=watch_id, labels=make_labels("a"))
    await connection.execute("UPDATE metrics SET last_seen = 'epoch', first_seen = 'epoch'")
    await register_series(connection, watch_id=watch_id, labels=make_labels("a"))
    row = await connection.fetchrow(
        "SELECT first_seen = 'epoch' AS first, last_seen = 'epoch' AS last FROM metrics"
    )
    assert row is not None
    assert (row["first"], row["last"]) == (True, False)
