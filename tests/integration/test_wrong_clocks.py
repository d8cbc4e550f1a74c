"""Pods whose clock is minutes or days off: ticks follow the source, rows follow the database."""

import asyncio
import os
import sys
import time
from pathlib import Path

import pytest
from tests.integration.detector_fixture import world
from tests.integration.detector_questions import catches_up, single_anomaly, state_of, ticks_of
from tests.integration.detector_world import (
    MODEL,
    Feed,
    World,
    artifact_of,
    chunk_of,
    eventually,
    feeding,
    settings_of,
)
from tests.integration.metrics_servers import MetricsServer, Prometheus, VictoriaMetrics
from tests.integration.wrong_clock import WrongClock

from metricwatch.assignments import TrainingRequest
from metricwatch.series import Grid
from metricwatch.sources import open_source
from metricwatch.sources.config import SourceConfig
from metricwatch.store.models import create_version, read_version, upsert_model
from metricwatch.store.partitions import list_partitions

__all__ = ["world"]

DAY = 86_400


async def partitions_of(world: World) -> tuple[str, ...]:
    async with world.database.acquire() as connection:
        return await list_partitions(connection)


async def is_remarked(world: World, words: str) -> None:
    async def remarked() -> bool:
        state, message = await state_of(world)
        return state == "Scoring" and (words in message if words else not message)

    await eventually(remarked, what=f"the health saying {words!r}")


async def test_a_detector_whose_clock_is_wrong_scores_the_ticks_of_its_source(
    world: World, victoriametrics: VictoriaMetrics, tmp_path: Path
) -> None:
    clock = WrongClock(tmp_path / "clock")
    async with feeding(Feed(victoriametrics, "wrong_clock", ["a"])) as feed:
        await world.set_watch(settings_of(feed))
        await world.add_version(1, [artifact_of(chunk_of(feed, feed.pods))])
        first = world.start()
        await eventually(first.is_ready, what="ready")
        # Where nothing is decided yet, the next one begins with the present.
        await catches_up(world, feed)
        before = await partitions_of(world)
        first.kill()

        # So far ahead that all scores there are would be too old to keep, by this clock.
        clock.set(40 * DAY)
        second = world.start(version=1, **clock.variables)
        await eventually(second.is_ready, what="ready by another clock")
        await is_remarked(world, "s ahead of the source's, which is followed")
        raised_at = int(time.time())
        feed.raised.add("a")
        await eventually(world.anomalies, what="an anomaly")
        anomaly = await single_anomaly(world, feed)
        assert raised_at - 1 <= anomaly[1] <= time.time()
        await catches_up(world, feed)
        assert await partitions_of(world) == before

        for seconds, words in ((-120, "s behind the source's"), (0, ""), (200, "s ahead of")):
            clock.set(seconds)
            await is_remarked(world, words)
            await catches_up(world, feed)
            assert await single_anomaly(world, feed) == anomaly
        assert max(await ticks_of(world, 1, "a")) <= time.time()
        assert "the clocks differ" in second.log.read_text()
        assert "a tick failed" not in second.log.read_text()


async def test_a_trainer_whose_clock_is_wrong_learns_up_to_now(
    world: World, tmp_path: Path
) -> None:
    clock = WrongClock(tmp_path / "clock")
    clock.set(9 * DAY)
    request = {
        "algorithm": {"type": "zscore"},
        "training": {"window": "1d", "minSamples": 100},
        "watches": [
            {
                "uid": "watch-1",
                "namespace": "shop",
                "name": "requests",
                "queries": [{"name": "", "expr": "simulation(series=2)"}],
                "source": {"type": "simulation"},
                "intervalSeconds": 300,
                "maxSeries": 10,
            }
        ],
    }
    async with world.database.acquire() as connection:
        model_id = await upsert_model(
            connection, uid=MODEL, namespace="shop", name="checkout", generation=1
        )
        await create_version(
            connection,
            model_id=model_id,
            version=1,
            request=request,
            request_hash=TrainingRequest.from_row(request).fingerprint(),
        )
    environment = {
        **os.environ,
        "METRICWATCH_DATABASE_URL": world.url,
        "METRICWATCH_MODEL_UID": MODEL,
        "METRICWATCH_VERSION": "1",
        "METRICWATCH_TERMINATION_LOG": str(tmp_path / "termination-log"),
        **clock.variables,
    }
    trainer = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "metricwatch_trainer", env=environment
    )
    assert await asyncio.wait_for(trainer.wait(), 120) == 0
    async with world.database.acquire() as connection:
        version = await read_version(connection, model_uid=MODEL, version=1)
    assert version.trained_at is not None
    assert version.window_end is not None
    assert time.time() - 600 < version.window_end <= time.time()


@pytest.mark.parametrize("kind", ["victoriametrics", "prometheus"])
async def test_the_clock_of_a_server_is_noticed_by_its_answers(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server: MetricsServer
    if kind == "victoriametrics":
        server = VictoriaMetrics(tmp_path / "server")
    else:
        server = Prometheus(tmp_path / "server")
    server.start()
    source = open_source(SourceConfig.model_validate({"type": kind, "url": server.url}))
    try:
        now = int(time.time())
        await source.query("vector(1)", at=now, step=1)
        assert source.ahead == 0.0
        # Ours is what can be set from here; both kinds of server are written in Go and ask nobody.
        monkeypatch.setattr(time, "time", lambda true=time.time: true() - 90)
        await source.query_range("vector(1)", Grid(now - 120, 60, 2))
        assert 88.0 <= source.ahead <= 90.0
        monkeypatch.undo()
        await source.compare_clocks()
        assert source.ahead == 0.0
    finally:
        await source.close()
        server.stop()
