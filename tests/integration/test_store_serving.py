import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.integration.store_rows import add_model, add_version

from metricwatch.resources.anomalymodel import VersionState
from metricwatch.store.connection import Connection
from metricwatch.store.errors import RowMissing, StoreError, TransitionRefused
from metricwatch.store.models import read_version, set_state
from metricwatch.store.pool import Database
from metricwatch.store.rows import TakeOver, Version
from metricwatch.store.serving import mark_ready, set_serving

PROMOTED, PINNED, ROLLED_BACK = TakeOver


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[Connection]:
    async with database.acquire() as acquired:
        yield acquired


async def version_of(connection: Connection, version: int) -> Version:
    return await read_version(connection, model_uid="model-1", version=version)


async def add_candidate(connection: Connection, model_id: int, version: int) -> None:
    await add_version(connection, model_id, version)
    await set_state(connection, model_id=model_id, version=version, state=VersionState.CANDIDATE)


async def serving_of(connection: Connection) -> int | None:
    found: int | None = await connection.fetchval("SELECT serving_version FROM models_info")
    return found


async def test_serving_moves_from_one_version_to_the_next(connection: Connection) -> None:
    model_id = await add_model(connection)
    await add_version(connection, model_id, 1, serving=True)
    await add_candidate(connection, model_id, 2)
    assert await set_serving(connection, model_id=model_id, version=2) is True
    assert await set_serving(connection, model_id=model_id, version=2) is False
    assert await serving_of(connection) == 2
    old = await version_of(connection, 1)
    assert (old.state, old.reason) == (VersionState.RETIRED, "Superseded")
    assert old.message == "version 2 took over"
    assert old.retired_at is not None
    new = await version_of(connection, 2)
    assert (new.state, new.retired_at, new.replaced) == (VersionState.SERVING, None, 1)
    assert new.served_at is not None


async def test_the_first_version_replaces_none(connection: Connection) -> None:
    model_id = await add_model(connection)
    await add_version(connection, model_id, 1, serving=True)
    assert (await version_of(connection, 1)).replaced is None


async def test_an_old_version_serves_again_when_it_is_pinned(connection: Connection) -> None:
    model_id = await add_model(connection)
    await add_version(connection, model_id, 1, serving=True)
    await add_version(connection, model_id, 2, serving=True)
    assert await set_serving(connection, model_id=model_id, version=1, how=PINNED) is True
    one, two = await version_of(connection, 1), await version_of(connection, 2)
    assert (one.state, one.replaced) == (VersionState.SERVING, None)
    # It was promoted over version 1, which serves again: its own past stays as it was.
    assert (two.state, two.replaced) == (VersionState.RETIRED, 1)


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
    assert await serving_of(connection) is None


@pytest.mark.parametrize(
    ("how", "state", "allowed"),
    [
        (PROMOTED, VersionState.CANDIDATE, True),
        (PROMOTED, VersionState.RETIRED, True),
        (PROMOTED, VersionState.REJECTED, False),
        (PROMOTED, VersionState.FAILED, False),
        (PINNED, VersionState.CANDIDATE, True),
        (PINNED, VersionState.RETIRED, True),
        (PINNED, VersionState.REJECTED, True),
        (PINNED, VersionState.FAILED, False),
        (ROLLED_BACK, VersionState.CANDIDATE, False),
        (ROLLED_BACK, VersionState.FAILED, False),
    ],
)
async def test_what_may_serve_depends_on_how_it_comes_to_it(
    connection: Connection, how: TakeOver, state: VersionState, allowed: bool
) -> None:
    model_id = await add_model(connection)
    row_id = await add_version(connection, model_id)
    await connection.execute("UPDATE models SET state = $2 WHERE id = $1", row_id, state)
    if allowed:
        assert await set_serving(connection, model_id=model_id, version=1, how=how) is True
        return
    with pytest.raises(TransitionRefused, match=rf"is {state} and cannot serve \({how}\)"):
        await set_serving(connection, model_id=model_id, version=1, how=how)


