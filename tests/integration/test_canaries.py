"""Secrets show up nowhere but where they belong, also when everything fails; and they rotate.

Each secret is a word that appears nowhere else. After faults and rotations it is looked for in
everything the processes wrote: logs, metrics, every column of every table, every object of the
namespace.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg
import pytest
from tests.integration.detector_fixture import world
from tests.integration.detector_world import (
    DetectorProcess,
    Feed,
    World,
    artifact_of,
    chunk_of,
    eventually,
    settings_of,
)
from tests.integration.metrics_servers import VictoriaMetrics
from tests.integration.mounted_secret import MountedSecret
from tests.integration.operator_fixture import Stage, operator_plane, stage, wait_for
from tests.integration.postgres_fixture import Postgres
from tests.integration.secure_prometheus import FIRST, SECOND, TLS, SecurePrometheus

__all__ = ["operator_plane", "stage", "world"]

DATABASE_SECRETS = ("canary-of-the-database", "canary/@rotated#database", "canary-wrong-database")
SOURCE_SECRETS = ("first password", "second password", "canary-wrong-source")
ROLE = "canary_role"


def written_ways(secret: str) -> set[str]:
    """A secret as it may be written somewhere."""
    plain = {secret, quote(secret, safe=""), json.dumps(secret)[1:-1]}
    pairs = {base64.b64encode(f"{user}:{secret}".encode()).decode() for user in ("anna", ROLE)}
    return plain | pairs | {base64.b64encode(secret.encode()).decode()}


def assert_nowhere(texts: dict[str, str], *more: str) -> None:
    canaries = {way for one in DATABASE_SECRETS + SOURCE_SECRETS for way in written_ways(one)}
    for place, text in texts.items():
        assert text, f"{place} is empty: nothing was looked at"
        for canary in (*canaries, *more):
            assert canary not in text, f"{canary} in {place}"


@pytest.fixture
async def role(postgres: Postgres, database_url: str) -> AsyncIterator[str]:
    """The URL of a role of its own, with a place for its password."""
    await postgres.execute(f"CREATE ROLE {ROLE} LOGIN SUPERUSER PASSWORD '{DATABASE_SECRETS[0]}'")
    yield database_url.replace("tester:secret@", f"{ROLE}:{{}}@")
    await postgres.execute(f"DROP OWNED BY {ROLE}", database=database_url)
    await postgres.execute(f"DROP ROLE {ROLE}")


def url_of(role: str, number: int) -> bytes:
    return role.format(quote(DATABASE_SECRETS[number], safe="")).encode()


async def change_password(postgres: Postgres) -> None:
    """Rotates the password of the database, and cuts the connections made with the old one."""
    await postgres.execute(f"ALTER ROLE {ROLE} PASSWORD '{DATABASE_SECRETS[1]}'")
    await postgres.execute(
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{ROLE}'"
    )


async def everything_stored(url: str) -> str:
    """All rows of all tables as text."""
    connection = await asyncpg.connect(url)
    try:
        tables = await connection.fetch(
            "SELECT format('%I.%I', schemaname, tablename) AS name FROM pg_tables "
            "WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        )
        parts = [
            str(dict(row))
            for table in tables
            for row in await connection.fetch(f"SELECT t::text FROM {table['name']} t")
        ]
    finally:
        await connection.close()
    return "\n".join(parts)


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[SecurePrometheus]:
    server = SecurePrometheus(tmp_path / "server", f"{TLS}basic_auth_users: {{anna: {FIRST}}}\n")
    server.start()
    yield server
    server.stop()


async def test_a_detector_goes_on_with_rotated_secrets_and_shows_none(
    world: World,
    victoriametrics: VictoriaMetrics,
    secure: SecurePrometheus,
    postgres: Postgres,
    role: str,
    database_url: str,
    tmp_path: Path,
) -> None:
    ours = secure.authority.issue("detector")
    fixed = {
        "ca.crt": secure.authority.certificate,
        "tls.crt": ours.certificate,
        "tls.key": ours.key,
        "username": b"anna",
    }

    def with_password(number: int) -> dict[str, bytes]:
        return {**fixed, "password": SOURCE_SECRETS[number].encode()}

    source = MountedSecret(tmp_path / "source", with_password(0))
    database = MountedSecret(tmp_path / "database", {"url": url_of(role, 0)})
    feed = Feed(victoriametrics, "canaries", ["a"])
    await world.set_watch(
        settings_of(
            feed,
            queries=[{"expr": 'label_replace(vector(time() % 7), "pod", "a", "", "")'}],
            source={
                "url": secure.url,
                "authDirectory": str(source.directory),
                "authSecret": "vm-credentials",
            },
        )
    )
    await world.add_version(1, [artifact_of(chunk_of(feed, ["a"]))])
    detector = world.start(
        METRICWATCH_DATABASE_URL="",
        METRICWATCH_DATABASE_URL_FILE=str(database.directory / "url"),
        METRICWATCH_LOG_LEVEL="debug",
    )
    await until(world, "Scoring")

    source.exchange(with_password(2))
    await until(world, "SourceUnauthorized")
    secure.secure(f"{TLS}basic_auth_users: {{anna: {SECOND}}}\n")
    source.exchange(with_password(1))
    await until(world, "Scoring")
    secure.stop()
    await until(world, "SourceUnavailable")
    secure.start()
    await until(world, "Scoring")

    database.exchange({"url": url_of(role, 2)})
    await change_password(postgres)
    await eventually(lambda: said(detector, "refuses the credentials"), what="refused")
    database.exchange({"url": url_of(role, 1)})
    newest = await newest_score(world)
    await eventually(lambda: newer_score(world, newest), what="scores with the new password")

    assert detector.process.poll() is None
    shown = {
        "log": detector.log.read_text(),
        "metrics": await detector.metrics(),
        "tables": await everything_stored(database_url),
    }
    assert_nowhere(shown, ours.key.decode().splitlines()[1])


async def until(world: World, state: str) -> None:
    async def is_so() -> bool:
        return {row["state"] for row in await world.fetch("SELECT state FROM watch_health")} == {
            state
        }

    await eventually(is_so, what=state)


async def said(detector: DetectorProcess, words: str) -> bool:
    return words in detector.log.read_text()


async def newest_score(world: World) -> Any:
    ((newest,),) = await world.fetch("SELECT max(ts) FROM prediction_errors")
    return newest


async def newer_score(world: World, before: Any) -> bool:
    found: bool = (await newest_score(world)) > before
    return found


async def test_the_operator_shows_no_secret_and_hands_a_rotated_one_on(
    stage: Stage, postgres: Postgres, role: str, database_url: str, tmp_path: Path
) -> None:
    mounted = MountedSecret(tmp_path / "database", {"url": url_of(role, 2)})
    operator = stage.operator(
        METRICWATCH_DATABASE_URL="",
        METRICWATCH_DATABASE_URL_FILE=str(mounted.directory / "url"),
        METRICWATCH_LOG_LEVEL="debug",
    ).start()
    stage.add_model(source={"url": "http://vm.example", "authRef": {"name": "vm-credentials"}})
    stage.add_watch()
    stage.namespace.wait_for_condition("AnomalyModel", "checkout", "Ready", "False")
    wait_for(lambda: "refuses the credentials" in operator.log.read_text(), stage.describe)
    mounted.exchange({"url": url_of(role, 0)})
    stage.wait_for_serving(1)
    mounted.exchange({"url": url_of(role, 1)})
    await change_password(postgres)

    def handed_on() -> bool:
        found = stage.namespace.get("Secret", "checkout-database")["data"]["url"]
        return base64.b64decode(found) == url_of(role, 1)

    wait_for(handed_on, stage.describe)
    kinds = ("AnomalyModel", "MetricWatch", "Job", "Deployment", "Pod", "Event")
    shown = {kind: json.dumps(stage.namespace.all(kind)) for kind in kinds}
    shown["log"] = operator.log.read_text()
    shown["metrics"] = operator.metrics()
    shown["tables"] = await everything_stored(database_url)
    assert_nowhere(shown)


@pytest.mark.parametrize("number", [0, 2])
async def test_a_trainer_that_cannot_begin_shows_no_secret(role: str, number: int) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "METRICWATCH_DATABASE_URL": url_of(role, number).decode(),
        "METRICWATCH_MODEL_UID": "no-such-model",
        "METRICWATCH_VERSION": "1",
        "METRICWATCH_LOG_LEVEL": "debug",
    }
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "metricwatch_trainer"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode != 0
    assert_nowhere({"output": done.stderr + done.stdout})
