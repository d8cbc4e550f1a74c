"""A training run that several pods share: whoever comes last makes the version."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from tests.integration.store_rows import add_model, add_version, make_artifact, make_result

from metricwatch.resources.anomalymodel import VersionState
from metricwatch.store.artifacts import read_artifacts
from metricwatch.store.connection import Connection
from metricwatch.store.errors import RowMissing, TransitionRefused
from metricwatch.store.models import read_version, set_state
from metricwatch.store.pool import Database
from metricwatch.store.rows import Artifact, Slice, TrainingResult
from metricwatch.store.training_shards import has_trained, record_shard


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[Connection]:
    async with database.acquire() as acquired:
        yield acquired


def merge(results: Sequence[TrainingResult]) -> TrainingResult:
    return make_result(slices=[one.report["slice"] for one in results])


async def record(
    connection: Connection,
    version_id: int,
    shard: int,
    shards: int = 2,
    *,
    artifacts: Sequence[Artifact] | None = None,
    **changes: Any,
) -> TrainingResult | None:
    own = [make_artifact(0, shard=shard)] if artifacts is None else artifacts
    values: dict[str, Any] = {
        "version_id": version_id,
        "part": Slice(shards, shard),
        "result": make_result(slice=shard),
        "artifacts": own,
        "merge": merge,
    }
    return await record_shard(connection, **(values | changes))


async def shards_of(connection: Connection, version_id: int) -> list[int]:
    return [one.shard async for one in read_artifacts(connection, version_id=version_id)]


async def add_untrained(connection: Connection) -> int:
    return await add_version(connection, await add_model(connection), trained=False)


async def test_the_last_slice_makes_the_version(connection: Connection) -> None:
    row_id = await add_untrained(connection)
    assert await record(connection, row_id, 1) is None
    version = await read_version(connection, model_uid="model-1", version=1)
    assert (version.trained_at, version.report) == (None, None)
    assert await has_trained(connection, version_id=row_id, part=Slice(2, 1))
    assert not await has_trained(connection, version_id=row_id, part=Slice(2, 0))
    merged = await record(connection, row_id, 0)
    assert merged is not None
    version = await read_version(connection, model_uid="model-1", version=1)
    assert version.trained_at is not None
    assert version.report == merged.report == {"slices": [0, 1]}
    assert await shards_of(connection, row_id) == [0, 1]
    assert await connection.fetchval("SELECT count(*) FROM training_shards") == 0


async def test_a_slice_that_is_stored_again_replaces_only_itself(connection: Connection) -> None:
    row_id = await add_untrained(connection)
    await record(connection, row_id, 0, 3, artifacts=[make_artifact(0), make_artifact(1)])
    await record(connection, row_id, 1, 3)
    assert await record(connection, row_id, 0, 3) is None
    assert await shards_of(connection, row_id) == [0, 1]
    assert await record(connection, row_id, 2, 3) is not None


async def test_a_slice_without_artifacts_counts(connection: Connection) -> None:
    row_id = await add_untrained(connection)
    await record(connection, row_id, 0, artifacts=[])
    assert await record(connection, row_id, 1) is not None
    assert await shards_of(connection, row_id) == [1]


async def test_slices_of_another_division_are_forgotten(connection: Connection) -> None:
    row_id = await add_untrained(connection)
    await record(connection, row_id, 2, 3)
    assert await record(connection, row_id, 0) is None
    assert not await has_trained(connection, version_id=row_id, part=Slice(3, 2))
    assert await record(connection, row_id, 1) is not None
    assert await shards_of(connection, row_id) == [0, 1]


async def test_what_cannot_be_merged_is_not_stored(connection: Connection) -> None:
    row_id = await add_untrained(connection)
    await record(connection, row_id, 0)

    def refuse(results: Sequence[TrainingResult]) -> TrainingResult:
        raise ValueError("nobody learned anything")

    with pytest.raises(ValueError, match="nobody learned"):
        await record(connection, row_id, 1, merge=refuse)
    assert await shards_of(connection, row_id) == [0]
    assert not await has_trained(connection, version_id=row_id, part=Slice(2, 1))


@pytest.mark.parametrize("state", [VersionState.CANDIDATE, VersionState.FAILED])
async def test_a_version_that_was_given_up_takes_no_slice(
    connection: Connection, state: VersionState
) -> None:
    model_id = await add_model(connection)
    row_id = await add_version(connection, model_id, trained=False)
    await set_state(connection, model_id=model_id, version=1, state=state)
    with pytest.raises(TransitionRefused, match=f"{state}, no longer in training"):
        await record(connection, row_id, 0)
    with pytest.raises(RowMissing, match="deleted"):
        await record(connection, row_id + 1, 0)
    assert await shards_of(connection, row_id) == []


async def test_of_many_that_store_at_once_exactly_one_is_last(database: Database) -> None:
    async with database.acquire() as connection:
        row_id = await add_untrained(connection)
    last = 8

    async def store(shard: int) -> TrainingResult | None:
        async with database.acquire() as connection:
            chunks = [
                make_artifact(chunk, shard=shard, content=bytes([chunk]) * 200_000)
                for chunk in range(3)
            ]
            return await record(connection, row_id, shard, last, artifacts=chunks)

    results = await asyncio.gather(*(store(shard) for shard in range(last)))
    (merged,) = [one for one in results if one is not None]
    assert merged.report == {"slices": list(range(last))}
    async with database.acquire() as connection:
        version = await read_version(connection, model_uid="model-1", version=1)
        assert version.trained_at is not None
        assert len(await shards_of(connection, row_id)) == 3 * last


async def test_a_version_that_is_given_up_meanwhile_is_not_waited_for(database: Database) -> None:
    async with database.acquire() as connection:
        model_id = await add_model(connection)
        row_id = await add_version(connection, model_id, trained=False)

    async def store(shard: int) -> None:
        async with database.acquire() as connection:
            await record(connection, row_id, shard, 4)

    async def give_up() -> None:
        async with database.acquire() as connection:
            await set_state(connection, model_id=model_id, version=1, state=VersionState.FAILED)

    tasks = [store(0), store(1), give_up(), store(2), store(3)]
    async with asyncio.timeout(10):
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(one is None or isinstance(one, TransitionRefused) for one in ended)
