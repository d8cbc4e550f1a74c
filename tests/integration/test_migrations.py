import asyncio
import contextlib
import io
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import asyncpg
import pytest
from tests.integration.postgres_fixture import Postgres
from tests.integration.store_rows import add_version, make_world

from metricwatch.store.artifacts import read_artifacts
from metricwatch.store.errors import SchemaMismatch
from metricwatch.store.location import URL_FILE_VARIABLE, URL_VARIABLE, DatabaseLocation
from metricwatch.store.overview import read_model_overview
from metricwatch.store.pool import Database
from metricwatch.store.schema import EXPECTED_REVISION
from metricwatch_cli.main import main
from metricwatch_migrations.apply import MigrationRefused, newest_revision, require_server

TABLES = {
    "alembic_version",
    "anomaly_points",
    "anomaly_system",
    "decisions",
    "metrics",
    "model_artifacts",
    "models",
    "models_info",
    "notifications",
    "prediction_errors",
    "training_shards",
    "watch_health",
    "watches",
}


class Command:
    """`metricwatch migrate`: in a process of its own, as pods run it, or within the test."""

    def __init__(self, url: str) -> None:
        self.environment: Mapping[str, str] = {**os.environ, URL_VARIABLE: url}

    async def start(self, *options: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "metricwatch_cli.main", "migrate", *options),
            env=self.environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )

    async def run(self, *options: str) -> tuple[int, str]:
        return await asyncio.to_thread(self._run, *options)

    def _run(self, *options: str) -> tuple[int, str]:
        """Starting Python and its libraries takes twenty times as long as a migration."""
        said = io.StringIO()
        with (
            pytest.MonkeyPatch.context() as patch,
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(said),
        ):
            for name in (URL_VARIABLE, URL_FILE_VARIABLE):
                if name in self.environment:
                    patch.setenv(name, self.environment[name])
                else:
                    patch.delenv(name, raising=False)
            return main(["migrate", *options]), said.getvalue()


async def first_line_of(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    return (await process.stdout.readline()).decode()


async def end_of(process: asyncio.subprocess.Process) -> tuple[int, str]:
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


async def tables_of(url: str) -> set[str]:
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        )
    finally:
        await connection.close()
    return {row["tablename"] for row in rows}


def test_the_code_expects_the_newest_revision() -> None:
    assert newest_revision() == EXPECTED_REVISION


def test_a_server_that_is_too_old_is_refused() -> None:
    require_server(140_000)
    with pytest.raises(MigrationRefused, match="PostgreSQL 13; 14 or newer is needed"):
        require_server(130_023)


async def test_an_empty_database_gets_every_table_and_a_second_run_changes_nothing(
    empty_database_url: str,
) -> None:
    command = Command(empty_database_url)
    status, output = await command.run()
    assert (status, f"migrated the schema: empty → {EXPECTED_REVISION}" in output) == (0, True)
    assert await tables_of(empty_database_url) == TABLES
    status, output = await command.run()
    assert (status, output) == (0, f"the schema is {EXPECTED_REVISION} already: nothing to do\n")


async def test_two_pods_at_once_migrate_once(empty_database_url: str) -> None:
    command = Command(empty_database_url)
    pods = [await command.start() for _ in range(2)]
    results = await asyncio.gather(*map(end_of, pods))
    assert [status for status, _ in results] == [0, 0]
    assert sum("migrated the schema" in output for _, output in results) == 1
    assert sum("nothing to do" in output for _, output in results) == 1
    assert await tables_of(empty_database_url) == TABLES


async def test_a_second_pod_waits_for_the_first(
    empty_database_url: str, postgres: Postgres
) -> None:
    holder = await asyncpg.connect(empty_database_url)
    try:
        await holder.execute("SELECT pg_advisory_lock(x'6d776d696772'::bigint)")
        process = await Command(empty_database_url).start()
        assert "another migration of this database is running" in await first_line_of(process)
        assert await tables_of(empty_database_url) == set()
    finally:
        await holder.close()
    status, output = await end_of(process)
    assert (status, "migrated the schema" in output) == (0, True)


async def test_a_migration_that_fails_leaves_nothing(
    empty_database_url: str, postgres: Postgres
) -> None:
    await postgres.execute("CREATE TABLE watch_health (mine int)", database=empty_database_url)
    status, output = await Command(empty_database_url).run()
    assert status == 1
    assert 'relation "watch_health" already exists' in output
    assert await tables_of(empty_database_url) == {"watch_health"}