async def test_a_version_that_misbehaves_gives_way_to_the_one_before_once(
    connection: Connection,
) -> None:
    model_id = await add_model(connection)
    await add_version(connection, model_id, 1, serving=True)
    await add_version(connection, model_id, 2, serving=True)
    back = {"model_id": model_id, "how": ROLLED_BACK, "reason": "AnomalyStorm"}
    said = "62 % of its samples are anomalous"
    assert await set_serving(connection, **back, version=1, message=said) is True
    assert await set_serving(connection, **back, version=1, message=said) is False
    gone, came = await version_of(connection, 2), await version_of(connection, 1)
    assert (gone.state, gone.reason, gone.message) == (
        VersionState.REJECTED,
        "AnomalyStorm",
        said,
    )
    assert gone.retired_at is not None
    assert (came.state, came.reason, came.replaced) == (VersionState.SERVING, "", None)
    with pytest.raises(TransitionRefused, match="version 1 did not take over from version 2"):
        await set_serving(connection, **back, version=2)
    assert await serving_of(connection) == 1


async def test_a_rollback_leads_only_to_the_version_that_was_replaced(
    connection: Connection,
) -> None:
    model_id = await add_model(connection)
    for version in (1, 2, 3):
        await add_version(connection, model_id, version, serving=True)
    with pytest.raises(TransitionRefused, match="version 3 did not take over from version 1"):
        await set_serving(connection, model_id=model_id, version=1, how=ROLLED_BACK)
    assert await set_serving(connection, model_id=model_id, version=2, how=ROLLED_BACK) is True


async def test_a_pinned_version_is_not_rolled_back(connection: Connection) -> None:
    model_id = await add_model(connection)
    await add_version(connection, model_id, 1, serving=True)
    await add_candidate(connection, model_id, 2)
    await set_serving(connection, model_id=model_id, version=2, how=PINNED)
    with pytest.raises(TransitionRefused, match="no way back to it"):
        await set_serving(connection, model_id=model_id, version=1, how=ROLLED_BACK)
    assert await serving_of(connection) == 2


async def test_a_rejected_version_that_was_pinned_is_rejected_again_when_it_goes(
    connection: Connection,
) -> None:
    model_id = await add_model(connection)
    await add_version(connection, model_id, 1, serving=True)
    await add_version(connection, model_id, 2, serving=True)
    await set_serving(
        connection, model_id=model_id, version=1, how=ROLLED_BACK, reason="CrashLoop", message="m"
    )
    await set_serving(connection, model_id=model_id, version=2, how=PINNED)
    assert (await version_of(connection, 2)).state is VersionState.SERVING
    await set_serving(connection, model_id=model_id, version=1, how=PINNED)
    again = await version_of(connection, 2)
    assert (again.state, again.reason, again.message) == (VersionState.REJECTED, "CrashLoop", "m")
    with pytest.raises(TransitionRefused, match="Rejected and cannot serve"):
        await set_serving(connection, model_id=model_id, version=2)


async def test_serving_of_a_deleted_model_says_so(connection: Connection) -> None:
    with pytest.raises(RowMissing, match="not in the database"):
        await set_serving(connection, model_id=4711, version=1)


async def test_two_versions_never_serve_whatever_the_code_does(database: Database) -> None:
    async with database.acquire() as connection:
        model_id = await add_model(connection)
        await add_version(connection, model_id, 1, serving=True)
        row_id = await add_version(connection, model_id, 2)
    with pytest.raises(StoreError, match="models_one_serving"):
        async with database.acquire() as connection:
            await connection.execute("UPDATE models SET state = 'Serving' WHERE id = $1", row_id)


