from collections.abc import AsyncIterator

import pytest
from tests.integration.store_rows import (
    NOW,
    add_model,
    add_version,
    make_artifact,
    make_request,
    make_result,
)

from metricwatch.resources.anomalymodel import VersionState
from metricwatch.store.artifacts import read_artifacts
from metricwatch.store.connection import Connection
from metricwatch.store.errors import RowMissing, StoreError, TransitionRefused, VersionConflict
from metricwatch.store.models import (
    create_version,
    model_id_of,
    prune_versions,
    read_version,
    record_training,
    set_serving,
    set_state,
    upsert_model,
)
from metricwatch.store.pool import Database


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[Connection]:
    async with database.acquire() as acquired:
        yield acquired


async def state_of(connection: Connection, version: int) -> VersionState:
    return (await read_version(connection, model_uid="model-1", version=version)).state


async def test_a_model_keeps_its_row_and_its_newest_generation(connection: Connection) -> None:
    first = await upsert_model(connection, uid="u", namespace="shop", name="m", generation=2)
    again = await upsert_model(connection, uid="u", namespace="shop", name="m", generation=1)
    assert again == first == await model_id_of(connection, "u")
    assert await connection.fetchval("SELECT generation FROM models_info") == 2


async def test_a_model_that_is_unchanged_is_not_written_again(connection: Connection) -> None:
    await upsert_model(connection, uid="u", namespace="shop", name="m", generation=1)
    before = await connection.fetchval("SELECT xmin::text FROM models_info")
    await upsert_model(connection, uid="u", namespace="shop", name="m", generation=1)
    assert await connection.fetchval("SELECT xmin::text FROM models_info") == before


async def test_an_unknown_model_is_missing(connection: Connection) -> None:
    with pytest.raises(RowMissing, match="nobody"):
        await model_id_of(connection, "nobody")


async def test_a_version_is_created_once_however_often_it_is_asked_for(
    connection: Connection,
) -> None:
    model_id = await add_model(connection)
    request = make_request()
    asked = {
        "model_id": model_id,
        "version": 1,
        "request": request.to_row(),
        "request_hash": request.fingerprint(),
        "reason": "SpecChanged",
        "message": "training.window 7d → 14d",
    }
    assert await create_version(connection, **asked) is True
    assert await create_version(connection, **asked) is False
    version = await read_version(connection, model_uid="model-1", version=1)
    assert (version.state, version.attempt) == (VersionState.TRAINING, 1)
    assert (version.reason, version.message) == ("SpecChanged", "training.window 7d → 14d")
    assert version.request == request.to_row()
    assert version.trained_at is None
    assert (
        abs(
            version.created_at
            - (await connection.fetchval("SELECT extract(epoch FROM now())::int"))
        )
        < 60
    )


async def test_a_number_is_not_given_to_another_request(connection: Connection) -> None:
    model_id = await add_model(connection)
    await create_version(connection, model_id=model_id, version=1, request={}, request_hash="a")
    with pytest.raises(VersionConflict):
        await create_version(
            connection, model_id=model_id, version=1, request={}, request_hash="b"
        )
    with pytest.raises(VersionConflict):
        await create_version(
            connection, model_id=model_id, version=1, request={}, request_hash="a", attempt=2
        )


async def test_training_is_recorded_with_its_artifacts(connection: Connection) -> None:
    model_id = await add_model(connection)
    row_id = await add_version(connection, model_id, trained=False)
    chunks = [make_artifact(1, content=b"b" * 100_000), make_artifact(0, content=b"a")]
    await record_training(
        connection, version_id=row_id, result=make_result(), artifacts=iter(chunks)
    )
    version = await read_version(connection, model_uid="model-1", version=1)
    assert version.state is VersionState.TRAINING
    assert version.trained_at is not None
    assert (version.window_start, version.window_end) == (NOW - 86_400, NOW)
    assert (version.data_hash, version.seed, version.code_version) == ("abc", 7, "0.1.0")
    assert version.report == make_result().report
    read = [chunk async for chunk in read_artifacts(connection, version_id=row_id)]
    assert read == [chunks[1], chunks[0]]


async def test_training_that_breaks_off_leaves_what_was_there_before(
    connection: Connection,
) -> None:
    model_id = await add_model(connection)
    row_id = await add_version(connection, model_id)

    def interrupted():
        yield make_artifact(5)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await record_training(
            connection, version_id=row_id, result=make_result(other=1), artifacts=interrupted()
        )
    version = await read_version(connection, model_uid="model-1", version=1)
    assert version.report == make_result().report
    assert [chunk.chunk async for chunk in read_artifacts(connection, version_id=row_id)] == [0]


async def test_a_second_pod_of_the_same_run_replaces_what_the_first_stored(
    connection: Connection,
) -> None:
    model_id = await add_model(connection)
    row_id = await add_version(connection, model_id)
    await record_training(
        connection, version_id=row_id, result=make_result(), artifacts=[make_artifact(9)]
    )
    assert [chunk.chunk async for chunk in read_artifacts(connection, version_id=row_id)] == [9]


async def test_a_version_in_use_is_not_trained_over(connection: Connection) -> None:
    model_id = await add_model(connection)
    row_id = await add_version(connection, model_id, serving=True)
    with pytest.raises(TransitionRefused, match="Serving"):
        await record_training(connection, version_id=row_id, result=make_result(), artifacts=[])


