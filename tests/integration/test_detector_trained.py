"""What the trainer made, scored live: the two processes agree on artifacts, labels and warmth."""

import asyncio
import os
import sys
from pathlib import Path

import pytest
from tests.integration.detector_fixture import world
from tests.integration.detector_world import (
    MODEL,
    WATCH,
    Feed,
    World,
    eventually,
    feeding,
    settings_of,
)
from tests.integration.metrics_servers import VictoriaMetrics

from metricwatch.assignments import TrainingRequest, WatchSettings
from metricwatch.resources.anomalymodel import VersionState
from metricwatch.store.models import create_version, set_state

__all__ = ["world"]


async def train(
    world: World,
    feed: Feed,
    algorithm: dict[str, object],
    folder: Path,
    *,
    scope: str = "perSeries",
    settings: WatchSettings | None = None,
) -> None:
    request = TrainingRequest.from_row(
        {
            "algorithm": algorithm,
            "scope": scope,
            "training": {"window": "390s", "minSamples": 100},
            "watches": [
                {
                    **(settings or settings_of(feed)).to_row(),
                    "uid": WATCH,
                    "namespace": "shop",
                    "name": f"name-of-{WATCH}",
                }
            ],
        }
    )
    async with world.database.acquire() as connection:
        await create_version(
            connection,
            model_id=world.model_id,
            version=1,
            request=request.to_row(),
            request_hash=request.fingerprint(),
        )
    trainer = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "metricwatch_trainer",
        env={
            **os.environ,
            "METRICWATCH_DATABASE_URL": world.url,
            "METRICWATCH_MODEL_UID": MODEL,
            "METRICWATCH_VERSION": "1",
            "METRICWATCH_TERMINATION_LOG": str(folder / "termination-log"),
        },
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await trainer.communicate()
    assert trainer.returncode == 0, said.decode()
    async with world.database.acquire() as connection:
        await set_state(
            connection, model_id=world.model_id, version=1, state=VersionState.CANDIDATE
        )
    await world.serve(1)


@pytest.mark.parametrize(
    "algorithm",
    [
        {"type": "seasonal"},
        {"type": "lstm", "lstm": {"hidden": 8, "epochs": 3, "ridgeLags": 8}},
        {"type": "autoregressive", "autoregressive": {"lags": 8}},
    ],
    ids=lambda algorithm: str(algorithm["type"]),
)
async def test_a_trained_version_finds_a_spike_and_its_end(
    world: World,
    victoriametrics: VictoriaMetrics,
    tmp_path: Path,
    algorithm: dict[str, object],
) -> None:
    family = str(algorithm["type"])
    async with feeding(Feed(victoriametrics, f"trained_{family}", ["a", "b", "c"])) as feed:
        await world.set_watch(settings_of(feed))
        await train(world, feed, algorithm, tmp_path)
        detector = world.start()
        await eventually(detector.is_ready, what="ready")
        assert f'metricwatch_detector_series{{family="{family}"' in await detector.metrics()
        feed.raised.add("b")
        (anomaly,) = await eventually(world.anomalies, what="an anomaly")
        assert dict(anomaly.labels)["pod"] == "b"
        assert anomaly.anomaly.explanation["family"] == family
        feed.raised.clear()

        async def resolved() -> bool:
            return [one.anomaly.state for one in await world.anomalies()] == ["resolved"]

        await eventually(resolved, what="the end of the anomaly")
