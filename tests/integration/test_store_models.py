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
from metricwatch.store.errors import RowMissing, TransitionRefused, VersionConflict
from metricwatch.store.models import (
    create_version,
    model_id_of,
    read_version,
    record_training,
    set_state,
    upsert_model,
)
from metricwatch.store.pool import Database
from metricwatch.store.serving import mark_ready


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


async def test_suspending_and_going_on_is_written_but_not_by_an_older_generation(
    connection: Connection,
) -> None:
    async def write(generation: int, suspended: bool) -> bool:
        named = {"uid": "u", "namespace": "shop", "name": "m"}
        await upsert_model(connection, **named, generation=generation, suspended=suspended)
        found: bool = await connection.fetchval("SELECT suspended FROM models_info")
        return found

    assert await write(2, False) is False
    assert await write(3, True) is True
    assert await write(3, False) is False
    assert await write(3, True) is True
    assert await write(2, False) is True
    assert await connection.fetchval("SELECT generation FROM models_info") == 3


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


async def test_a_retired_version_starts_again_as_a_candidate_that_is_not_ready(
    connection: Connection,
) -> None:
    model_id = await add_model(connection)
    await add_version(connection, model_id)
    key = {"model_id": model_id, "version": 1}
    await set_state(connection, **key, state=VersionState.CANDIDATE)
    await mark_ready(connection, **key)
    await set_state(connection, **key, state=VersionState.CANDIDATE, message="it is compared")
    ready = await read_version(connection, model_uid="model-1", version=1)
    assert ready.ready_at is not None
    await set_state(connection, **key, state=VersionState.RETIRED, reason="Superseded")
    await set_state(connection, **key, state=VersionState.CANDIDATE)
    again = await read_version(connection, model_uid="model-1", version=1)
    assert (again.state, again.ready_at, again.retired_at) == (VersionState.CANDIDATE, None, None)


async def test_a_version_that_fails_the_gate_is_rejected_without_ever_being_a_candidate(
    connection: Connection,
) -> None:
    model_id = await add_model(connection)
    await add_version(connection, model_id)
    await set_state(
        connection,
        model_id=model_id,
        version=1,
        state=VersionState.REJECTED,
        reason="RecallTooLow",
        message="it found 31 % of what was put in",
    )
    version = await read_version(connection, model_uid="model-1", version=1)
    assert (version.state, version.reason) == (VersionState.REJECTED, "RecallTooLow")


@pytest.mark.parametrize(
    ("present", "wanted"),
    [
        (VersionState.FAILED, VersionState.CANDIDATE),
        (VersionState.RETIRED, VersionState.FAILED),
        (VersionState.SERVING, VersionState.RETIRED),
        (VersionState.SERVING, VersionState.FAILED),
        (VersionState.TRAINING, VersionState.RETIRED),
        (VersionState.FAILED, VersionState.REJECTED),
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
