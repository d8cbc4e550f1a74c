"""Several trainer processes that share a run, against real PostgreSQL."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Any

import pytest
from tests.integration.test_trainer_run import Ended, Trainer, make_request

from metricwatch.resources.anomalymodel import VersionState
from metricwatch.store.pool import Database
from metricwatch.verdict import UNFINISHED, ExitCode, parse_verdict


@pytest.fixture
async def trainer(database: Database, database_url: str, tmp_path: Path) -> Trainer:
    return Trainer(database, database_url, tmp_path)


async def start(trainer: Trainer, shard: int, shards: int) -> asyncio.subprocess.Process:
    """Starts one pod of a run, as an Indexed Job would."""
    return await trainer.start(
        JOB_COMPLETION_INDEX=str(shard),
        METRICWATCH_SHARDS=str(shards),
        METRICWATCH_TERMINATION_LOG=str(trainer.folder / f"termination-{shard}"),
    )


async def wait(trainer: Trainer, shard: int, process: asyncio.subprocess.Process) -> Ended:
    _, errors = await process.communicate()
    verdict = parse_verdict((trainer.folder / f"termination-{shard}").read_text())
    assert verdict is not None, errors.decode()
    assert process.returncode is not None
    return Ended(code=process.returncode, verdict=verdict, lines=[], output=errors.decode())


async def train(trainer: Trainer, shard: int, shards: int) -> Ended:
    return await wait(trainer, shard, await start(trainer, shard, shards))


async def stored_shards(trainer: Trainer) -> list[int]:
    async with trainer.database.acquire() as connection:
        rows = await connection.fetch("SELECT shard FROM training_shards ORDER BY shard")
    return [row["shard"] for row in rows]


async def test_two_pods_at_once_one_of_them_started_again_make_one_version(
    trainer: Trainer,
) -> None:
    await trainer.add(make_request("simulation(series=40)", "simulation(series=6, seed=3)"))
    killed, other = await asyncio.gather(start(trainer, 0, 2), start(trainer, 1, 2))
    killed.send_signal(signal.SIGKILL)
    await killed.wait()
    first = await wait(trainer, 1, other)
    assert (first.code, first.verdict.reason) == (ExitCode.TRAINED, "SliceTrained"), first.output
    assert first.verdict.message.startswith("shard 1 of 2 learned ")
    assert await stored_shards(trainer) == [1]
    assert (await trainer.version()).trained_at is None
    # A pod that was evicted after it had stored has nothing left to do.
    again = await train(trainer, 1, 2)
    assert (again.code, again.verdict.reason) == (ExitCode.TRAINED, "AlreadyTrained")
    last = await train(trainer, 0, 2)
    assert (last.code, last.verdict.reason) == (ExitCode.TRAINED, "Trained"), last.output
    assert last.verdict.message == "learned 46 series (seasonal)"
    version = await trainer.version()
    assert version.state is VersionState.TRAINING
    assert version.trained_at is not None
    report = version.report
    assert report is not None
    assert (report["trained"], report["shards"]) == (46, 2)
    assert [watch["found"] for watch in report["watches"]] == [40, 6]
    assert report["peakBytes"] > 10_000_000
    known = {(row["watch"], *sorted(row["labels"].items())) for row in report["series"]}
    assert len(known) == len(report["series"]) == 46
    chunks = await trainer.chunks()
    assert sum(chunk.series for chunk in chunks) == 46
    assert await stored_shards(trainer) == []


async def test_a_slice_without_series_is_no_failure(trainer: Trainer) -> None:
    await trainer.add(make_request("simulation(series=1)"))
    ended = [await train(trainer, shard, 3) for shard in range(3)]
    assert [one.code for one in ended] == [ExitCode.TRAINED] * 3, ended[-1].output
    assert sorted(one.verdict.series for one in ended[:2]) in ([0, 0], [0, 1])
    assert ended[-1].verdict.message == "learned 1 series (seasonal)"


async def test_too_little_history_in_every_slice_is_told_by_the_last(trainer: Trainer) -> None:
    await trainer.add(make_request("simulation(series=4)", training={"minSamples": 100_000}))
    first, last = [await train(trainer, shard, 2) for shard in range(2)]
    assert (first.code, first.verdict.series) == (ExitCode.TRAINED, 0)
    assert (last.code, last.verdict.reason) == (ExitCode.DATA, "TooLittleHistory")
    assert "training.minSamples asks for 100000" in last.verdict.message
    assert (await trainer.version()).trained_at is None


async def test_a_system_lies_whole_in_one_slice(trainer: Trainer) -> None:
    queries = [f"simulation(series=5, seed={seed})" for seed in range(3)]
    request = make_request(*queries, algorithm={"type": "auto"}) | {"scope": "multivariate"}
    await trainer.add(request)
    ended = [await train(trainer, shard, 2) for shard in range(2)]
    assert [one.code for one in ended] == [ExitCode.TRAINED] * 2, ended[1].output
    report = (await trainer.version()).report
    assert report is not None
    assert report["trained"] == 15
    async with trainer.database.acquire() as connection:
        rows = await connection.fetch(
            "SELECT watch_uid, count(DISTINCT shard) AS shards FROM model_artifacts GROUP BY 1"
        )
    assert [row["shards"] for row in rows] == [1, 1, 1]


async def _hashes(trainer: Trainer, shards: int) -> Any:
    await asyncio.gather(*(train(trainer, shard, shards) for shard in range(shards)))
    digest = (await trainer.version()).data_hash
    async with trainer.database.acquire() as connection:
        await connection.execute("UPDATE models SET trained_at = NULL")
    return digest


async def test_all_pods_learn_from_the_same_window_whenever_they_start(trainer: Trainer) -> None:
    await trainer.add(make_request("simulation(series=6)", interval=10))
    first = await _hashes(trainer, 2)
    await asyncio.sleep(11)
    assert first is not None
    assert await _hashes(trainer, 2) == first


def make_tuned_request(**tuning: Any) -> dict[str, Any]:
    request = make_request(
        "simulation(series=4)",
        algorithm={"type": "isolationForest"},
        training={"window": "2d", "parallelism": 2},
    )
    return request | {"tuning": {"enabled": True, "trials": 6, "parallelism": 2} | tuning}


async def start_search(trainer: Trainer, number: int) -> asyncio.subprocess.Process:
    return await trainer.start(
        JOB_COMPLETION_INDEX=str(number),
        METRICWATCH_SHARDS="2",
        METRICWATCH_PHASE="search",
        METRICWATCH_TERMINATION_LOG=str(trainer.folder / f"termination-{number}"),
    )


async def test_pods_search_together_one_is_killed_and_all_slices_learn_what_was_found(
    trainer: Trainer,
) -> None:
    await trainer.add(make_tuned_request())
    # Begun together, the other one may have done all trials but the first of this one.
    killed = await start_search(trainer, 0)
    assert killed.stderr is not None
    async for line in killed.stderr:
        if b'"tuning"' in line:
            break
    other = await start_search(trainer, 1)
    killed.send_signal(signal.SIGKILL)
    await killed.wait()
    left = parse_verdict((trainer.folder / "termination-0").read_text())
    assert left is not None
    assert left.reason == UNFINISHED
    assert left.message.startswith("at 4 series of watch requests-1, from simulated_requests{")
    again = await start_search(trainer, 0)
    ended = [await wait(trainer, 0, again), await wait(trainer, 1, other)]
    assert [one.code for one in ended] == [ExitCode.TRAINED] * 2, ended[0].output
    assert ended[0].verdict.reason == "Searched"
    assert (await trainer.version()).trained_at is None
    for shard in range(2):
        assert (await train(trainer, shard, 2)).code == ExitCode.TRAINED
    report = (await trainer.version()).report
    assert report is not None
    tuning = report["watches"][0]["tuning"]
    assert 6 <= tuning["complete"] + tuning["pruned"] <= 7
    assert tuning["found"]
    # The trials are of no more use.
    async with trainer.database.acquire() as connection:
        assert await connection.fetchval("SELECT count(*) FROM metricwatch_optuna.studies") == 0


async def test_the_next_version_begins_with_what_was_best(trainer: Trainer) -> None:
    request = make_tuned_request(parallelism=1, trials=3)
    request["algorithm"] = {"type": "autoregressive"}
    await trainer.add(request)
    first = await trainer.wait(await trainer.start())
    assert first.code == ExitCode.TRAINED, first.output
    report = (await trainer.version()).report
    assert report is not None
    await trainer.add(request, version=2)
    process = await trainer.start(METRICWATCH_VERSION="2")
    assert process.stderr is not None
    async for line in process.stderr:
        if b'"tuning"' in line:
            break
    process.kill()
    await process.wait()
    async with trainer.database.acquire() as connection:
        rows = await connection.fetch(
            "SELECT param_name, param_value FROM metricwatch_optuna.trial_params "
            "JOIN metricwatch_optuna.trials USING (trial_id) WHERE number = 0"
        )
    tried = {row["param_name"]: row["param_value"] for row in rows}
    found = report["watches"][0]["tuning"]["found"]
    assert tried == pytest.approx(found)
