"""`metricwatch versions` over a database with real parameters."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.store_rows import add_model, add_watch
from tests.unit.version_builders import (
    REQUEST,
    START,
    make_content,
    make_gate,
    make_report,
    write_archive,
)

from metricwatch.artifact import unpack
from metricwatch.assignments import TrainingRequest
from metricwatch.resources import VersionState
from metricwatch.store.artifacts import read_artifacts
from metricwatch.store.connection import Connection
from metricwatch.store.importing import import_version
from metricwatch.store.models import create_version, read_version, record_training, set_state
from metricwatch.store.overview import read_model_overview
from metricwatch.store.pool import Database
from metricwatch.store.rows import Artifact, TakeOver, TrainingResult, Version
from metricwatch.store.serving import set_serving
from metricwatch_cli.main import main

Printed = pytest.CaptureFixture[str]


class Command:
    """`metricwatch versions`, beside the event loop of the test."""

    def __init__(self, url: str, printed: Printed) -> None:
        self._url, self._printed = url, printed

    async def run(self, name: str, *arguments: str | Path | int) -> tuple[int, str]:
        given = ["versions", name, *map(str, arguments), "--database-url", self._url]
        status = await asyncio.to_thread(main, given)
        said = self._printed.readouterr()
        return status, said.out + said.err

    async def json(self, name: str, *arguments: str | Path | int) -> Any:
        status, said = await self.run(name, *arguments, "--output", "json")
        assert status == 0, said
        return json.loads(said)


@pytest.fixture
def command(database_url: str, capsys: Printed) -> Command:
    return Command(database_url, capsys)


@pytest.fixture
async def connection(database: Database) -> AsyncIterator[Connection]:
    async with database.acquire() as acquired:
        yield acquired


def make_chunks(count: int = 2, *, watch_uid: str = "watch-1") -> list[Artifact]:
    contents = [make_content(watch_uid=watch_uid, seed=number) for number in range(count)]
    return [
        Artifact(0, number, "zscore", watch_uid, 2, hashlib.sha256(one).digest(), one)
        for number, one in enumerate(contents)
    ]


async def add_trained(connection: Connection, model_id: int, version: int, *pods: str) -> None:
    request = TrainingRequest.from_row(REQUEST)
    await create_version(
        connection,
        model_id=model_id,
        version=version,
        request=request.to_row(),
        request_hash=request.fingerprint(),
        attempt=version,
    )
    row_id = await connection.fetchval(
        "SELECT id FROM models WHERE model_id = $1 AND version = $2", model_id, version
    )
    result = TrainingResult(
        START - 86_400, START, "abc", 7, "0.1.0", make_report(*pods, gate=make_gate())
    )
    await record_training(connection, version_id=row_id, result=result, artifacts=make_chunks())
    key = {"model_id": model_id, "version": version}
    await set_state(connection, **key, state=VersionState.CANDIDATE)
    await set_serving(connection, **key)


@pytest.fixture
async def model_id(connection: Connection) -> int:
    """A model with a watch and two versions, of which the second serves."""
    made = await add_model(connection)
    await add_watch(connection, made)
    await add_trained(connection, made, 1, "pod-0", "pod-1")
    await add_trained(connection, made, 2, "pod-1", "pod-2")
    return made


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def chunks_of(connection: Connection, version: Version) -> list[Artifact]:
    return [one async for one in read_artifacts(connection, version_id=version.id)]


async def test_models_and_versions_are_listed(command: Command, model_id: int) -> None:
    status, said = await command.run("list")
    assert (status, said.splitlines()[1].split()) == (0, ["shop", "checkout", "2", "2"])
    status, said = await command.run("list", "checkout")
    lines = said.splitlines()
    assert lines[1].split()[:3] == ["*", "2", "Serving"]
    assert lines[2].split()[:3] == ["1", "Retired", "Superseded"]
    listed = await command.json("list", "checkout", "--namespace", "shop")
    assert [one["version"] for one in listed["versions"]] == [2, 1]


async def test_a_version_is_shown_and_its_gate_drawn(
    command: Command, model_id: int, tmp_path: Path
) -> None:
    status, said = await command.run("show", "checkout", "--plot", tmp_path / "gate.png")
    assert status == 0, said
    assert "2 (serves)" in said
    assert "in 2 chunks" in said
    assert (tmp_path / "gate.png").read_bytes().startswith(b"\x89PNG")
    shown = await command.json("show", "checkout", 1)
    assert (shown["version"], shown["stored"]["chunks"]) == (1, 2)
    assert shown["data"]["hash"] == "abc"


async def test_two_versions_are_compared(command: Command, model_id: int) -> None:
    status, said = await command.run("diff", "checkout", 1, 2)
    assert status == 0
    assert '+ latency: up{pod="pod-2"}' in said
    assert '- latency: up{pod="pod-0"}' in said
    found = await command.json("diff", "checkout", 1, 2)
    assert found["fields"]["state"] == {"before": "Retired", "after": "Serving"}


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("show", "cart"), 2, "there is no model cart; there are: shop/checkout"),
        (("show", "checkout", 9), 2, "has no version 9; there are: 2, 1"),
        (("list", "checkout", "-n", "x"), 2, "no model checkout in namespace x"),
        (("diff", "checkout", 1, 5), 2, "has no version 5"),
        (("export", "checkout", 3, "nowhere.tar"), 2, "has no version 3"),
        (("import", "checkout", "nowhere.tar"), 2, "nowhere.tar: does not exist"),
    ],
)
async def test_what_is_not_there_is_answered_with_what_is(
    command: Command, model_id: int, arguments: tuple[Any, ...], status: int, message: str
) -> None:
    found, said = await command.run(*arguments)
    assert (found, message in said) == (status, True), said


@pytest.mark.parametrize("name", ["version", "version.tar"])
async def test_a_version_comes_back_as_it_was_exported(
    command: Command, connection: Connection, model_id: int, tmp_path: Path, name: str
) -> None:
    out = tmp_path / name
    status, said = await command.run("export", "checkout", 2, out)
    assert status == 0, said
    assert "2 chunks" in said
    assert await command.json("import", "checkout", out) == {"version": 3, "unknownWatches": []}
    old, new = [
        await read_version(connection, model_uid="model-1", version=number) for number in (2, 3)
    ]
    assert (new.state, new.reason) == (VersionState.RETIRED, "Imported")
    assert new.message == "was version 2 of shop/checkout"
    for field in (
        *("request", "request_hash", "report", "data_hash", "seed", "code_version"),
        *("window_start", "window_end", "trained_at"),
    ):
        assert getattr(new, field) == getattr(old, field), field
    assert await chunks_of(connection, new) == await chunks_of(connection, old)
    assert (await command.json("diff", "checkout", 2, 3))["series"] == {"added": [], "removed": []}


async def test_an_imported_version_serves_only_when_it_is_pinned(
    command: Command, connection: Connection, model_id: int, tmp_path: Path
) -> None:
    status, said = await command.run("import", "checkout", write_archive(tmp_path / "version"))
    assert status == 0, said
    assert '{"spec":{"version":3}}' in said
    assert await connection.fetchval("SELECT serving_version FROM models_info") == 2
    await set_serving(connection, model_id=model_id, version=3, how=TakeOver.PINNED)
    new = await read_version(connection, model_uid="model-1", version=3)
    assert (new.state, new.replaced) == (VersionState.SERVING, None)


async def test_in_another_cluster_watches_are_found_by_their_names(
    command: Command, connection: Connection, database: Database, tmp_path: Path
) -> None:
    # Its watch is named latency there and here, and has another uid here.
    made = await add_model(connection)
    await add_watch(connection, made, "other-uid")
    await connection.execute("UPDATE watches SET name = 'latency'")
    status, said = await command.run("import", "checkout", write_archive(tmp_path / "version"))
    assert status == 0, said
    version = await read_version(connection, model_uid="model-1", version=1)
    assert version.request["watches"][0]["uid"] == "other-uid"
    chunks = await chunks_of(connection, version)
    assert [one.watch_uid for one in chunks] == ["other-uid"] * 2
    for one in chunks:
        assert unpack(one.content, checksum=one.sha256.hex()).watch_uid == "other-uid"
    overview = await read_model_overview(database, "model-1")
    assert overview is not None
    assert overview.queue_position is None


async def test_a_version_for_none_of_the_watches_here_is_refused(
    command: Command, connection: Connection, tmp_path: Path
) -> None:
    made = await add_model(connection)
    await add_watch(connection, made, "other-uid")
    status, said = await command.run("import", "checkout", write_archive(tmp_path / "version"))
    assert status == 2
    assert "none of its watches (latency) refers to model shop/checkout" in said


async def test_an_archive_that_is_damaged_in_its_last_chunk_leaves_nothing(
    command: Command, connection: Connection, model_id: int, tmp_path: Path
) -> None:
    folder = write_archive(tmp_path / "version", chunks=3)
    content = bytearray((folder / "000002.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "000002.safetensors").write_bytes(content)
    status, said = await command.run("import", "checkout", folder)
    assert status == 2
    assert "000002.safetensors: artifact does not match its checksum" in said
    assert await connection.fetchval("SELECT max(version) FROM models") == 2
    assert await connection.fetchval("SELECT count(*) FROM model_artifacts") == 4


async def test_a_version_that_is_damaged_in_the_database_is_not_exported(
    command: Command, connection: Connection, model_id: int, tmp_path: Path
) -> None:
    await connection.execute("UPDATE model_artifacts SET content = 'x' WHERE chunk = 1")
    status, said = await command.run("export", "checkout", 2, tmp_path / "version")
    assert status == 2
    assert "version 2, shard 0 chunk 1: artifact does not match its checksum" in said
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("name", ["version", "version.tar"])
async def test_nothing_that_was_there_before_is_lost(
    command: Command, model_id: int, tmp_path: Path, name: str
) -> None:
    out = tmp_path / name
    if out.suffix:
        out.write_text("mine")
    else:
        out.mkdir()
        (out / "mine").write_text("mine")
    status, said = await command.run("export", "checkout", 2, out)
    assert (status, "exists and" in said) == (2, True), said


async def test_an_export_replaces_an_earlier_one(
    command: Command, model_id: int, tmp_path: Path
) -> None:
    for name in ("version", "version.tar"):
        for number in (1, 2):
            status, said = await command.run("export", "checkout", number, tmp_path / name)
            assert status == 0, said
    assert names_in(tmp_path) == ["version", "version.tar"]
    manifest = json.loads((tmp_path / "version" / "model.json").read_text())
    assert manifest["model"]["version"] == 2
    assert manifest["description"]["metrics"][0]["queries"] == ["up"]


async def test_a_version_in_training_has_nothing_to_export(
    command: Command, connection: Connection, model_id: int, tmp_path: Path
) -> None:
    await create_version(
        connection, model_id=model_id, version=3, request=REQUEST, request_hash="x"
    )
    status, said = await command.run("export", "checkout", 3, tmp_path / "version")
    assert (status, "version 3 is Training: it was not trained" in said) == (2, True)


async def test_two_imports_at_once_get_numbers_of_their_own(
    database: Database, model_id: int
) -> None:
    result = TrainingResult(START, START, "abc", 7, "0.1.0", make_report("a"))

    async def add() -> int:
        async with database.acquire() as connection:
            return await import_version(
                connection,
                model_id=model_id,
                request=REQUEST,
                request_hash="x",
                result=result,
                trained_at=START,
                artifacts=make_chunks(1),
                message="",
            )

    assert sorted(await asyncio.gather(*(add() for _ in range(3)))) == [3, 4, 5]
