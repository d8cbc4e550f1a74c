"""A version that learns only what changed, against real PostgreSQL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.integration.test_trainer_run import Ended, Trainer, make_request

from metricwatch.artifact import unpack
from metricwatch.assignments import TrainingRequest
from metricwatch.gate import GateMeasurement
from metricwatch.resources.anomalymodel import VersionState
from metricwatch.store.artifacts import read_artifacts
from metricwatch.store.models import create_version, read_version, set_state
from metricwatch.store.pool import Database
from metricwatch.store.rows import Artifact, Version
from metricwatch.store.serving import set_serving
from metricwatch.verdict import ExitCode

OLD, NEW = "simulation(series=6)", "simulation(series=3, seed=2)"


@pytest.fixture
async def trainer(database: Database, database_url: str, tmp_path: Path) -> Trainer:
    return Trainer(database, database_url, tmp_path)


async def serve_first(trainer: Trainer, *, shards: int = 1) -> None:
    """Trains version 1 with one watch and lets it serve."""
    await trainer.add(make_request(OLD))
    for shard in range(shards):
        assert (await train(trainer, version=1, shard=shard, shards=shards)).code == 0
    async with trainer.database.acquire() as connection:
        await set_state(
            connection, model_id=trainer.model_id, version=1, state=VersionState.CANDIDATE
        )
        await set_serving(connection, model_id=trainer.model_id, version=1)


async def add_second(trainer: Trainer, *, reason: str = "WatchesAdded", **changes: Any) -> None:
    request = make_request(OLD, NEW, **changes)
    async with trainer.database.acquire() as connection:
        await create_version(
            connection,
            model_id=trainer.model_id,
            version=2,
            request=request,
            request_hash=TrainingRequest.from_row(request).fingerprint(),
            reason=reason,
        )


async def train(trainer: Trainer, *, version: int, shard: int = 0, shards: int = 1) -> Ended:
    process = await trainer.start(
        METRICWATCH_VERSION=str(version),
        METRICWATCH_SHARD=str(shard),
        METRICWATCH_SHARDS=str(shards),
    )
    return await trainer.wait(process)


async def read(trainer: Trainer, number: int) -> tuple[Version, list[Artifact]]:
    async with trainer.database.acquire() as connection:
        version = await read_version(connection, model_uid="model-1", version=number)
        chunks = [one async for one in read_artifacts(connection, version_id=version.id)]
    return version, chunks


def of_watch(chunks: list[Artifact], uid: str) -> list[tuple[int, bytes, bytes]]:
    return [(one.shard, one.sha256, one.content) for one in chunks if one.watch_uid == uid]


async def test_only_the_watch_that_came_is_read_and_learned(trainer: Trainer) -> None:
    await serve_first(trainer)
    await add_second(trainer)
    ended = await train(trainer, version=2)
    assert ended.code == ExitCode.TRAINED, ended.output
    assert ended.verdict.message == "learned 9 series (seasonal), 6 of them taken over"
    (first, before), (second, after) = await read(trainer, 1), await read(trainer, 2)
    assert of_watch(after, "watch-1") == of_watch(before, "watch-1")
    assert [one.chunk for one in after] == list(range(len(after)))
    assert sum(one.series for one in after if one.watch_uid == "watch-2") == 3
    assert "requests-1" not in ended.output
    assert first.report is not None
    assert second.report is not None
    (told,) = first.report["watches"]
    taken, learned = second.report["watches"]
    assert taken == told | {"from": 1}
    assert (learned["uid"], learned["found"], "from" in learned) == ("watch-2", 3, False)
    assert second.report["trained"] == 9
    rows = second.report["series"]
    assert [row for row in rows if "from" in row] == [
        row | {"from": 1} for row in first.report["series"]
    ]
    gate = GateMeasurement.from_report(second.report)
    assert gate is not None
    assert [one.uid for one in gate.watches] == ["watch-2"]
    # What it says of its window and its data is about what it learned.
    assert (second.window_start, second.window_end) == (learned["start"], learned["end"])
    assert second.data_hash not in {None, first.data_hash}


async def test_a_gate_with_nothing_else_to_measure_says_so(trainer: Trainer) -> None:
    await serve_first(trainer)
    await add_second(trainer)
    async with trainer.database.acquire() as connection:
        await connection.execute(
            "UPDATE models SET request = jsonb_set(request, "
            "'{watches,1,queries,0,expr}', '\"simulation(series=0)\"') WHERE version = 2"
        )
    ended = await train(trainer, version=2)
    version, _ = await read(trainer, 2)
    assert ended.code == ExitCode.TRAINED, ended.output
    gate = GateMeasurement.from_report(version.report)
    assert gate is not None
    assert gate.watches == ()
    assert gate.inconclusive == ("watch requests-1: taken over from version 1, and measured then")


async def test_a_damaged_chunk_is_learned_anew(trainer: Trainer) -> None:
    await serve_first(trainer)
    await add_second(trainer)
    async with trainer.database.acquire() as connection:
        await connection.execute("UPDATE model_artifacts SET content = content || '\\x00'")
    ended = await train(trainer, version=2)
    assert ended.code == ExitCode.TRAINED, ended.output
    assert ended.verdict.message == "learned 9 series (seasonal)"
    (line,) = (line for line in ended.lines if line["message"] == "learned anew")
    assert line["watch"] == "requests-1"
    assert "checksum" in line["why"]
    version, chunks = await read(trainer, 2)
    assert version.report is not None
    assert not any("from" in one for one in version.report["watches"])
    assert sum(unpack(one.content, checksum=one.sha256.hex()).series for one in chunks) == 9


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param({"reason": "Scheduled"}, id="by schedule"),
        pytest.param({"reason": "SpecChanged", "training": {"window": "3d"}}, id="another window"),
    ],
)
async def test_a_run_that_is_not_for_its_watches_learns_everything(
    trainer: Trainer, asked: dict[str, Any]
) -> None:
    await serve_first(trainer)
    await add_second(trainer, **asked)
    ended = await train(trainer, version=2)
    assert ended.verdict.message == "learned 9 series (seasonal)", ended.output


async def test_each_pod_takes_over_its_own_slice(trainer: Trainer) -> None:
    await serve_first(trainer, shards=2)
    await add_second(trainer)
    for shard in range(2):
        ended = await train(trainer, version=2, shard=shard, shards=2)
        assert ended.code == ExitCode.TRAINED, ended.output
    assert ended.verdict.message == "learned 9 series (seasonal), 6 of them taken over"
    (first, before), (second, after) = await read(trainer, 1), await read(trainer, 2)
    assert of_watch(after, "watch-1") == of_watch(before, "watch-1")
    assert first.report is not None
    assert second.report is not None
    assert second.report["watches"][0] == first.report["watches"][0] | {"from": 1}