async def test_checking_changes_nothing_and_says_what_to_do(empty_database_url: str) -> None:
    command = Command(empty_database_url)
    status, output = await command.run("--check")
    assert status == 1
    assert "has no schema yet" in output
    assert "run `metricwatch migrate`" in output
    assert await tables_of(empty_database_url) == set()
    await command.run()
    status, output = await command.run("--check")
    assert (status, output) == (
        0,
        f"the schema is {EXPECTED_REVISION}, as this release needs it\n",
    )


async def test_every_revision_goes_up_and_down_again(empty_database_url: str) -> None:
    command = Command(empty_database_url)
    await command.run()
    status, output = await command.run("--to", "base")
    assert status == 1
    assert "drops data: add --allow-data-loss" in output
    assert await tables_of(empty_database_url) == TABLES
    for number in range(int(EXPECTED_REVISION) - 1, -1, -1):
        target = f"{number:04d}" if number else "base"
        status, output = await command.run("--to", target, "--allow-data-loss")
        assert status == 0, output
    assert await tables_of(empty_database_url) == {"alembic_version"}
    for number in range(1, int(EXPECTED_REVISION) + 1):
        status, output = await command.run("--to", f"{number:04d}")
        assert status == 0, output
    assert await tables_of(empty_database_url) == TABLES


# As the release before wrote it: a model that serves one version and trains the next.
ROWS_OF_0001 = """
INSERT INTO models_info (uid, namespace, name, generation, serving_version)
VALUES ('model-1', 'shop', 'checkout', 3, 1);
INSERT INTO models (model_id, version, state, request, request_hash, trained_at, served_at)
SELECT id, 1, 'Serving', '{"a": 1}', 'hash', now(), now() FROM models_info;
INSERT INTO models (model_id, version, state, request, request_hash)
SELECT id, 2, 'Training', '{"a": 2}', 'other' FROM models_info;
INSERT INTO model_artifacts (models_row, shard, chunk, family, watch_uid, series, sha256, content)
SELECT id, 0, 0, 'zscore', 'watch-1', 3, sha256('weights'), 'weights'
FROM models WHERE version = 1;
INSERT INTO watches (uid, model_id, namespace, name, generation, settings)
SELECT 'watch-1', id, 'shop', 'latency', 1, '{}' FROM models_info;
INSERT INTO watch_health (watch_id, version, shards, shard, state, series)
SELECT id, 1, 1, 0, 'Scoring', 3 FROM watches;
"""


async def test_an_upgrade_keeps_what_the_release_before_wrote(empty_database_url: str) -> None:
    command = Command(empty_database_url)
    assert (await command.run("--to", "0001"))[0] == 0
    connection = await asyncpg.connect(empty_database_url)
    try:
        await connection.execute(ROWS_OF_0001)
    finally:
        await connection.close()
    status, output = await command.run()
    assert (status, f"0001 → {EXPECTED_REVISION}" in output) == (0, True), output
    location = DatabaseLocation(url=empty_database_url)
    async with Database(location, application_name="tests") as database:
        overview = await read_model_overview(database, "model-1")
        async with database.acquire() as connection:
            row_id = overview.versions[1].id if overview else 0
            chunks = [chunk async for chunk in read_artifacts(connection, version_id=row_id)]
    assert overview is not None
    assert (overview.serving_version, overview.generation) == (1, 3)
    two, one = overview.versions
    assert (one.request, one.ready_at, one.replaced) == ({"a": 1}, None, None)
    assert (two.state, overview.queue_position) == ("Training", 0)
    (health,) = overview.watches[0].health
    assert (health.series, health.drift) == (3, None)
    assert [chunk.content for chunk in chunks] == [b"weights"]


async def test_a_downgrade_keeps_versions_and_their_artifacts(
    database_url: str, database: Database, postgres: Postgres
) -> None:
    async with database.acquire() as connection:
        world = await make_world(connection)
        await add_version(connection, world.model_id, 2, serving=True)
    await database.close()
    status, output = await Command(database_url).run("--to", "0001", "--allow-data-loss")
    assert status == 0, output
    connection = await asyncpg.connect(database_url)
    try:
        states = await connection.fetch("SELECT version, state FROM models ORDER BY version")
        assert [tuple(row) for row in states] == [(1, "Retired"), (2, "Serving")]
        assert await connection.fetchval("SELECT count(*) FROM model_artifacts") == 2
    finally:
        await connection.close()
    assert (await Command(database_url).run())[0] == 0


