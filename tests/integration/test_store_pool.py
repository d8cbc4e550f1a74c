import asyncio
import math
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from tests.integration.postgres_fixture import Postgres

from metricwatch.store.clock import read_time
from metricwatch.store.errors import (
    StoreError,
    StoreMisconfigured,
    StoreUnauthorized,
    StoreUnavailable,
)
from metricwatch.store.location import DatabaseLocation
from metricwatch.store.pool import Database, Timeouts

# Short where a test waits for one to pass; ample where a busy machine might need it.
SHORT = Timeouts(connect=5.0, acquire=6.0, command=1.5, lock=0.5)


def open_short(url: str, *, max_connections: int = 4, timeouts: Timeouts = SHORT) -> Database:
    return Database(
        DatabaseLocation(url=url),
        application_name="tests",
        max_connections=max_connections,
        timeouts=timeouts,
    )


async def answer(database: Database) -> int:
    async with database.acquire() as connection:
        value: int = await connection.fetchval("SELECT 42")
        return value


async def notice() -> None:
    """Let the event loop see what happened on its sockets while a test kept it from running."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_restart_of_the_server_is_survived(database: Database, postgres: Postgres) -> None:
    assert await answer(database) == 42
    postgres.restart()
    await notice()
    assert await answer(database) == 42


async def test_a_crash_within_a_transaction_loses_the_transaction_and_no_more(
    database: Database, postgres: Postgres
) -> None:
    async with database.acquire() as connection:
        await connection.execute("CREATE TABLE kept (n int)")

    async def interrupted() -> None:
        async with database.transaction() as connection:
            await connection.execute("INSERT INTO kept VALUES (1)")
            postgres.restart()
            await connection.execute("INSERT INTO kept VALUES (2)")

    with pytest.raises(StoreUnavailable):
        await interrupted()
    async with database.acquire() as connection:
        assert await connection.fetchval("SELECT count(*) FROM kept") == 0


async def test_a_stopped_server_is_noticed_at_once_and_its_return_too(
    database: Database, postgres: Postgres
) -> None:
    assert await answer(database) == 42
    postgres.stop()
    await notice()
    with pytest.raises(StoreUnavailable, match="cannot reach PostgreSQL"):
        await answer(database)
    postgres.start()
    assert await answer(database) == 42


async def test_nothing_is_connected_before_it_is_needed(
    postgres: Postgres, database_url: str
) -> None:
    postgres.stop()
    async with open_short(database_url) as database:
        postgres.start()
        assert await answer(database) == 42


async def test_a_server_that_hangs_costs_no_more_than_the_timeouts(
    postgres: Postgres, database_url: str
) -> None:
    async with open_short(database_url) as database:
        assert await answer(database) == 42
        with postgres.paused():
            # TCP would wait for hours.
            async with asyncio.timeout(60):
                with pytest.raises(StoreUnavailable, match="in time"):
                    await answer(database)
                with pytest.raises(StoreUnavailable):
                    await answer(database)
        assert await answer(database) == 42


async def test_a_server_that_hangs_within_a_transaction_costs_no_more_than_the_timeouts(
    postgres: Postgres, database_url: str
) -> None:
    async with (
        open_short(database_url, max_connections=1) as database,
        AsyncExitStack() as hanging,
    ):

        async def interrupted() -> None:
            async with database.transaction() as connection:
                await connection.execute("SELECT 1")
                hanging.enter_context(postgres.paused())
                await connection.execute("SELECT 2")

        async with asyncio.timeout(60):
            with pytest.raises(StoreUnavailable):
                await interrupted()
            await hanging.aclose()
            assert await answer(database) == 42


async def test_closing_does_not_wait_for_a_server_that_hangs(
    postgres: Postgres, database_url: str
) -> None:
    database = await open_short(database_url).open()
    assert await answer(database) == 42
    with postgres.paused():
        await asyncio.wait_for(database.close(), 30)
    with pytest.raises(StoreUnavailable, match="closed in this process"):
        await answer(database)


async def test_waiting_for_a_connection_ends(database_url: str) -> None:
    quick = replace(SHORT, acquire=1.0)
    async with open_short(database_url, max_connections=1, timeouts=quick) as database:
        async with database.acquire():
            with pytest.raises(StoreUnavailable, match="in time"):
                await answer(database)
        assert await answer(database) == 42


async def test_a_statement_that_takes_too_long_is_cut_and_the_connection_goes_on(
    database_url: str,
) -> None:
    async with open_short(database_url, max_connections=1) as database:
        with pytest.raises(StoreUnavailable):
            async with database.acquire() as connection:
                await connection.execute("SELECT pg_sleep(60)")
        assert await answer(database) == 42


async def test_waiting_for_a_lock_ends(database_url: str) -> None:
    async with open_short(database_url) as database:
        async with database.acquire() as connection:
            await connection.execute("CREATE TABLE held (n int)")
        async with database.transaction() as holder:
            await holder.execute("LOCK held")
            with pytest.raises(StoreUnavailable, match="lock timeout"):
                async with database.acquire() as other:
                    await other.execute("INSERT INTO held VALUES (1)")


async def test_a_failed_block_rolls_back(database: Database) -> None:
    async with database.acquire() as connection:
        await connection.execute("CREATE TABLE kept (n int)")

    async def failing() -> None:
        async with database.transaction() as connection:
            await connection.execute("INSERT INTO kept VALUES (1)")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await failing()
    async with database.acquire() as connection:
        assert await connection.fetchval("SELECT count(*) FROM kept") == 0


async def test_a_mistake_of_ours_is_not_retryable(database: Database) -> None:
    with pytest.raises(StoreError, match="22012") as caught:
        async with database.acquire() as connection:
            await connection.execute("SELECT 1/0")
    assert not caught.value.retryable
    assert await answer(database) == 42


async def test_a_cancelled_task_gives_its_connection_back(database_url: str) -> None:
    async with open_short(database_url, max_connections=1) as database:

        async def hold() -> None:
            async with database.acquire() as connection:
                await connection.execute("SELECT pg_sleep(0.4)")

        task = asyncio.create_task(hold())
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await answer(database) == 42


async def test_a_wrong_password_is_said_without_showing_it(database_url: str) -> None:
    async with open_short(database_url.replace(":secret@", ":hunter2@")) as database:
        with pytest.raises(StoreUnauthorized, match="refuses the credentials") as caught:
            await answer(database)
    assert "hunter2" not in f"{caught.value} {database!r}"
    assert caught.value.retryable


async def test_a_rotated_password_takes_effect_without_a_restart(
    database_url: str, postgres: Postgres, tmp_path: Path
) -> None:
    await postgres.execute("CREATE USER rotating PASSWORD 'old'")
    await postgres.execute("GRANT SELECT ON alembic_version TO rotating", database=database_url)
    url = database_url.replace("tester:secret@", "rotating:{}@")
    file = tmp_path / "url"
    file.write_text(url.format("old") + "\n", encoding="utf-8")
    location = DatabaseLocation(file=file)
    async with Database(location, application_name="tests", timeouts=SHORT) as database:
        assert await answer(database) == 42
        await postgres.execute("ALTER USER rotating PASSWORD 'new'")
        postgres.restart()
        await notice()
        with pytest.raises(StoreUnauthorized):
            await answer(database)
        file.write_text(url.format("new"), encoding="utf-8")
        assert await answer(database) == 42


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://shop", "holds no PostgreSQL URL"),
        ("postgresql://me@localhost:port/metrics", "cannot be read"),
        ("postgresql://me@localhost/metrics?sslmode=sometimes", "cannot be used"),
    ],
)
async def test_a_url_that_cannot_be_used_is_said(url: str, message: str) -> None:
    async with open_short(url) as database:
        with pytest.raises(StoreMisconfigured, match=message):
            await answer(database)


async def test_a_missing_url_file_is_said(tmp_path: Path) -> None:
    location = DatabaseLocation(file=tmp_path / "url")
    async with Database(location, application_name="tests") as database:
        with pytest.raises(StoreMisconfigured, match="No such file"):
            await answer(database)


async def test_a_database_that_does_not_exist_may_come(database_url: str) -> None:
    async with open_short(database_url + "_not") as database:
        with pytest.raises(StoreUnavailable, match="does not exist"):
            await answer(database)


async def test_a_server_without_tls_is_refused_when_tls_is_asked_for(database_url: str) -> None:
    async with open_short(database_url + "?sslmode=require") as database:
        with pytest.raises(StoreUnavailable):
            await answer(database)


async def test_json_goes_through_unharmed_but_for_what_json_cannot_hold(
    database: Database,
) -> None:
    value = {"a": [1, 2.5, None, True, "ü"], "nan": math.nan, "nul": "a\x00b", "slash": "\\u0000"}
    async with database.acquire() as connection:
        read = await connection.fetchval("SELECT $1::jsonb", value)
    assert read == {**value, "nan": None, "nul": "a�b"}


async def test_the_server_notices_within_a_minute_that_nobody_is_there_any_more(
    postgres: Postgres, database_url: str
) -> None:
    names = ("tcp_keepalives_idle", "tcp_keepalives_interval", "tcp_keepalives_count")
    async with open_short(database_url) as database, database.acquire() as connection:
        idle, interval, count = [
            int(await connection.fetchval("SELECT current_setting($1)", name)) for name in names
        ]
        assert 0 < idle + interval * count <= 60


async def test_its_clock_is_that_of_the_server(database: Database) -> None:
    async with database.acquire() as connection:
        now = await connection.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8")
        assert abs(await read_time(connection) - now) < 30