async def test_training_of_a_deleted_version_says_so(connection: Connection) -> None:
    with pytest.raises(RowMissing, match="deleted"):
        await record_training(connection, version_id=99, result=make_result(), artifacts=[])


async def test_a_trained_version_becomes_a_candidate_once(connection: Connection) -> None:
    model_id = await add_model(connection)
    await add_version(connection, model_id)
    move = {"model_id": model_id, "version": 1, "state": VersionState.CANDIDATE}
    assert await set_state(connection, **move) is True
    assert await set_state(connection, **move) is False
    assert await set_state(connection, **move, message="detectors start") is True


@pytest.mark.parametrize(
    ("present", "wanted"),
    [
        (VersionState.FAILED, VersionState.CANDIDATE),
        (VersionState.RETIRED, VersionState.CANDIDATE),
        (VersionState.SERVING, VersionState.RETIRED),
        (VersionState.SERVING, VersionState.FAILED),
        (VersionState.TRAINING, VersionState.RETIRED),
        (VersionState.TRAINING, VersionState.REJECTED),
        (VersionState.CANDIDATE, VersionState.SERVING),
        (VersionState.CANDIDATE, VersionState.TRAINING),
    ],
)
async def test_a_state_that_may_not_follow_is_refused(
    connection: Connection, present: VersionState, wanted: VersionState
) -> None:
    model_id = await add_model(connection)
    row_id = await add_version(connection, model_id)
    await connection.execute("UPDATE models SET state = $2 WHERE id = $1", row_id, present)
    with pytest.raises(TransitionRefused, match=f"is {present} and cannot become {wanted}"):
        await set_state(connection, model_id=model_id, version=1, state=wanted)
    assert await state_of(connection, 1) == present


async def test_an_unknown_version_has_no_state(connection: Connection) -> None:
    model_id = await add_model(connection)
    with pytest.raises(TransitionRefused, match="not in the database"):
        await set_state(connection, model_id=model_id, version=3, state=VersionState.FAILED)


async def test_serving_moves_from_one_version_to_the_next(connection: Connection) -> None:
    model_id = await add_model(connection)
    await add_version(connection, model_id, 1, serving=True)
    await add_version(connection, model_id, 2)
    await set_state(connection, model_id=model_id, version=2, state=VersionState.CANDIDATE)
    assert await set_serving(connection, model_id=model_id, version=2) is True
    assert await set_serving(connection, model_id=model_id, version=2) is False
    assert await connection.fetchval("SELECT serving_version FROM models_info") == 2
    old = await read_version(connection, model_uid="model-1", version=1)
    assert (old.state, old.reason) == (VersionState.RETIRED, "Superseded")
    assert old.retired_at is not None
    new = await read_version(connection, model_uid="model-1", version=2)
    assert (new.state, new.retired_at) == (VersionState.SERVING, None)
    assert new.served_at is not None


async def test_an_old_version_serves_again_when_it_is_pinned(connection: Connection) -> None:
    model_id = await add_model(connection)
    await add_version(connection, model_id, 1, serving=True)
    await add_version(connection, model_id, 2, serving=True)
    assert await set_serving(connection, model_id=model_id, version=1) is True
    assert await state_of(connection, 1) is VersionState.SERVING
    assert await state_of(connection, 2) is VersionState.RETIRED


@pytest.mark.parametrize("trained", [True, False])
async def test_a_version_that_is_not_ready_does_not_serve(
    connection: Connection, trained: bool
) -> None:
    model_id = await add_model(connection)
    row_id = await add_version(connection, model_id, 1, trained=trained)
    if not trained:
        await connection.execute("UPDATE models SET state = 'Candidate' WHERE id = $1", row_id)
    with pytest.raises(TransitionRefused, match="cannot serve"):
        await set_serving(connection, model_id=model_id, version=1)
    with pytest.raises(TransitionRefused, match="not in the database"):
        await set_serving(connection, model_id=model_id, version=2)
    assert await connection.fetchval("SELECT serving_version FROM models_info") is None


async def test_two_versions_never_serve_whatever_the_code_does(database: Database) -> None:
    async with database.acquire() as connection:
        model_id = await add_model(connection)
        await add_version(connection, model_id, 1, serving=True)
        row_id = await add_version(connection, model_id, 2)
    with pytest.raises(StoreError, match="models_one_serving"):
        async with database.acquire() as connection:
            await connection.execute("UPDATE models SET state = 'Serving' WHERE id = $1", row_id)


async def test_pruning_keeps_the_newest_that_are_over_and_what_is_in_use(
    connection: Connection,
) -> None:
    model_id = await add_model(connection)
    for version in range(1, 7):
        await add_version(connection, model_id, version)
    states = dict(
        zip(
            range(1, 7),
            ("Retired", "Serving", "Failed", "Rejected", "Training", "Failed"),
            strict=True,
        )
    )
    for version, state in states.items():
        await connection.execute("UPDATE models SET state = $2 WHERE version = $1", version, state)
    assert await prune_versions(connection, model_id=model_id, keep=1) == (1, 3)
    assert await prune_versions(connection, model_id=model_id, keep=1) == ()
    assert await prune_versions(connection, model_id=model_id, keep=0) == (4,)
    left = await connection.fetch("SELECT version FROM models ORDER BY version")
    assert [row["version"] for row in left] == [2, 5, 6]
    assert await connection.fetchval("SELECT count(*) FROM model_artifacts") == 3