async def test_going_down_drops_the_partitions_too(database_url: str, postgres: Postgres) -> None:
    await postgres.execute(
        "CREATE TABLE prediction_errors_20260101 PARTITION OF prediction_errors "
        "FOR VALUES FROM ('2026-01-01') TO ('2026-01-02')",
        database=database_url,
    )
    status, _ = await Command(database_url).run("--to", "base", "--allow-data-loss")
    assert (status, await tables_of(database_url)) == (0, {"alembic_version"})


async def test_a_newer_schema_is_left_alone(database_url: str, postgres: Postgres) -> None:
    await postgres.execute(
        "UPDATE alembic_version SET version_num = '9999'", database=database_url
    )
    for options in ((), ("--to", "base", "--allow-data-loss")):
        status, output = await Command(database_url).run(*options)
        assert status == 1
        assert (
            f"has schema 9999 and this release knows none newer than {EXPECTED_REVISION}" in output
        )
    assert await tables_of(database_url) == TABLES


async def test_an_unknown_revision_is_refused(database_url: str) -> None:
    status, output = await Command(database_url).run("--to", "0815")
    assert (status, "there is no revision 0815: known are 0001, 0002, 0003" in output) == (1, True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("UPDATE alembic_version SET version_num = '9999'", "newer than .*: upgrade the image"),
        ("UPDATE alembic_version SET version_num = '0000'", "needs .*: run `metricwatch migrate`"),
        ("DROP TABLE alembic_version", "no schema yet .*: run `metricwatch migrate`"),
    ],
)
async def test_a_database_of_another_release_is_refused(
    database: Database, database_url: str, postgres: Postgres, change: str, message: str
) -> None:
    await postgres.execute(change, database=database_url)
    with pytest.raises(SchemaMismatch, match=message) as caught:
        await database.check()
    assert caught.value.reason == "StoreSchemaMismatch"


async def test_a_missing_table_is_a_schema_mismatch(database: Database) -> None:
    async with database.acquire() as connection:
        await connection.execute("DROP TABLE notifications")
    with pytest.raises(SchemaMismatch, match="run `metricwatch migrate`"):
        async with database.acquire() as connection:
            await connection.execute("DELETE FROM notifications")


async def test_a_refused_database_is_used_once_it_is_migrated(empty_database_url: str) -> None:
    location = DatabaseLocation(url=empty_database_url)
    async with Database(location, application_name="tests") as database:
        with pytest.raises(SchemaMismatch):
            await database.check()
        await Command(empty_database_url).run()
        await database.check()


async def test_a_database_that_is_starting_is_waited_for(
    empty_database_url: str, postgres: Postgres
) -> None:
    postgres.stop()
    process = await Command(empty_database_url).start("--wait", "120")
    line = await first_line_of(process)
    postgres.start()
    assert "waiting up to 120 s for the database: cannot reach PostgreSQL" in line
    status, output = await end_of(process)
    assert (status, "migrated the schema" in output) == (0, True)


async def test_waiting_for_a_database_ends(empty_database_url: str, postgres: Postgres) -> None:
    postgres.stop()
    status, output = await Command(empty_database_url).run("--wait", "0")
    postgres.start()
    assert (status, "cannot reach PostgreSQL" in output) == (1, True)


def test_without_a_database_the_command_says_what_to_set(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv(URL_VARIABLE, raising=False)
    monkeypatch.delenv(URL_FILE_VARIABLE, raising=False)
    assert main(["migrate", "--wait", "600"]) == 1
    assert f"set {URL_FILE_VARIABLE}" in capsys.readouterr().err


async def test_a_url_file_wins_and_a_secret_is_never_shown(
    database_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "url"
    file.write_text(database_url.replace(":secret@", ":hunter2@"), encoding="utf-8")
    command = Command(database_url)
    command.environment = {**command.environment, URL_FILE_VARIABLE: str(file)}
    status, output = await command.run("--wait", "0")
    assert (status, "refuses the credentials" in output, "hunter2" in output) == (1, True, False)
    file.write_text(database_url, encoding="utf-8")
    assert (await command.run("--check"))[0] == 0