async def test_of_many_that_promote_the_same_version_one_does_it(database: Database) -> None:
    async with database.acquire() as connection:
        model_id = await add_model(connection)
        await add_version(connection, model_id, 1, serving=True)
        await add_candidate(connection, model_id, 2)

    async def promote() -> bool:
        async with database.transaction() as connection:
            return await set_serving(connection, model_id=model_id, version=2)

    assert sorted(await asyncio.gather(*(promote() for _ in range(4)))) == [False] * 3 + [True]
    async with database.acquire() as connection:
        assert (await version_of(connection, 2)).replaced == 1


async def test_two_that_promote_different_versions_come_after_each_other(
    database: Database,
) -> None:
    async with database.acquire() as connection:
        model_id = await add_model(connection)
        await add_version(connection, model_id, 1, serving=True)
        for version in (2, 3):
            await add_candidate(connection, model_id, version)

    async def promote(version: int) -> bool:
        async with database.transaction() as connection:
            return await set_serving(connection, model_id=model_id, version=version)

    assert await asyncio.gather(promote(2), promote(3)) == [True, True]
    async with database.acquire() as connection:
        last = await serving_of(connection)
        states = {number: (await version_of(connection, number)).state for number in (1, 2, 3)}
        assert last in (2, 3)
        assert (await version_of(connection, last or 0)).replaced == 5 - (last or 0)
    assert states == {1: "Retired", 2: "Retired", 3: "Retired"} | {last: "Serving"}


async def test_a_rollback_and_a_pin_at_once_leave_one_version_serving(database: Database) -> None:
    async with database.acquire() as connection:
        model_id = await add_model(connection)
        for version in (1, 2, 3):
            await add_version(connection, model_id, version, serving=True)

    async def serve(version: int, how: TakeOver) -> bool | str:
        try:
            async with database.transaction() as connection:
                return await set_serving(connection, model_id=model_id, version=version, how=how)
        except TransitionRefused as error:
            return str(error)

    back, pinned = await asyncio.gather(serve(2, ROLLED_BACK), serve(1, PINNED))
    assert pinned is True
    assert back is True or "no way back" in str(back)
    async with database.acquire() as connection:
        assert await serving_of(connection) in (1, 2)
        count = await connection.fetchval("SELECT count(*) FROM models WHERE state = 'Serving'")
        assert count == 1


async def test_a_change_that_is_cut_off_leaves_the_version_before(database: Database) -> None:
    async with database.acquire() as connection:
        model_id = await add_model(connection)
        await add_version(connection, model_id, 1, serving=True)
        await add_candidate(connection, model_id, 2)

    async def cut_off() -> None:
        async with database.transaction() as connection:
            await set_serving(connection, model_id=model_id, version=2)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await cut_off()
    async with database.acquire() as connection:
        assert await serving_of(connection) == 1
        assert (await version_of(connection, 1)).state is VersionState.SERVING
        assert (await version_of(connection, 2)).state is VersionState.CANDIDATE


async def test_a_candidate_is_ready_once(connection: Connection) -> None:
    model_id = await add_model(connection)
    await add_candidate(connection, model_id, 1)
    assert (await version_of(connection, 1)).ready_at is None
    assert await mark_ready(connection, model_id=model_id, version=1) is True
    first = (await version_of(connection, 1)).ready_at
    assert first is not None
    await connection.execute("UPDATE models SET ready_at = ready_at - interval '1 hour'")
    assert await mark_ready(connection, model_id=model_id, version=1) is False
    assert (await version_of(connection, 1)).ready_at == pytest.approx(first - 3600, abs=1)


@pytest.mark.parametrize(("version", "found"), [(1, "is Training"), (2, "is not in the database")])
async def test_what_is_not_trained_is_not_ready(
    connection: Connection, version: int, found: str
) -> None:
    model_id = await add_model(connection)
    await add_version(connection, model_id, 1, trained=False)
    with pytest.raises(TransitionRefused, match=f"{found} and cannot be ready"):
        await mark_ready(connection, model_id=model_id, version=version)
